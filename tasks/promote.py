"""Promote a candidate only if it is better by the configured rule, and say why in one sentence with its numbers."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from data_contracts.config_evaluate import PromoteConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset
from models.statistics import paired_gain


@dataclass(frozen=True)
class Decision:
    """`numbers`: metric scores (candidate, champion), gain with its interval, win rate with its, and the thresholds used."""

    promoted: bool
    reason: str
    numbers: dict[str, float]


def decide(candidate: Dataset, champion: Dataset, win_rate: Dataset, config: PromoteConfig) -> Decision:
    """Promote if the paired gain's interval lies above `min_gain` and the win rate is at least `min_win_rate`.

    The interval is two-sided at `config.confidence`, bootstrapped over distinct questions answered by both models.

    Raises PlumblineError if the two did not answer the same questions, or if the benchmark lacks the metric's split.
    """
    new, old = ([row for row in data.records() if config.metric in ("overall", row["split"])] for data in (candidate, champion))
    if not new:
        raise PlumblineError(f"promote.metric is {config.metric}, but the benchmark holds no such question: use overall")
    gain = paired_gain(new, old, config.confidence)
    better, wins = gain.low > config.min_gain, win_rate.facts["win_rate"] >= config.min_win_rate
    numbers = {
        "candidate": sum(row["score"] for row in new) / len(new),
        "champion": sum(row["score"] for row in old) / len(old),
        "gain": gain.mean,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "min_gain": config.min_gain,
        "confidence": config.confidence,
        "win_rate": win_rate.facts["win_rate"],
        "win_rate_low": win_rate.facts["low"],
        "win_rate_high": win_rate.facts["high"],
        "min_win_rate": config.min_win_rate,
    }
    return Decision(better and wins, _reason(better, wins, config, numbers), numbers)


def _reason(better: bool, wins: bool, config: PromoteConfig, n: dict[str, float]) -> str:
    gain = (
        f"{config.metric} went from {n['champion']:.3f} to {n['candidate']:.3f}, a gain of {n['gain']:+.3f} "
        f"({config.confidence:.0%} interval {n['gain_low']:+.3f} to {n['gain_high']:+.3f})"
    )
    rate = f"win rate {n['win_rate']:.3f} ({n['win_rate_low']:.3f} to {n['win_rate_high']:.3f})"
    if better and wins:
        return f"Promoted: {gain}, and the {rate} is at least {config.min_win_rate:g}."
    failed = [] if better else [f"the interval is not above {config.min_gain:+g}"]
    failed += [] if wins else [f"the win rate is below {config.min_win_rate:g}"]
    return f"Rolled back: {gain}, {rate}; {' and '.join(failed)}."


def write_decision(path: Path, decision: Decision) -> None:
    """Whole or not at all: a kill never leaves half a decision."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(asdict(decision), indent=2), encoding="utf-8")
    partial.replace(path)


def read_decision(path: Path) -> Decision | None:
    """The decision in a file, or None if none was taken yet."""
    return Decision(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
