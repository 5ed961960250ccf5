"""`plumbline score` and `plumbline evaluate`, as a user gives them."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import flows.evaluate
from data_contracts.errors import PlumblineError
from flows import display
from flows.cli import app
from tests.tasks.test_evaluate import Greedy

ROOT = Path(__file__).parents[2]
EMBEDDED = ROOT / "models" / "embedded" / "data" / "mixeval" / "embedded-1"
FREE = {"problem_type": "free-form", "context": None, "prompt": "2 + 2?", "target": ["4"], "benchmark_name": "GSM8k"}


def plumbline(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if isinstance(result.exception, PlumblineError):
        raise result.exception
    return result


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    stream = StringIO()
    monkeypatch.setattr(display, "_console", display._make_console(stream))
    return stream


def responses(folder: Path, *said: str) -> Path:
    folder.mkdir(parents=True)
    rows = [FREE | {"formated_input": "?", "id": str(i), "response": text} for i, text in enumerate(said)]
    (folder / f"{folder.name}_close_freeform_hard.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_score_says_what_was_measured_on_what_and_how_much_was_not_read(tmp_path: Path, terminal: StringIO) -> None:
    plumbline("score", responses(tmp_path / "m", "4", "It is 5.", "Six."), "--parser", "rule")
    shown = terminal.getvalue()
    assert "m on mixeval-hard, rule-2" in shown and "GSM8k" in shown and "0.333" in shown
    found = json.loads(plumbline("score", tmp_path / "m", "--json").stdout)
    assert found["metric"] == "mixeval-hard.rule-2.overall"
    assert found["metrics"]["overall"]["mean"] == pytest.approx(1 / 3) and found["official"]["overall"] == 0.333
    assert found["unparsed"] == [] and found["gains"] == [] and found["selection"] is None


def test_score_shows_unparsed_answers_as_text_and_never_as_markup(tmp_path: Path, terminal: StringIO) -> None:
    plumbline("score", responses(tmp_path / "m", "4", "[/] ***"))
    assert "unparsed: free-form/1 (GSM8k): '[/] ***'" in terminal.getvalue()


def test_score_compares_with_others_and_warns_of_a_pick(tmp_path: Path, terminal: StringIO) -> None:
    best, one, other = (responses(tmp_path / n, *said) for n, said in (("a", "44"), ("b", "45"), ("c", "54")))
    plumbline("score", best, "--against", one, "--against", other)
    shown = terminal.getvalue()
    assert "against b: +0.500" in shown and "p = " in shown
    assert "a is the best of 3 models measured on the same questions" in shown
    plumbline("score", one, "--against", best, "--against", other)
    assert "best of" not in terminal.getvalue()[len(shown) :]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--parser", "magic"), r"--parser is 'magic': use one of rule, .*official-rule"),
        (("--parser", "model"), "give --teacher a run's configuration"),
        (("--parser", "model", "--teacher", ROOT / "configs" / "human_pairs.yaml"), "has no teacher"),
        (("--benchmark", EMBEDDED), "name the right benchmark"),
        (("--against", ROOT / "configs"), "holds no response files"),
    ],
)
def test_what_cannot_be_scored_is_one_sentence(tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(PlumblineError, match=message):
        plumbline("score", responses(tmp_path / "m", "4"), *arguments)


def test_real_responses_score_as_upstream_does_and_are_checked_against_their_benchmark(shared_data: Path) -> None:
    data = shared_data / "mixeval"
    hard = data / "2024-06-01" / "mixeval-hard"
    found = json.loads(plumbline("score", data / "responses", "--parser", "official-rule", "--benchmark", hard, "--json").stdout)
    assert found["metric"] == "mixeval-hard-2024-06-01.official-rule.overall"
    assert [found["metrics"][s]["mean"] for s in ("free-form", "multiple-choice", "overall")] == [0.204, 0.354, 0.279]
    assert len(found["unparsed"]) == 47


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`plumbline evaluate` with transformers in the engine's place, which needs no start; each start is noted."""
    started: list[str] = []

    @contextmanager
    def lent(checkpoint, config, log, watched) -> Iterator[Callable[[], object]]:  # type: ignore[no-untyped-def]
        started.append(checkpoint.hash)
        yield Greedy

    monkeypatch.setattr(flows.evaluate, "_engine", lent)
    return started


