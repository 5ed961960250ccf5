"""The report shows the run and nothing else: no text in it runs, and it needs nothing from outside."""

import html.parser
import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from data_contracts.made_with import made_with
from data_contracts.store import build, open_dataset
from tasks.charts import Series, chart, labels, ticks
from tasks.diff import similarity, word_diff
from tasks.failure import write_failure
from tasks.lineage import roll_back
from tasks.rank import ranking_accuracy
from tasks.report import write_report
from tasks.report_answers import draw_answers
from tasks.report_rounds import health
from tasks.report_scores import compared, read_answers
from tests.tasks.run_folder import HOSTILE, make_human_run, make_run, pairs


class Page(html.parser.HTMLParser):
    """Counts tags and event attributes, and keeps the text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data) -> None:
        self.text += data


def page_of(run: Path) -> tuple[str, Page]:
    source = write_report(run).read_text(encoding="utf-8")
    return source, Page(source)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    source, page = page_of(make_run(tmp_path / "run"))
    assert page.tags.count("script") == 1 and page.tags.count("img") == 0 and page.handlers == []
    assert "<script>alert" not in source and "<img src" not in source
    for text in HOSTILE:
        assert text in page.text
    assert "49 " not in page.text.split("{{ 7 * 7 }}")[1][:5]


def test_what_was_changed_stands_on_the_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    _, page = page_of(run)
    assert "command line" not in page.text
    changes = [{"key": "align.epochs", "was": "4", "now": HOSTILE[0]}, {"key": "seed", "was": None, "now": "3"}]
    (run / "changes.json").write_text(json.dumps(changes))
    (run / "round-2" / "overrides.json").write_text(json.dumps({"align.objective.beta": 0.25}))
    source, page = page_of(run)
    text = " ".join(page.text.split())
    for said in ("align.epochs4", "seed–3the command line", "align.objective.beta0.50.25the form, for round 2"):
        assert said in text
    assert "<script>alert" not in source


def test_nothing_is_fetched_from_anywhere(tmp_path: Path) -> None:
    source, page = page_of(make_run(tmp_path / "run"))
    assert [link for link in page.links if not link.startswith("#")] == []
    assert not re.search(r"(?:https?:)?//\w|@import|url\(", source.replace("http-equiv", ""))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', source)
    assert policy and "default-src 'none'" in policy[1] and "script-src 'sha256-" in policy[1]


def test_every_part_of_a_run_is_on_the_page(tmp_path: Path) -> None:
    _, page = page_of(make_run(tmp_path / "run", 3))
    for text in (
        "0.640 (0.600 to 0.680)",
        "embedded-1.strict-1",
        "Promoted: overall went from",
        "chosen answers became more likely, rejected less likely",
        "Equal answers teach nothing.",
        "round-2/validate_pairs",
        "Rolled back: overall went from",
        "0.670",  # token Jaccard
        "parsed 40, changed 36, unchanged 4",
        "round 2 against start",
        "win rate.orders agree",
        "log-ratio (nats)",
        "apo_zero",
        "p2-39",
        "9 gates kept every row, and every contract held",
        "0.0630",  # what the teacher cost in all rounds
        f"torch {made_with()['torch']}",
    ):
        assert text in page.text, text
    assert page.tags.count("svg") == 2 + 3 * 3 and page.tags.count("article") == 3 * 39 + 64
    assert "del" in page.tags and "ins" in page.tags


def test_a_run_on_human_pairs_has_its_ranking_curves_gates_and_pairs(tmp_path: Path) -> None:
    _, page = page_of(make_human_run(tmp_path / "run"))
    for text in ("Ranking of held-out pairs", "On 9 held-out pairs", "validate_pairs", "rank after"):
        assert text in page.text, text
    assert page.tags.count("svg") == 4 and page.tags.count("article") == 39


def test_where_no_pair_is_ranked_otherwise_no_interval_claims_to_be_sure(tmp_path: Path) -> None:
    """36 of Anthropic's pairs stood as "+0.000 (+0.000 to +0.000)"."""
    run = make_human_run(tmp_path / "run")
    moved = page_of(run)[1].text
    assert "Ranking accuracy changed by +" in moved and "stayed at" not in moved
    before = open_dataset(run / "rank_before")
    shutil.rmtree(run / "rank_after")
    build(run / "rank_after", "rankings", {}, lambda _: (before.records(), before.facts), models=before.manifest["models"])
    text = page_of(run)[1].text
    assert "stayed at 0.000: none of 9 held-out pairs is ranked otherwise" in text and "is ranked otherwise than before" in text
    assert "+0.000 (+0.000" not in text


