"""`plumbline inspect`: figures by method that can be checked by hand, and a page on which nobody's text is markup."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from data_contracts.errors import PlumblineError
from data_contracts.store import Dataset, build
from flows.cli import app
from tasks.inspect_page import write_page
from tasks.inspect_pairs import histograms, parts, read, render, told_apart

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def row(i: int, **changes: Any) -> dict[str, Any]:
    return {
        "pair_id": f"p{i}",
        "prompt_id": f"p{i}",
        "prompt": [{"role": "user", "content": HOSTILE}],
        "prompt_ids": [1],
        "chosen": "kitten",
        "rejected": "sitting",
        "chosen_ids": [1, 2, 3, 9],
        "rejected_ids": [2, 3, 4, 9],
        "chosen_stopped": True,
        "rejected_stopped": True,
        "method": "clair",
        "margin": None,
        "reasoning": HOSTILE,
        "policy": "",
    } | changes


def pairs(folder: Path, *rows: dict[str, Any]) -> Dataset:
    return build(folder, "pairs", {}, lambda _: (list(rows), {}))


def test_methods_are_parted_and_their_figures_are_those_of_contrast(tmp_path: Path) -> None:
    data = pairs(
        tmp_path / "pair", row(0), row(1), row(2, method="replay", chosen="sitting", margin=3.0, chosen_ids=[2, 3, 4, 9])
    )
    clair, other = parts([("mine", data)], [None])
    assert (clair.label, other.label) == ("mine: clair", "mine: replay")
    assert (clair.figures["rows"], clair.figures["token_jaccard"], clair.figures["character_edits"]) == (2, 0.5, 3)
    assert (other.figures["token_jaccard"], other.figures["near_identical"], other.figures["margin"]) == (1, 1, 3)
    assert "margin" not in clair.figures and "reference_gap" not in clair.figures
    assert render([clair, other]).row_count == 2


def test_two_stages_of_one_round_stay_apart(tmp_path: Path) -> None:
    stages = [str(pairs(tmp_path / "run" / "round-1" / stage, row(0)).folder) for stage in ("pair", "validate_pairs")]
    done = CliRunner().invoke(app, ["inspect", *stages, "--json"])
    assert list(json.loads(done.output)) == ["pair", "validate_pairs"]


def test_names_of_datasets_leave_out_what_all_paths_begin_with_and_nothing_else() -> None:
    paths = ["/runs/a/round-1/pair", "/runs/a/round-2/pair", "/runs/b/round-1/pair"]
    assert told_apart(paths) == ["a/round-1/pair", "a/round-2/pair", "b/round-1/pair"]
    for same in (["x", "x"], ["a/b", "a"], ["a"]):
        assert told_apart(same) == same


def test_rows_of_one_side_are_counted_and_shown_and_compare_nothing(tmp_path: Path) -> None:
    bad = {"chosen": None, "chosen_ids": None, "chosen_stopped": None}
    data = pairs(tmp_path / "pair", row(0), row(1, **bad, rejected="lonely words"), row(2))
    ranked = [
        {"pair_id": f"p{i}", "chosen_logp": 1.0 + i, "rejected_logp": 0.0, "chosen_tokens": 4, "rejected_tokens": 4}
        for i in (0, 2)
    ]
    (only,) = parts([("mine", data)], [build(tmp_path / "rank", "rankings", {}, lambda _: (ranked, {}))])
    assert (only.figures["rows"], only.figures["one_sided"], only.figures["character_edits"]) == (3, 1, 3)
    assert only.figures["reference_gap"] == 2.0 and only.frame["reference_gap"].isna().tolist() == [False, True, False]
    write_page(tmp_path / "page.html", [only])
    page = (tmp_path / "page.html").read_text()
    (card,) = [part for part in page.split("<article")[1:] if "lonely words" in part]
    assert card.count('<p class="said answer"') == 1 and ">rejected</span>" in card and ">chosen</span>" not in card
    assert 'data-alike=""' in card and 'data-length=""' in card and "(empty)" not in card


def test_the_reference_gap_is_chosen_minus_rejected(tmp_path: Path) -> None:
    data = pairs(tmp_path / "pair", row(0), row(1))
    same = {"rejected_logp": -5.0, "chosen_tokens": 4, "rejected_tokens": 4}
    ranked = [same | {"pair_id": f"p{i}", "chosen_logp": -3.0 + i} for i in (0, 1)]
    ranking = build(tmp_path / "rank", "rankings", {}, lambda _: (ranked, {}))
    (only,) = parts([("mine", data)], [ranking])
    assert only.figures["reference_gap"] == 2.5


def test_the_page_holds_the_pairs_as_text_and_no_script_of_theirs(tmp_path: Path) -> None:
    write_page(
        tmp_path / "page.html", parts([("a", pairs(tmp_path / "a", row(0))), ("b", pairs(tmp_path / "b", row(1)))], [None, None])
    )
    page = (tmp_path / "page.html").read_text()
    assert "<script>alert" not in page and "<img" not in page
    assert page.count("&lt;script&gt;alert(1)") == 4
    assert page.count('<article class="card"') == 2


def test_all_columns_share_their_bins_and_each_sums_to_one() -> None:
    one, two, none = histograms([pd.Series([0.0, 1.0, 1.0]), pd.Series([0.5]), pd.Series([None, None], dtype=float)], bins=4)
    assert [x for x, _ in one] == [x for x, _ in two]
    assert none == []
    assert sum(y for _, y in one[1:-1:2]) == pytest.approx(1)


def test_what_cannot_be_inspected_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PlumblineError, match="does not exist"):
        read(str(tmp_path / "absent"), None, tmp_path)
    (tmp_path / "file.jsonl").write_text("{}")
    with pytest.raises(PlumblineError, match="add --model"):
        read(str(tmp_path / "file.jsonl"), None, tmp_path)
    prompts = build(tmp_path / "prompts", "prompts", {}, lambda _: ([{"prompt_id": "p", "prompt": []}], {}))
    with pytest.raises(PlumblineError, match="inspect shows pairs"):
        parts([("x", prompts)], [None])
