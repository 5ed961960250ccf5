import html
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from data_contracts.gate import GateResult, gate
from data_contracts.suites.contract import Contract, mean_within, per_row, rows_at_least


def run(checks: pd.DataFrame, ids: list[str], contracts: list[Contract], docs: Path, label: str) -> GateResult:
    return gate(checks, ids, contracts, docs, label, "numbers")


def small(low: float = 0) -> Contract:
    return per_row("small", "It must be small.", "a", low=low, high=9)


def names(count: int) -> list[str]:
    return [f"row {i}" for i in range(count)]


def test_each_row_gets_the_names_of_exactly_its_contracts(tmp_path: Path) -> None:
    checks = pd.DataFrame({"a": [1, 100, 1, 100], "b": [0, 0, 1, 1]})
    result = run(checks, names(4), [small(), per_row("b_is_zero", "why", "b", high=0)], tmp_path, "test")
    assert result.broken == [[], ["small"], ["b_is_zero"], ["small", "b_is_zero"]]
    assert result.clean.tolist() == [True, False, False, False]


def test_all_of_many_broken_rows_are_named(tmp_path: Path) -> None:
    """Great Expectations lists at most 200 broken values; the rows must come from its index list, which is complete."""
    checks = pd.DataFrame({"a": [100] * 1500 + [1] * 10})
    (contract,) = run(checks, names(1510), [small()], tmp_path, "test").contracts
    assert contract.rows == list(range(1500))


def test_rows_are_told_by_position_even_where_ids_and_index_repeat(tmp_path: Path) -> None:
    checks = pd.DataFrame({"a": [1, 100, 1]}, index=[7, 7, 7])
    assert run(checks, ["same"] * 3, [small()], tmp_path, "test").broken == [[], ["small"], []]


def test_a_null_is_refused_because_expectations_skip_nulls(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"\['a'\] hold nulls"):
        run(pd.DataFrame({"a": [1, np.nan]}), names(2), [small()], tmp_path, "test")


def test_an_expectation_that_cannot_be_evaluated_is_an_error_and_not_a_pass(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="contract absent"):
        run(pd.DataFrame({"a": [1]}), names(1), [per_row("absent", "why", "no_such_column", high=1)], tmp_path, "test")


def test_contracts_on_the_whole_dataset_report_what_was_measured(tmp_path: Path) -> None:
    checks = pd.DataFrame({"a": [1.0, 4.0]})
    low_mean, rows = run(
        checks, names(2), [mean_within("mean_low", "why", "a", 0, 2), rows_at_least("enough", "why", 2)], tmp_path, "test"
    ).contracts
    assert (low_mean.kept, low_mean.observed, low_mean.contract.severity, low_mean.rows) == (False, 2.5, "warn", [])
    assert (rows.kept, rows.observed, rows.contract.severity) == (True, 2, "fail")


def test_an_empty_dataset_can_be_gated(tmp_path: Path) -> None:
    checks = pd.DataFrame({"a": np.empty(0, dtype=int)})
    contracts = run(checks, [], [small(), rows_at_least("enough", "why", 1)], tmp_path, "test").contracts
    assert [(c.contract.name, c.kept) for c in contracts] == [("small", True), ("enough", False)]


def test_data_docs_collect_every_gate_of_a_run_and_of_another_process(tmp_path: Path) -> None:
    for label in ("round-1-pair", "round-2-pair"):
        run(pd.DataFrame({"a": [1]}), names(1), [small()], tmp_path, label)
    script = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; import pandas as pd\n"
        "from tests.data_contracts.test_gate import gate, small\n"
        "gate(pd.DataFrame({'a': [100]}), ['x'], [small()], Path(sys.argv[1]), 'round-3-pair', 'others')"
    )
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", script, str(tmp_path), root], check=True, capture_output=True, cwd=root)
    index = (tmp_path / "index.html").read_text()
    assert all(f"round-{k}-pair" in index for k in (1, 2, 3))
    assert len(list((tmp_path / "validations").rglob("*.html"))) == 3


def test_two_sites_do_not_mix(tmp_path: Path) -> None:
    for folder in ("one", "two", "one"):
        run(pd.DataFrame({"a": [1]}), names(1), [small()], tmp_path / folder, folder)
    assert len(list((tmp_path / "one" / "validations").rglob("*.html"))) == 2
    assert len(list((tmp_path / "two" / "validations").rglob("*.html"))) == 1


def test_hostile_ids_stay_text_in_data_docs(tmp_path: Path) -> None:
    run(pd.DataFrame({"a": [100]}), ["<script>alert(1)</script>"], [small()], tmp_path, "test")
    pages = "".join(page.read_text() for page in tmp_path.rglob("*.html"))
    assert "<script>alert(1)" not in pages
    assert "&lt;script&gt;alert(1)" in pages


def test_data_docs_are_whole_without_a_network_and_ask_nobody(tmp_path: Path) -> None:
    for label, value in (("first", 1), ("second <b>", 100)):
        run(pd.DataFrame({"a": [value]}), names(1), [small(), per_row("a_is_low", "why", "a", high=50)], tmp_path, label)
        run(pd.DataFrame({"a": [1]}), names(1), [small()], tmp_path / "others", label)
    pages = {page.relative_to(tmp_path): page.read_text() for page in tmp_path.rglob("*.html")}
    assert len(pages) == 2 * (1 + 1 + 2)  # each site: the index, a suite, two results
    for page in pages.values():
        assert not re.search(r"https?://|<script|<img|<link(?! rel=.icon. href=.data:,)|@import|url\(|dataContextId", page)
        assert "default-src 'none'" in page and "</html>" in page
    index = pages[Path("index.html")]
    rows = re.findall(r"<tr>.*?</tr>", index, re.DOTALL)
    linked = {html.unescape(unquote(target)) for target in re.findall(r'href="([^"#]+)"', index)} - {"index.html", "data:,"}
    assert linked == {str(path) for path in pages if path.parts[0] in ("validations", "expectations")}
    assert [("second &lt;b&gt;" in row, "Failed" in row) for row in rows if "validations/" in row] == [
        (True, True),
        (False, False),
    ]
    for path, page in pages.items():  # every page leads home
        home = re.search(r'<header><a href="([^"]+)"', page)
        assert home and (tmp_path / path.parent / home[1]).resolve() in ((tmp_path / f / "index.html") for f in ("", "others"))
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file() and ".store" not in path.parts} == {".html"}


def test_the_templates_of_data_docs_are_compiled_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jinja2 import Environment

    compiled = list[str | None]()
    compile_ = Environment.compile
    monkeypatch.setattr(
        Environment,
        "compile",
        lambda self, source, name=None, *a, **k: compiled.append(name) or compile_(self, source, name, *a, **k),
    )
    for label in ("first", "second"):
        compiled.clear()
        run(pd.DataFrame({"a": [1]}), names(1), [small()], tmp_path, label)
    assert compiled == []
    assert len(list((tmp_path / "validations").rglob("*.html"))) == 2  # and still drawn


def test_telemetry_is_off_before_the_library_is_imported() -> None:
    script = (
        "import sys, os\nimport data_contracts.suites\n"
        "print('great_expectations' in sys.modules, os.environ['GX_ANALYTICS_ENABLED'])"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=root)
    assert done.stdout.split() == ["False", "false"]
