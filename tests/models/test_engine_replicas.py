"""Two engines answer as one does: the session's own and a second in a process of its own, as on a machine with two GPUs."""

import os
import signal
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest

from data_contracts.errors import PlumblineError
from models.checkpoint import Checkpoint
from models.engine import Engine
from models.engine_replicas import Engines, deal
from tests.models.test_engine import GREEDY, WARM, prompts

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def both(engine: Engine, student: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    engine.use(student)
    two = Engines.__new__(Engines)
    two.__dict__ = engine.__dict__  # the first is the one that all tests share
    two._named, two._log, two._replicas = ["0", "1"], tmp_path_factory.mktemp("engines") / "engines.log", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        two._spread([["1"]], student, lambda _: None)
    engine.current = student  # which it has held all the time
    yield two
    two._end()


def test_two_engines_answer_as_one_does_after_every_swap(both: Engines, student: Checkpoint, teacher: Checkpoint) -> None:
    texts, seen = {}, list[tuple[int, int]]()
    for checkpoint in (student, teacher, student):
        both.use(checkpoint)
        asked, seeds = prompts(both, 20), [7 * i for i in range(20)]
        for sampling in (GREEDY, WARM):
            seen.clear()
            made = both.generate(asked, sampling, seeds, lambda *done: seen.append(done))
            assert made == Engine.generate(both, asked, sampling, seeds)
            assert seen[-1] == (20, 20) and seen == sorted(seen)
        answers = [c.token_ids for c in made]
        shared, alone = (score(asked, answers) for score in (both.score_greedy, partial(Engine.score_greedy, both)))
        assert [logp for logp, _ in shared] == pytest.approx([logp for logp, _ in alone], abs=1e-4)
        assert [greedy for _, greedy in shared] == [greedy for _, greedy in alone]
        texts[checkpoint.hash] = [c.text for c in made]
        assert both.generate(asked[:1], WARM, seeds[:1], choices=["yes", "no"])[0].text in ("yes", "no")
    assert texts[student.hash] != texts[teacher.hash]


def test_a_swap_that_does_not_reach_both_shows(both: Engines, student: Checkpoint, teacher: Checkpoint) -> None:
    """Negative control: equal answers are no accident, the second engine gives half of them."""
    both.use(student)
    asked = prompts(both, 20)
    Engine.use(both, teacher)
    mixed, teachers = (ask(asked, GREEDY, [0] * 20) for ask in (both.generate, partial(Engine.generate, both)))
    assert 5 <= sum(a != b for a, b in zip(mixed, teachers, strict=True)) <= 15
    Engine.use(both, student)


def test_each_engine_proves_its_own_weights(both: Engines, student: Checkpoint, teacher: Checkpoint) -> None:
    both.use(student)
    wrong = {"do": "use", "path": str(teacher.path), "hash": teacher.hash, "probe": asdict(both.probes[student.hash])}
    with pytest.raises(PlumblineError, match="does not hold the weights"):
        both._replicas[0].ask(wrong, print)
    both.use(teacher)  # with what they should give, the same weights are taken
    both.use(student)


def test_a_prompt_too_long_is_refused_before_anybody_is_asked(both: Engines) -> None:
    with pytest.raises(PlumblineError, match=r"engine\.max_model_len"):
        both.generate([[5] * 600, [6]], GREEDY, [0, 0])
    assert len(both._replicas) == 1


def test_the_death_of_one_is_one_sentence_and_leaves_nothing(both: Engines, student: Checkpoint) -> None:
    both.use(student)
    other = both._replicas[0]._process.pid
    left_by_vllm = [both.met, both._replicas[0].met]
    assert all(file is not None and file.exists() for file in left_by_vllm)
    os.kill(other, signal.SIGSTOP)  # in the middle of its share
    asked = prompts(both, 20)

    def kill(done: int, _: int) -> None:
        os.kill(other, signal.SIGKILL)

    with pytest.raises(PlumblineError, match=r"^the engine on GPU 1 was killed by SIGKILL .* see .*engines\.log; resume") as told:
        both.generate(asked, WARM, list(range(20)), kill)
    assert "\n" not in str(told.value)
    assert not os.path.exists(f"/proc/{other}") and not both._replicas
    assert not any(file.exists() for file in left_by_vllm if file is not None)
    assert both.current != student  # whoever uses it next starts it anew


def test_prompts_are_dealt_evenly_and_what_has_a_beginning_in_common_stays_together() -> None:
    template = list(range(40))
    asked = [[*template, *([q] * 30), a] for q in range(100, 180) for a in range(3)]
    work = [len(p) + 100 for p in asked]
    for count in (1, 2, 4, 5):
        shares = deal(asked, work, count)
        assert sorted(i for share in shares for i in share) == list(range(240))
        loads = [sum(work[i] for i in share) for share in shares]
        assert max(loads) - min(loads) <= 6 * max(work)
        together = [sum(not share.isdisjoint({i, i + 1, i + 2}) for share in map(set, shares)) for i in range(0, 240, 3)]
        assert together == [1] * 80


def test_one_large_group_is_split_for_evenness_and_few_prompts_are_dealt_to_as_few() -> None:
    shares = deal([[1] * 50] * 40, [60] * 40, 4)
    assert [len(share) for share in shares] == [10, 10, 10, 10]
    assert deal([[1], [2]], [1, 1], 3) == [[0], [1], []]
    assert deal([], [], 2) == [[], []]


def test_long_prompts_count_for_more() -> None:
    shares = deal([[i] * 10 for i in range(8)], [700, *[100] * 7], 2)
    assert shares == [[0], [1, 2, 3, 4, 5, 6, 7]]


def test_on_a_cpu_there_is_one_engine(monkeypatch: pytest.MonkeyPatch, student: Checkpoint, tmp_path: Path) -> None:
    from data_contracts.config import EngineConfig
    from models import engine_replicas

    made: list[tuple[str, object]] = []
    monkeypatch.setattr(engine_replicas, "Engine", lambda *a: made.append(("one", a[2])))
    monkeypatch.setattr(engine_replicas, "Engines", lambda *a: made.append(("several", a[2:4])))
    for gpus in ([], ["3"], ["0", "1", "2"]):
        monkeypatch.setattr(engine_replicas, "visible", lambda gpus=gpus: gpus)
        engine_replicas.open_engine(student, EngineConfig(), tmp_path / "log")
    assert made == [("one", 0), ("one", 1), ("several", (["0", "1", "2"], 3))]