def test_a_run_on_single_answers_says_that_there_was_nothing_to_rank(tmp_path: Path) -> None:
    run = make_human_run(tmp_path / "run")
    for stage in ("rank_before", "rank_after"):
        policy = open_dataset(run / stage).manifest["models"]
        shutil.rmtree(run / stage)
        build(run / stage, "rankings", {}, lambda _: ([], ranking_accuracy([])), models=policy)
    _, page = page_of(run)
    assert "there was nothing to rank" in page.text and "training raised the margin" not in page.text


def test_an_unfinished_run_has_a_report_of_what_is_there(tmp_path: Path) -> None:
    _, page = page_of(make_run(tmp_path / "run", 1, until="pair"))
    assert "round-1/validate_pairs" in page.text and page.tags.count("svg") == 1
    empty = make_run(tmp_path / "empty", 1, until="pair")
    for folder in ("round-0", "round-1"):
        shutil.rmtree(empty / folder)
    assert "There are no validated pairs to show." in page_of(empty)[1].text


def test_what_a_person_should_know_first_stands_at_the_top(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write_failure(run, "the teacher <b>went</b> away")
    roll_back(run, 1, "worse <i>in use</i>")
    (run / "selection.json").write_text('{"models": 3, "bias": 0.012}')
    top = top_of(run)
    for text in (
        "<dt>Stopped</dt><dd>The teacher &lt;b&gt;went&lt;/b&gt; away. What was finished is kept",
        "<dt>Champion</dt><dd>Round 1 with 0.760 overall",
        "+0.190 on the start",
        "<dt>Round 2</dt><dd>Promoted: overall went from 0.760 to 0.950",
        "From round 2 to round 1 on 20",
        "worse &lt;i&gt;in use&lt;/i&gt;",
        "The champion is the best of 3 models measured on the same questions",
        "80 teacher calls, 20 of them from the journal, 0.042 by the teacher&#39;s price",
        "2 rows quarantined, no warnings.",
    ):
        assert text in top, text
    assert "Stopped" not in top_of(make_run(tmp_path / "other"))
    half = make_run(tmp_path / "half", 2, until="pair")
    write_failure(half, "the disk is full")
    assert "<dd>The disk is full. What was finished is kept: plumbline resume goes on at round-2/align.</dd>" in top_of(half)


def top_of(run: Path) -> str:
    source, _ = page_of(run)
    return source[source.index("<header>") : source.index("<nav")]


def test_the_top_says_what_a_run_without_a_champion_of_its_own_and_one_on_human_pairs_came_to(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 1)
    decision = json.loads((run / "round-1" / "decision.json").read_text()) | {"promoted": False, "reason": "Rolled back: <b>."}
    (run / "round-1" / "decision.json").write_text(json.dumps(decision))
    top = top_of(run)
    assert "The start with 0.570 overall" in top and "no round was better by the rule of promotion" in top
    assert "<dt>Round 1</dt><dd>Rolled back: &lt;b&gt;." in top
    human = top_of(make_human_run(tmp_path / "human"))
    assert "Ranking accuracy on 9 held-out pairs went from 0.000 to 0.667, +0.667 (" in human
    assert "no teacher was asked" in human and "Champion" not in human


def test_the_champion_is_among_the_models_whose_answers_are_shown_however_long_ago_it_was_trained() -> None:
    rows = [{"question_id": "q", "question": "q", "benchmark": "b", "prompt": "p", "response": "r", "parsed": "x", "score": 1.0}]
    found = draw_answers(dict.fromkeys(range(11), rows), 100_000, champion=2)
    assert found is not None and found["left_out"] == 5
    shown = re.findall(r'class="role">(start|round \d+) ', found["cards"][0])
    assert shown == ["start", "round 2", *(f"round {k}" for k in range(7, 11))]


def test_a_difference_is_called_one_only_where_it_is_more_than_chance(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 3)  # round 3 answers as round 2 did
    found = {(row["new"], row["old"]): row for row in compared(run, read_answers(run, 3))}
    assert {couple: row["verdict"] for couple, row in found.items()} == {
        ("round 1", "start"): "better",
        ("round 2", "round 1"): "better",
        ("round 3", "round 2"): "no difference shown",
        ("round 2", "start"): "better",
        ("round 3", "start"): "better",
    }
    assert all(row["p"] >= row["gain"].p for row in found.values())
    assert found["round 3", "round 2"]["p"] == 1


def test_a_question_is_shown_under_how_its_answers_changed() -> None:
    def rows(k: int, scores: str) -> list[dict[str, Any]]:
        return [
            {"question_id": f"q{i}", "question": f"q{i // 2}" if i > 7 else f"q{i}", "benchmark": "b", "prompt": "<p>"}
            | {"response": f"{score} <b>", "parsed": None if score == "0" else "x", "score": float(score)}
            for i, score in enumerate(scores)
        ]

    found = draw_answers({0: rows(0, "0011011100"), 1: rows(1, "0101100111"), 2: rows(2, "0110111011")}, 100_000)
    assert found is not None
    kinds = {re.search(r"<span>(q\d)", card)[1]: re.search(r'data-kind="([^"]+)', card)[1] for card in found["cards"]}  # type: ignore[index]
    assert kinds == {
        "q0": "always wrong", "q1": "changed|became right", "q2": "changed|back and forth", "q3": "changed|became wrong",
        "q4": "changed|became right",
        "q5": "changed|back and forth", "q6": "changed|back and forth", "q7": "changed|became wrong",
    }  # fmt: skip
    assert dict(found["kinds"])["became right"] == 2 and "always right" not in found["filters"]
    assert all("<b>" not in card and "<p>" not in card for card in found["cards"])
    assert draw_answers({0: rows(0, "01")}, 100_000) is None


def test_the_contrast_of_each_method_in_a_round_is_told_apart(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 1)
    shutil.rmtree(run / "round-1" / "validate_pairs")
    both = pairs(1, "clair") + [row | {"pair_id": f"x{i}", "chosen": "other"} for i, row in enumerate(pairs(1, "recorded"))]
    build(
        run / "round-1" / "validate_pairs", "pairs", {"k": "both"}, lambda _: (both, {}), [open_dataset(run / "round-1" / "pair")]
    )
    table = {row[0]: row[1] for row in health(run, {"round 1": run / "round-1"})["contrast"]["rows"]}
    assert list(table) == ["round 1: clair", "round 1: recorded"] and table["round 1: clair"] != table["round 1: recorded"]


def test_what_a_gate_warned_of_or_found_in_the_evaluation_and_why_revisions_failed_is_told(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 1)
    for stage, change in (
        ("validate_pairs", {"warnings": ["<i>lengths</i> separate them"]}),
        ("revise", {"failures": {"no_tag": 3}}),
    ):
        path = run / "round-1" / stage / "manifest.json"
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps(manifest | {"facts": manifest["facts"] | change}))
    hits = [
        {"prompt_id": f"p{i}", "prompt": "<i>mine</i>", "text": "<i>theirs</i>", "kind": "equal", "share": 1.0} for i in (0, 1)
    ]
    place = run / "round-1" / "validate_samples"
    (place / "contamination.json").write_text(json.dumps(hits))
    (run / "round-1" / "validate_revisions" / "contamination.json").write_text("[]")
    source, page = page_of(run)
    checked = json.loads((place / "gate.json").read_text())["checked"]
    assert f"round-1/validate_samples: 2 of {checked} prompts stand in an evaluation set (2 equal)." in page.text
    assert f"round-1/validate_revisions: none of {checked} prompts stands in an evaluation set." in page.text
    assert page.text.count("<i>mine</i>") == page.text.count("<i>theirs</i>") == 1
    assert "round-1/validate_pairs: <i>lengths</i> separate them" in page.text and "<i>" not in source
    assert "failures: no_tag 3" in page.text


