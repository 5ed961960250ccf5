"""A preference file is held against the evaluation sets that its run names, as a round's prompts are."""

import json
from pathlib import Path

from data_contracts.config import HumanPairsConfig
from data_contracts.load_config import load_config
from flows.human_pairs import limits_for
from models.checkpoint import Checkpoint
from tasks.validate import validate
from tests.pairs_dataset import pair_rows, pairs_dataset

ROOT = Path(__file__).resolve().parents[2]


def test_pairs_whose_prompt_stands_in_a_named_evaluation_set_are_set_aside(tmp_path: Path, tiny: Checkpoint) -> None:
    rows = pair_rows(tiny, 4)
    seen = tmp_path / "evaluation.jsonl"
    seen.write_text(json.dumps({"prompt": rows[1]["prompt"][0]["content"]}) + "\n")
    data = pairs_dataset(tmp_path / "pairs", tiny, 4)
    kept = []
    for sets in ([], [str(seen)]):
        small = ["validate.min_rows=1", "validate.max_quarantined=0.5", f"validate.contamination.sets={json.dumps(sets)}"]
        config = load_config(ROOT / "configs" / "human_pairs.yaml", small)
        assert isinstance(config, HumanPairsConfig)
        made = validate(tmp_path / f"clean-{len(sets)}", data, config.validate_, limits_for(config, tiny), tmp_path / "docs")
        kept.append([row["pair_id"] for row in made.records()])
    assert kept == [["p0", "p1", "p2", "p3"], ["p0", "p2", "p3"]]
