"""What a session refuses before an engine or a trainer is started."""

import json
from pathlib import Path

import pytest

from data_contracts.errors import PlumblineError
from data_contracts.load_config import dump_config, load_config
from flows import book
from flows.iterate import check, execute
from flows.lock import locked
from flows.session import open_session
from models.checkpoint import open_checkpoint
from models.prerequisites import LIBRARIES
from tasks.evaluate import check_room

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "configs" / "demo.yaml"


def benchmark(folder: Path, *prompts: str) -> Path:
    entry = {"problem_type": "free-form", "context": None, "target": ["x"], "benchmark_name": "mine"}
    folder.mkdir()
    (folder / "free-form.json").write_text(json.dumps({str(i): entry | {"prompt": p} for i, p in enumerate(prompts)}))
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("engine.max_model_len=4096", r"engine\.max_model_len is 4096, but the policy takes 2048 tokens"),
        ("teacher={kind: vllm, model: models/embedded/teacher, max_model_len: 5000}", r"teacher\.max_model_len is 5000"),
        ("validate.max_tokens=4096", r"validate\.max_tokens is 4096"),
        ("evaluate.benchmark={long}", r"a question of \d+ tokens leaves no room"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, said: str
) -> None:
    monkeypatch.chdir(ROOT)
    sets = ["judge={kind: generation}", change.replace("{long}", str(benchmark(tmp_path / "long", "how much? " * 400)))]
    with pytest.raises(PlumblineError, match=said), open_session(tmp_path, load_config(DEMO, sets)):
        pass
    assert not (tmp_path / "logs").exists()  # where a trainer would have written


def test_a_benchmark_of_long_words_that_fits_is_no_trouble(tmp_path: Path) -> None:
    config = load_config(DEMO, [f"evaluate.benchmark={benchmark(tmp_path / 'b', 'number ' * 60)}"])
    policy = open_checkpoint(config.policy)
    check_room(config.evaluate, policy, 512)  # type: ignore[union-attr]
    with pytest.raises(PlumblineError, match="leaves no room"):
        check_room(config.evaluate, policy, 50)  # type: ignore[union-attr]


def test_a_round_that_is_smaller_than_any_gate_lets_pass_is_told_before_anything_starts(tmp_path: Path) -> None:
    check(load_config(DEMO, ["prompts.per_round=64"]), tmp_path)
    check(load_config(DEMO, ["prompts.per_round=63", "validate.contracts.enough_rows={severity: warn}"]), tmp_path)
    with pytest.raises(PlumblineError, match=r"prompts\.per_round is 63 and validate\.min_rows 64"):
        check(load_config(DEMO, ["prompts.per_round=63"]), tmp_path)


def test_a_finished_run_needs_no_key_to_be_told_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("MISSING_KEY", raising=False)
    config = load_config(
        DEMO,
        [
            "teacher={kind: openai, base_url: 'http://127.0.0.1:9/v1', model: big, api_key_env: MISSING_KEY}",
            "judge={kind: generation}",
        ],
    )
    (tmp_path / "config.yaml").write_text(dump_config(config))
    with pytest.raises(PlumblineError, match="MISSING_KEY"):
        execute(config, tmp_path)
    monkeypatch.setattr("flows.iterate.is_finished", lambda folder: True)
    execute(config, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"config.yaml"}
    with locked(tmp_path):
        book.sign(tmp_path, {}, "killed between the report and its end", 1)
    with pytest.raises(PlumblineError, match="MISSING_KEY"):  # it is taken up, so that Prefect is told
        execute(config, tmp_path)


def test_what_vllm_lacks_of_the_machine_stops_a_run_before_its_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for backend in LIBRARIES:
        monkeypatch.setitem(LIBRARIES, backend, {"libmissing.so.1": "libmissing1"})
    with pytest.raises(PlumblineError, match=r"vLLM needs libmissing\.so\.1"):
        execute(load_config(DEMO), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["clair", "demo", "human_pairs", "iterative_dpo"])
def test_nothing_in_a_shipped_config_is_refused_before_its_models_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    mixeval = ROOT / "models" / "embedded" / "data" / "mixeval" / "embedded-1"  # for what would be fetched
    sets = [] if name == "human_pairs" else [f"evaluate.benchmark={mixeval}"]
    check(load_config(ROOT / "configs" / f"{name}.yaml", sets), tmp_path / "run")


def test_a_file_of_answers_to_other_prompts_is_told_before_anything_starts(tmp_path: Path) -> None:
    """It would leave a round without pairs, after its sampling."""
    first = json.loads((ROOT / "models" / "embedded" / "data" / "prompts.jsonl").read_text().splitlines()[0])["prompt"]
    answers = tmp_path / "answers.jsonl"
    method = f"method={{name: delta, stronger: {{kind: file, file: {answers}, answer: said}}, weaker: initial}}"
    for lines, fits in (
        ([{"prompt": "another", "said": "no"}, {"prompt": first, "said": "yes"}], True),
        ([{"prompt": "another", "said": "no"}, {"prompt": first, "response": "yes"}], False),
        ([{"prompt": "another", "said": "no"}], False),
    ):
        answers.write_text("".join(json.dumps(line) + "\n" for line in lines))
        if fits:
            check(load_config(DEMO, [method]), tmp_path / "run")
        else:
            with pytest.raises(PlumblineError, match=r"answers\.jsonl, named by method, holds under 'said' no answer to any of"):
                check(load_config(DEMO, [method]), tmp_path / "run")


def test_adapters_without_their_library_are_told_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(DEMO, ["align.lora={rank: 4}"])
    check(config, tmp_path)
    monkeypatch.setattr("models.objectives.serving.find_spec", lambda name: None)
    with pytest.raises(PlumblineError, match=r"align\.lora needs peft"):
        check(config, tmp_path)