def test_a_report_of_32_000_long_hostile_pairs_stays_below_5_mb(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    endless = '<&">\u2028' * 100
    some = [row | {"chosen": f"{endless}{i}", "rejected": endless, "reasoning": endless} for i, row in enumerate(pairs(2)[:8])]
    many = [row | {"pair_id": f"{row['pair_id']}/{i}"} for i in range(4000) for row in some]
    shutil.rmtree(run / "round-2" / "validate_pairs")
    build(
        run / "round-2" / "validate_pairs",
        "pairs",
        {"k": "many"},
        lambda _: (many, {}),
        [open_dataset(run / "round-2" / "pair")],
    )
    source, page = page_of(run)
    assert 1_000_000 < len(source.encode()) < 5_000_000
    assert f"of {32_000 + 39} clean pairs are here, drawn evenly from each round" in page.text
    assert source.count('data-group="round 1"') == 39 and source.count('data-group="round 2"') > 0


def test_a_gate_that_stopped_the_run_is_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 1, until="pair")
    (run / "round-1" / "validate_pairs").rename(run / "round-1" / "validate_pairs.failed")
    assert "stopped the run" in page_of(run)[1].text


def test_diff_pieces_join_to_both_texts_exactly() -> None:
    rng = random.Random(0)

    def text() -> str:
        return "".join(rng.choice(["a ", "b", "word ", " ", ".", "\n", "é", "long word, "]) for _ in range(rng.randrange(15)))

    for _ in range(1000):
        old, new = text(), text()
        pieces = word_diff(old, new)
        assert "".join(t for op, t in pieces if op != "+") == old
        assert "".join(t for op, t in pieces if op != "-") == new


