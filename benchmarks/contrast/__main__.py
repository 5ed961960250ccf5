"""How contrastive are the pairs of each method? The paper's four on the embedded models, and two sets of real answers.

    python -m benchmarks.contrast [--policy CHECKPOINT] [--prompts N] [--answers alpaca_eval_responses.jsonl]

Off-policy answers come from the teacher at temperature 1.5 and from the student: give a later round's model as the policy, so
that the student is another model. The figures are those of report and MLflow (data_contracts/contrast.py).
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from data_contracts.config import RoundsConfig
from data_contracts.config_pairs import Recorded
from data_contracts.load_config import load_config
from data_contracts.store import Dataset
from models.checkpoint import open_checkpoint

ROOT = Path(__file__).resolve().parents[2]
STUDENT = f"{{kind: checkpoint, model: {ROOT}/models/embedded/student}}"
METHODS = {
    "clair": [],
    "on_policy_judge": ["sample.n=2"],
    "off_policy_judge": [],
    "stronger_preferred": [],
}
SETS = {"off_policy_judge": f"{{name: off_policy_judge, sources: [{{kind: teacher, temperature: 1.5}}, {STUDENT}]}}"}
ANSWERS = {
    "stronger_preferred (GPT-4-Turbo over Llama-3-8B-Instruct)": {"chosen": "gpt4_turbo", "rejected": "llama3_8b_instruct"},
    "off_policy_judge (Gemma-7B-it and GPT-4-Turbo, by GPT-4's verdict)": {
        "chosen": "gemma_7b_it",
        "rejected": "gpt4_turbo",
        "probability": "gpt4_judge_prob_gemma_wins",
    },
}
FIGURES = ("token_jaccard", "character_edits", "character_similarity", "shared_prefix", "length_ratio", "chosen_longer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--policy", default=str(ROOT / "models" / "embedded" / "student"))
    parser.add_argument("--prompts", type=int, default=400)
    parser.add_argument("--answers", type=Path)
    given = parser.parse_args()
    print(f"| pairs | n | {' | '.join(FIGURES)} |\n|---|" + "---:|" * (len(FIGURES) + 1))
    with tempfile.TemporaryDirectory() as folder:
        for name, pairs in embedded(Path(folder), given.policy, given.prompts):
            tell(name, pairs)
        for name, keys in (ANSWERS if given.answers else {}).items():
            tell(name, recorded(Path(folder) / name[:8], given.answers, keys))


def tell(name: str, pairs: Dataset) -> None:
    metrics = pairs.facts["metrics"] if "metrics" in pairs.facts else summary(pairs)
    print(f"| {name} | {pairs.rows} | {' | '.join(f'{metrics[figure]:.3f}' for figure in FIGURES)} |", flush=True)


def summary(pairs: Dataset) -> dict[str, float]:
    from data_contracts.contrast import contrast, summarise

    return summarise(contrast(pairs.frame()))


def embedded(folder: Path, policy_path: str, prompts: int) -> Iterator[tuple[str, Dataset]]:
    """The clean pairs of a first round of each method, through its real stages."""
    from flows.round import make_pairs
    from flows.session import Session
    from models.engine import Engine
    from tasks.lineage import Standing

    policy, engine = open_checkpoint(policy_path), None
    for name, sets in METHODS.items():
        sets = [*sets, f"method={SETS.get(name, name)}", f"prompts.per_round={prompts}", "validate.max_quarantined=1.0"]
        config = load_config(ROOT / "configs" / "demo.yaml", [*sets, f"policy={policy_path}"])
        assert isinstance(config, RoundsConfig) and config.teacher.kind == "local"
        others = {w.model: open_checkpoint(w.model) for w in config.method.writers if w.kind == "checkpoint"}
        engine = engine or Engine(policy, config.engine)
        teacher = open_checkpoint(config.teacher.model)
        session = Session(folder / name, config, None, policy, teacher, others, _engine=engine)  # type: ignore[arg-type]
        (folder / name).mkdir()
        with patch("flows.round.step", _plainly):  # nobody orchestrates a benchmark
            pairs = make_pairs(session, folder / name / "round-1", name, Standing(0, policy, None), 1, 0)  # type: ignore[arg-type]
        yield name, pairs


def _plainly(_label: str, stage: Callable[..., Dataset], *arguments: Any, retries: int = 0) -> Dataset:
    return stage(*arguments)


def recorded(folder: Path, answers: Path, keys: dict[str, str]) -> Dataset:
    """Real answers as pairs, encoded by the embedded tokenizer, which spells words it does not know byte by byte."""
    from data_contracts.config_pairs import PromptsConfig
    from tasks.import_recorded import import_recorded
    from tasks.pair.stage import pair

    policy = open_checkpoint(ROOT / "models" / "embedded" / "student")
    method = Recorded(name="recorded", prompt="instruction", **keys)  # type: ignore[arg-type]
    lines = sum(1 for _ in answers.open())
    data = import_recorded(folder / "import", PromptsConfig(file=str(answers), per_round=lines), method, policy, 1)
    return pair(folder / "pair", method, [data], policy.hash, policy.hash, 1, 0)


if __name__ == "__main__":
    main()
