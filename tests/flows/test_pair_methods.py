"""The pair methods through a round's real wiring, on the embedded models: gates, engine, teacher, and what the pairs must be.

The method `clair` goes through the whole command in tests/end_to_end.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_contracts.config import RoundsConfig
from data_contracts.errors import PlumblineError
from data_contracts.load_config import load_config
from data_contracts.store import Dataset
from flows import round as flow
from flows.session import Session
from models.checkpoint import Checkpoint, open_checkpoint
from models.engine import Engine
from models.journal import Reply
from models.teacher import Teacher
from tasks.align import align
from tasks.lineage import Standing
from tasks.pair import stages

pytestmark = pytest.mark.engine
ROOT = Path(__file__).resolve().parents[2]
SMALL = ["prompts.per_round=16", "validate.min_rows=1", "validate.max_quarantined=1.0"]
HOT = "{name: off_policy_judge, sources: [{kind: teacher, temperature: 1.5}, initial]}"
DELTA = f"{{name: delta, stronger: teacher, weaker: {{kind: checkpoint, model: {ROOT}/models/embedded/student}}}}"
# sets of the configuration → the writers of (chosen, rejected) that the pairs may have
CASES: dict[str, tuple[list[str], set[tuple[str, str]]]] = {
    "self_revision": (
        ["method=self_revision", "policy=models/embedded/teacher", "sample.temperature=2.0"],
        {("teacher", "teacher")},
    ),
    "on_policy_judge": (["method=on_policy_judge", "sample.n=2"], {("policy", "policy")}),
    "best_of_n": (["method={name: best_of_n, choice: max_random}", "sample.n=3"], {("policy", "policy")}),
    "rso": (["method={name: rso, keep: 2, temperature: 5.0}", "sample.n=3"], {("policy", "policy")}),
    "off_policy_judge": ([f"method={HOT}"], {("teacher", "policy"), ("policy", "teacher")}),
    "stronger_preferred": (["method=stronger_preferred"], {("teacher", "policy")}),
    "delta": ([f"method={DELTA}"], {("teacher", "policy")}),
}


@pytest.fixture
def make(
    engine: Engine, student: Checkpoint, teacher: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Dataset, RoundsConfig]]:
    """The clean pairs of round 1 under these settings, each stage called as a plain function instead of a Prefect task."""
    monkeypatch.setattr(flow, "step", lambda _label, stage, *given, retries=0: stage(*given))

    def run(sets: list[str], number: int = 1, asked: Teacher | None = None) -> tuple[Dataset, RoundsConfig]:
        config = load_config(ROOT / "configs" / "demo.yaml", [*SMALL, *sets])
        assert isinstance(config, RoundsConfig)
        policy = open_checkpoint(config.policy)
        others = {w.model: open_checkpoint(w.model) for w in config.method.writers if w.kind == "checkpoint"}
        session = Session(tmp_path, config, None, policy, teacher, others, _engine=engine)  # type: ignore[arg-type]
        session._teacher = asked
        standing = Standing(0, policy, None)  # type: ignore[arg-type]
        return flow.make_pairs(session, tmp_path / f"round-{number}", "test", standing, number, 5), config

    return run


@pytest.mark.parametrize("name", CASES)
def test_a_method_makes_pairs_of_the_right_writers_and_just_its_stages(
    name: str, make: Any, tmp_path: Path, student: Checkpoint, teacher: Checkpoint
) -> None:
    sets, writers = CASES[name]
    pairs, config = make(sets)
    rows = pairs.records()
    assert rows and pairs.facts["kept"] == len(rows)
    who = {student.hash: "policy", teacher.hash: "teacher"}
    assert {(who[row["chosen_policy"]], who[row["policy"]]) for row in rows} <= writers
    assert all(row["method"] == name and row["round"] == 1 for row in rows)
    assert {row["on_policy"] for row in rows} == {len({*writers}) == 1 and len({*next(iter(writers))}) == 1}
    made = {path.parent.name for path in (tmp_path / "round-1").glob("*/manifest.json")}
    assert made == set(stages(config.model_dump(mode="json")))
    if config.method.judged:
        assert all(row["margin"] > 0 for row in rows)
    assert 0 < pairs.facts["metrics"]["token_jaccard"] < 1


def test_a_worsened_copy_goes_through_the_gates_as_the_rejected_side(make: Any, student: Checkpoint) -> None:
    def worsen(conversations: Any, *_: Any) -> list[Reply]:
        assert all("clearly worse" in conversation[0]["content"] for conversation in conversations)
        return [Reply("{teacher_reasoning}: Less.\n{worsened_student_solution}: no", "stop") for _ in conversations]

    pairs, _ = make(["method=worst_revision", "revise.template=null"], asked=Teacher("stub", worsen))
    rows = pairs.records()
    assert rows and {(row["rejected"], row["policy"], row["chosen_policy"]) for row in rows} == {("no", "stub", student.hash)}


def test_a_file_of_labelled_answers_trains_an_objective_on_single_answers_and_no_other(
    make: Any, tmp_path: Path, student: Checkpoint, trainer: Any
) -> None:
    sums = [(f"What is {a} plus {b}?", a + b) for a in range(11, 17) for b in (20, 32)]
    lines = [{"prompt": ask, "completion": f"{n if i % 2 else n + 1}", "label": bool(i % 2)} for i, (ask, n) in enumerate(sums)]
    file = tmp_path / "labels.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    kto = ["align.objective={name: kto}", "align.batch_size=6", "align.learning_rate=1e-3", "align.epochs=4"]
    data, config = make([f"prompts.file={file}", "prompts.per_round=12", "method=recorded", *kto])
    rows = data.records()
    assert [(row["chosen"] is None, row["rejected"] is None) for row in rows] == [(True, False), (False, True)] * 6
    trained = align(tmp_path / "align", data, config.align, student, student, 0, trainer)
    assert trained.facts["final_rejected_logratio"] < 0 and trained.facts["final_accuracy"] is None
    with pytest.raises(PlumblineError, match=r"12 of 12 rows .* are one-sided .* objective dpo compares both sides"):
        make([f"prompts.file={file}", "prompts.per_round=12", "method=recorded", "align.objective={name: dpo}"], number=1)


def test_a_threshold_leaves_sides_alone_to_an_objective_on_single_answers(make: Any) -> None:
    sets = ["method={name: best_of_n, choice: threshold, threshold: -8}", "sample.n=3", "align.objective={name: bco}"]
    rows = make(sets)[0].records()
    lone = [row for row in rows if row["chosen"] is None or row["rejected"] is None]
    assert lone and all(row["on_policy"] for row in rows)
    assert all((row["chosen_score"] or 0) >= -8 and (row["rejected_score"] or -9) < -8 for row in rows)


def test_recorded_pairs_are_taken_a_round_at_a_time_judged_again_and_replayed(make: Any, tmp_path: Path) -> None:
    sums = [("12 plus 34", 46), ("21 plus 53", 74), ("40 plus 15", 55)]
    right = [(f"What is {s}?", f"{s} is {n}.", f"{s} is {n + 1}.") for s, n in sums]
    lines = [{"ask": ask, "answers": {"a": good, "b": bad}, "p": 0.9} for ask, good, bad in right]
    lines += [{"ask": ask, "answers": {"a": bad, "b": good}, "p": 0.2} for ask, good, bad in right[:2]]  # turned round: right
    lines += [{"ask": ask, "answers": {"a": bad, "b": good}, "p": 0.9} for ask, good, bad in right[2:]]  # wrong
    file = tmp_path / "recorded.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    sets = [f"prompts.file={file}", "prompts.per_round=3", "pairs.second_view={kind: likelihood}", "pairs.replay=[1.0]"]
    sets += ["method={name: recorded, prompt: ask, chosen: answers.a, rejected: answers.b, probability: p}"]
    first, _ = make(sets)
    assert [(row["chosen"], row["rejected"]) for row in first.records()] == [(good, bad) for _, good, bad in right]
    rows = make(sets, number=2)[0].records()
    assert [(row["chosen"], row["chosen_policy"], row["round"]) for row in rows if row["round"] == 2] == [
        (good, "answers.b", 2) for _, good, _ in right[:2]
    ]
    # the teacher does not agree with the wrong pair; of the first round's three, two are copies of pairs that are there
    assert [row["round"] for row in rows] == [2, 2, 1]