def small(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for split in ("free-form", "multiple-choice"):
        entries = dict(list(json.loads((EMBEDDED / f"{split}.json").read_text()).items())[:8])
        (folder / f"{split}.json").write_text(json.dumps(entries))
    return folder


def test_evaluate_writes_official_files_scores_them_and_asks_nothing_twice(tmp_path: Path, tiny, engines) -> None:
    given = (
        "--benchmark",
        small(tmp_path / "small-1"),
        "--prompts",
        "plain",
        "--name",
        "a",
        "--max-tokens",
        8,
        "--out",
        tmp_path / "out",
    )
    first = json.loads(plumbline("evaluate", tiny.path, *given, "--parser", "strict", "--json").stdout)
    folder = tmp_path / "out" / "a" / "small-1" / "unversioned"
    assert first["metric"] == "small-1.strict-1.overall" and first["metrics"]["overall"]["rows"] == 16
    assert {"a_close_freeform.jsonl", "a_close_multichoice.jsonl", "score.json"} <= {p.name for p in folder.iterdir()}
    again = json.loads(plumbline("evaluate", tiny.path, *given, "--parser", "rule", "--json").stdout)
    assert again["parser"] == "rule-2" and engines == [tiny.hash]
    scored = json.loads(plumbline("score", tmp_path / "out", "--parser", "strict-1", "--json").stdout)
    assert scored["metrics"] == first["metrics"] and scored["benchmark"] == "small-1"
    moved = shutil.copytree(tiny.path, tmp_path / "moved")
    (moved / "generation_config.json").write_text("{}")
    with pytest.raises(PlumblineError, match="answers of other weights"):
        plumbline("evaluate", moved, *given)


def test_a_base_model_needs_no_chat_template_and_a_chat_model_does(tmp_path: Path, tiny, engines) -> None:
    base = shutil.copytree(tiny.path, tmp_path / "base")
    (base / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((base / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    for split in ("free-form", "multiple-choice"):
        (tmp_path / f"{split}.txt").write_text("Two and two?\nfour\n\n\n")
    given = ("--benchmark", small(tmp_path / "small-1"), "--max-tokens", 8, "--out", tmp_path / "out", "--json")
    found = json.loads(plumbline("evaluate", base, *given, "--prompts", "mixeval-base", "--shots", tmp_path).stdout)
    assert found["metrics"]["overall"]["rows"] == 16
    lines = (tmp_path / "out" / "base" / "small-1" / "unversioned" / "base_close_freeform.jsonl").read_text().splitlines()
    asked = json.loads(lines[0])["formated_input"]
    assert asked.startswith("Two and two?\nfour\n\n\nQuestion: ") and asked.endswith("Answer the question shortly.\n")
    with pytest.raises(PlumblineError, match="no chat template"):
        plumbline("evaluate", base, *given, "--name", "chat")


def test_who_is_to_read_is_asked_for_before_the_model_answers(tmp_path: Path, tiny, engines, monkeypatch) -> None:
    monkeypatch.delenv("MISSING_KEY", raising=False)
    config = tmp_path / "run.yaml"
    teacher = "teacher: {kind: openai, base_url: 'http://127.0.0.1:9/v1', model: m, api_key_env: MISSING_KEY}"
    demo = (ROOT / "configs" / "demo.yaml").read_text().replace("../models", str(ROOT / "models"))
    lines = [teacher if line.startswith("teacher:") else line for line in demo.splitlines()]
    config.write_text("\n".join(line for line in lines if not line.startswith("judge:")))
    given = ("evaluate", tiny.path, "--benchmark", EMBEDDED, "--out", tmp_path / "out", "--parser", "model")
    for more, said in (((), "--teacher"), (("--teacher", config), "MISSING_KEY")):
        with pytest.raises(PlumblineError, match=said):
            plumbline(*given, *more)
    assert engines == []


def test_who_reads_the_answers_is_tried_before_the_model_answers(tmp_path: Path, tiny, engines, monkeypatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", "any")
    given = ("--benchmark", small(tmp_path / "small-1"), "--max-tokens", 8, "--out", tmp_path / "out", "--parser", "model")
    for teacher, said in (
        ("{kind: openai, base_url: 'http://127.0.0.1:9/v1', model: big, api_key_env: TEACHER_KEY}", "cannot be reached"),
        (f"{{kind: local, model: {tmp_path}}}", "holds no model"),
    ):
        config = (ROOT / "configs" / "demo.yaml").read_text().replace("../models", str(ROOT / "models"))
        config = re.sub(r"^teacher: .*", f"teacher: {teacher}", config, flags=re.M).replace("likelihood", "generation")
        (tmp_path / "run.yaml").write_text(config)
        with pytest.raises(PlumblineError, match=said):
            plumbline("evaluate", tiny.path, *given, "--teacher", tmp_path / "run.yaml")
    assert engines == [] and not (tmp_path / "out").exists()
