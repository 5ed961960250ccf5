"""The stage `pair`, and the dict that says which stages each method goes through."""

from pathlib import Path
from typing import Any, get_args

from data_contracts.config_pairs import BestOfN, Clair, Method
from data_contracts.store import build, dataset_key
from tasks.pair import METHODS, stages
from tasks.pair.stage import pair
from tests.tasks.pair.answers import revision, sample, verdict


def test_every_method_of_the_config_has_its_line_and_no_other() -> None:
    assert {name for model in get_args(Method) for name in get_args(model.model_fields["name"].annotation)} == METHODS.keys()


def test_a_method_reads_only_what_its_stages_make() -> None:
    for name, method in METHODS.items():
        assert set(method.reads) <= set(method.stages), name


def test_stages_are_read_from_a_saved_config_in_either_form() -> None:
    sampled = ("prompts", "validate_prompts", "sample", "validate_samples")
    clair = (*sampled, "revise", "validate_revisions", "pair", "validate_pairs")
    assert stages({"method": "clair"}) == stages({"method": {"name": "clair"}, "pairs": {"replay": []}}) == clair
    more: dict[str, Any] = {"method": "recorded", "pairs": {"second_view": {"kind": "likelihood"}, "replay": [0.3]}}
    assert stages(more) == ("import", "pair", "second_view", "replay", "validate_pairs")


def test_pairs_have_a_key_of_method_and_parents_and_a_lot_has_its_seed(tmp_path: Path) -> None:
    revisions = build(tmp_path / "revise", "revisions", {}, lambda _: ([revision(0, "a", "b")], {}))
    pairs = pair(tmp_path / "pair", Clair(name="clair"), [revisions], "policy", "start", 1, 7)
    assert pairs.key == dataset_key("pairs", {"method": "clair"}, [revisions])
    assert (pairs.rows, pairs.facts["pairs"]) == (1, 1)
    samples = build(tmp_path / "sample", "samples", {}, lambda _: ([sample("p", 0), sample("p", 1)], {}))
    verdicts = build(tmp_path / "judge", "verdicts", {}, lambda _: ([verdict("p", 0, 1, "first")], {}))
    method = BestOfN(name="best_of_n")
    drawn = [pair(tmp_path / f"drawn-{seed}", method, [samples, verdicts], "policyhash", "start", 1, seed).key for seed in (0, 1)]
    assert drawn[0] != drawn[1]
