"""The report shows the run and nothing else: no text in it runs, and it needs nothing from outside."""

import html.parser
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.charts import Series, chart, ticks
from tasks.diff import similarity, word_diff
from tasks.report import write_report
from tests.tasks.run_folder import HOSTILE, make_human_run, make_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


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


def test_nothing_is_fetched_from_anywhere(tmp_path: Path) -> None:
    source, page = page_of(make_run(tmp_path / "run"))
    assert [link for link in page.links if not link.startswith("#")] == []
    assert not re.search(r"(?:https?:)?//\w|@import|url\(", source.replace("http-equiv", ""))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', source)
    assert policy and "default-src 'none'" in policy[1] and "script-src 'sha256-" in policy[1]


def test_every_part_of_a_run_is_on_the_page(tmp_path: Path) -> None:
    _, page = page_of(make_run(tmp_path / "run"))
    for text in (
        "0.640 (0.600 to 0.680)",
        "embedded-1.strict-1",
        "Promoted: overall went from",
        "chosen answers became more likely, rejected less likely",
        "Equal answers teach nothing.",
        "round-2/validate_pairs",
        "0.67 token Jaccard",
        "log-ratio (nats)",
        "apo_zero",
        "p2-39",
        "0.0420",  # what the teacher cost in both rounds
    ):
        assert text in page.text, text
    assert page.tags.count("svg") == 2 + 2 * 2 and page.tags.count("article") == 2 * 39
    assert "del" in page.tags and "ins" in page.tags


def test_a_run_on_human_pairs_has_its_ranking_curves_gates_and_pairs(tmp_path: Path) -> None:
    _, page = page_of(make_human_run(tmp_path / "run"))
    for text in ("Ranking of held-out pairs", "On 9 held-out pairs", "validate_pairs", "rank_after"):
        assert text in page.text, text
    assert page.tags.count("svg") == 3 and page.tags.count("article") == 39


def test_an_unfinished_run_has_a_report_of_what_is_there(tmp_path: Path) -> None:
    _, page = page_of(make_run(tmp_path / "run", 1, until="pair"))
    assert "round-1/validate_pairs" in page.text and page.tags.count("svg") == 1
    empty = make_run(tmp_path / "empty", 1, until="pair")
    for folder in ("round-0", "round-1"):
        shutil.rmtree(empty / folder)
    assert "There are no validated pairs yet." in page_of(empty)[1].text


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
    assert "<b>" not in drawn and "nan" not in drawn and drawn.count("<circle") == 1
    assert "nothing to draw" in chart("t", "x", "y", [Series("s", "s1", [])])
    long = chart("t", "x", "y", [Series("s", "s1", [(float(i), float(i)) for i in range(10_000)])])
    assert len(long) < 10_000


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 17), (1e-6, 3e-6), (0.4999, 0.5001), (1, 12345)])
def test_ticks_enclose_the_range_with_a_handful_of_round_numbers(low: float, high: float) -> None:
    found = ticks(low, high)
    slack = (high - low) / 1e6
    assert found[0] <= low + slack and found[-1] >= high - slack and 3 <= len(found) <= 8


def test_a_browser_runs_the_pages_own_script_and_no_other(tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    source = write_report(make_run(tmp_path / "run"))
    # negative control: the same page with a script of somebody else, which the policy must stop
    source.write_text(source.read_text().replace("</main>", "<script>document.title = 'forged'</script></main>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    options += ["--disable-sync", "--no-first-run", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run([CHROMIUM, *options, source.as_uri()], capture_output=True, text=True, timeout=90, check=True)
    page = Page(done.stdout)
    assert "showing 20 of 78" in page.text
    assert done.stdout.count('<article class="pair" data-group="round 1" data-alike="') == 39
    assert done.stdout.count('hidden=""><h3>') + done.stdout.count('hidden="">\n<h3>') == 78 - 20
    assert "<title>demo · plumbline</title>" in done.stdout
    assert page.tags.count("img") == 0