def test_diff_marks_words_and_joins_neighbours() -> None:
    assert word_diff("It is red.", "It is blue.") == [("=", "It is "), ("-", "red"), ("+", "blue"), ("=", ".")]
    assert word_diff("It is dark red.", "It is light blue.") == [
        ("=", "It is "),
        ("-", "dark red"),
        ("+", "light blue"),
        ("=", "."),
    ]
    assert word_diff("same", "same") == [("=", "same")] and word_diff("", "") == []
    assert similarity("a b c", "a b c") == 1.0 and similarity("a b", "x y") == 0.0


def test_a_chart_survives_missing_values_single_points_and_hostile_names() -> None:
    drawn = chart("t", "x", "y", [Series("<b>", "s1", [(1.0, None), (2.0, float("nan")), (3.0, 5.0)])])  # type: ignore[list-item]
    assert "<b>" not in drawn and "nan" not in drawn and drawn.count('class="dot') == 1
    assert "nothing to draw" in chart("t", "x", "y", [Series("s", "s1", [])])
    long = chart("t", "x", "y", [Series("s", "s1", [(float(i), float(i)) for i in range(10_000)])])
    assert len(long) < 10_000


def test_a_legend_that_does_not_fit_on_a_line_goes_on_on_the_next() -> None:
    def places(names: list[str]) -> list[tuple[float, float, str]]:
        drawn = chart("t", "x", "y", [Series(name, f"s{i + 1}", [(0.0, 0.0), (1.0, 1.0)]) for i, name in enumerate(names)])
        found = re.findall(r'class="key" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)<', drawn)
        return [(float(x), float(y), text) for x, y, text in found]

    assert len({y for _, y, _ in places(["chosen", "rejected"])}) == 1
    long = places(["round-1: stronger_preferred", "round-2: off_policy_judge", "b" * 90, "c"])
    assert len({y for _, y, _ in long}) == 3
    assert all(x + 7 * len(text) <= 460 for x, _, text in long) and long[2][2].startswith("…")


def test_the_ticks_of_an_axis_have_the_same_decimals_and_steps_are_whole() -> None:
    assert labels([0.5, 0.525, 0.55]) == ["0.500", "0.525", "0.550"] and labels([0.0, 1000.0]) == ["0", "1000"]
    assert labels([0.0, 2e-5]) == ["0", "2e-05"]
    assert ticks(1, 12, whole=True) == [0, 5, 10, 15] and 2.5 in ticks(1, 12)
    assert ticks(0.5, 1.5, whole=True) == [0, 1, 2]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 17), (1e-6, 3e-6), (0.4999, 0.5001), (1, 12345)])
def test_ticks_enclose_the_range_with_a_handful_of_round_numbers(low: float, high: float) -> None:
    found = ticks(low, high)
    slack = (high - low) / 1e6
    assert found[0] <= low + slack and found[-1] >= high - slack and 3 <= len(found) <= 8
