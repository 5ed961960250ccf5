"""Promote a candidate only if it is better by the configured rule, and say why in words with their numbers.

The rule: significantly better on the primary metric, no significant loss on a guarded one, and a win rate above its bounds.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from data_contracts.config_evaluate import EvaluateConfig, PromoteConfig, WinRateConfig
from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, Rows, load_json, write_json
from models.statistics import Gain, paired_test
from tasks.score import rows_of


@dataclass(frozen=True)
class Decision:
    """`numbers`: metric scores (candidate, champion), gain with its interval, win rate with its, each guarded metric's, and the
    thresholds used."""

    promoted: bool
    reason: str
    numbers: dict[str, float]


def decide(
    candidate: Dataset,
    champion: Dataset,
    win_rate: Dataset,
    config: PromoteConfig,
    harness: tuple[Dataset, Dataset] | None = None,
) -> Decision:
    """Promote if the paired gain is significantly above `min_gain`, no guarded metric has lost significantly, and the win rate
    and the lower end of its interval are at least `min_win_rate` and `min_win_rate_low`.

    Significant: the interval lies on that side and the p-value is below 1 - `config.confidence` (models.statistics.paired_test),
    since the bootstrap of a handful of questions has hardly any width.

    Intervals of gains are two-sided at `config.confidence`, bootstrapped over distinct questions answered by both models; the
    win rate's is its 95 % interval. `harness`: both models' results of lm-evaluation-harness, the candidate's first.

    Raises PlumblineError if the two did not answer the same questions, or if nothing was measured under a metric's name.
    """
    both = ([candidate, champion], list(harness or ()))
    new, old = _rows(config.metric, "promote.metric", *both)
    gain, facts = paired_test(new, old, config.confidence, beyond=config.min_gain), win_rate.facts
    rate = facts["length_controlled"] | {"win_rate": facts["length_controlled"]["rate"]} if config.length_controlled else facts
    guards = {name: paired_test(*_rows(name, "promote.guards", *both), config.confidence) for name in config.guards}
    numbers = {
        "candidate": _mean(new),
        "champion": _mean(old),
        "gain": gain.mean,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "gain_p": gain.p,
        "min_gain": config.min_gain,
        "confidence": config.confidence,
        "win_rate": rate["win_rate"],
        "win_rate_low": rate["low"],
        "win_rate_high": rate["high"],
        "min_win_rate": config.min_win_rate,
        **({"min_win_rate_low": config.min_win_rate_low} if config.min_win_rate_low else {}),
    }
    for name, change in guards.items():
        numbers |= {f"guard.{name}": change.mean, f"guard.{name}.low": change.low, f"guard.{name}.high": change.high}
    failed = []
    if gain.low <= config.min_gain:
        failed.append(f"the gain is not surely above {config.min_gain:g}")
    elif gain.p >= 1 - config.confidence:
        failed.append(f"of {gain.distinct} distinct questions that may be chance (p = {gain.p:.3f})")
    lost = [name for name, change in guards.items() if change.high < 0 and change.p < 1 - config.confidence]
    failed += [f"{name} lost {_change(guards[name])}" for name in lost]
    failed += [] if rate["win_rate"] >= config.min_win_rate else [f"the win rate is below {config.min_win_rate:g}"]
    if rate["low"] < config.min_win_rate_low:
        failed.append(f"the lower end of the win rate's interval is below {config.min_win_rate_low:g}")
    kept = {name: change for name, change in guards.items() if name not in lost}
    return Decision(not failed, _reason(failed, kept, config, numbers), numbers)


def check_promotion(config: PromoteConfig, evaluate: EvaluateConfig, win_rate: WinRateConfig, measured: Sequence[str]) -> None:
    """`measured`: the splits and source benchmarks of the evaluation.

    Raises PlumblineError for a metric that the run will not measure, or a win rate against nobody it compares with.
    """
    tasks = evaluate.harness.tasks if evaluate.harness else []
    known = ["overall", *sorted(set(measured))]
    for key, name in (("metric", config.metric), *(("guards", guard) for guard in config.guards)):
        if name not in known and not any(name.startswith(f"harness.{task}") for task in tasks):
            ways = ", ".join([*known, *(f"harness.{task}.<metric>" for task in tasks)])
            raise PlumblineError(f"promote.{key} names {name}, which is not measured: use one of {ways}")
    against = ["previous", *(other if other == "start" else other.name for other in win_rate.against)]
    if len(set(against)) < len(against):
        raise PlumblineError(f"win_rate.against names one opponent twice ({', '.join(against)}): give each a name of its own")
    if config.against not in against:
        raise PlumblineError(
            f"promote.against is {config.against}: use one of {', '.join(against)}, or add it to win_rate.against"
        )


def _rows(name: str, key: str, answers: list[Dataset], harness: list[Dataset]) -> tuple[Rows, Rows]:
    """The candidate's and the champion's rows that a metric is the mean of."""
    if name.startswith("harness."):
        found = [[r for r in data.records() if f"harness.{r['task']}.{r['metric']}" == name] for data in harness] or [[], []]
    else:
        found = [rows_of(name, data.records()) for data in answers]
    if not found[0]:
        raise PlumblineError(f"{key} names {name}, but the benchmark holds no such question: use overall")
    return found[0], found[1]


def _mean(rows: Rows) -> float:
    return float(sum(row["score"] for row in rows) / len(rows))


def _change(change: Gain) -> str:
    return f"{change.mean:+.3f} ({change.low:+.3f} to {change.high:+.3f})"


def _reason(failed: list[str], guards: dict[str, Gain], config: PromoteConfig, n: dict[str, float]) -> str:
    gain = (
        f"{config.metric} went from {n['champion']:.3f} to {n['candidate']:.3f}, a gain of {n['gain']:+.3f} "
        f"({100 * config.confidence:g} % interval {n['gain_low']:+.3f} to {n['gain_high']:+.3f})"
    )
    kind = "length-controlled win rate" if config.length_controlled else "win rate"
    whom = "" if config.against == "previous" else f" against {config.against}"
    rate = f"{kind}{whom} {n['win_rate']:.3f} ({n['win_rate_low']:.3f} to {n['win_rate_high']:.3f})"
    kept = [
        f"{name} {_change(change)}" + (f" with p {change.p:.2f}" if change.high < 0 else "") for name, change in guards.items()
    ]
    guarded = f" Guarded, with no significant loss: {', '.join(kept)}." if kept else ""
    if not failed:
        low = f", its lower end at least {config.min_win_rate_low:g}" if config.min_win_rate_low else ""
        return f"Promoted: {gain}, and the {rate} is at least {config.min_win_rate:g}{low}.{guarded}"
    told = failed[0] if len(failed) == 1 else f"{', '.join(failed[:-1])} and {failed[-1]}"
    return f"Rolled back: {gain}, {rate}; {told}.{guarded}"


def write_decision(path: Path, decision: Decision) -> None:
    write_json(path, asdict(decision))


def read_decision(path: Path) -> Decision | None:
    """The decision in a file, or None if none was taken yet."""
    found = load_json(path)
    return None if found is None else Decision(**found)
