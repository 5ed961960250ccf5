"""The training subprocess: its surroundings, and how its end is told."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_contracts.errors import PlumblineError
from models.training import process
from models.training.process import Trainer
from tests.pairs_dataset import pairs_dataset

ROOT = Path(process.__file__).parents[2]


def rank_job(pairs, model):
    return {"kind": "rank", "pairs": str(pairs.folder), "policy": {"path": str(model.path), "hash": model.hash}}


def wait_until(true, seconds=20.0):
    limit = time.monotonic() + seconds
    while not true() and time.monotonic() < limit:
        time.sleep(0.05)
    return true()


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_job_is_answered_and_the_worker_stays_warm(trainer, tiny, tmp_path):
    pairs, seen = pairs_dataset(tmp_path / "pairs", tiny, 6), []
    first = trainer.run(rank_job(pairs, tiny), lambda *at: seen.append(at))
    worker = trainer._process.pid
    assert os.getsid(worker) == os.getsid(0)  # else those that give way to it would not
    assert os.getpgid(worker) == worker  # Ctrl-C is not for it
    assert trainer.run(rank_job(pairs, tiny)) == first and trainer._process.pid == worker
    assert [row["pair_id"] for row in first["rows"]] == [f"p{i}" for i in range(6)] and seen[-1] == (6, 6, None)


def test_bad_data_comes_back_as_the_workers_own_sentence(trainer, tiny, tmp_path):
    trainer.warm()
    worker = trainer._process.pid
    with pytest.raises(PlumblineError, match="holds no pairs"):
        trainer.run(rank_job(pairs_dataset(tmp_path / "pairs", tiny, 0), tiny))
    assert trainer._process.pid == worker and trainer._process.poll() is None


def test_an_unexpected_failure_is_one_sentence_with_the_log_that_holds_the_traceback(trainer, tiny, tmp_path):
    pairs = pairs_dataset(tmp_path / "pairs", tiny, 2)
    job = rank_job(pairs, tiny)
    del job["policy"]["path"]
    with pytest.raises(PlumblineError, match=r"ended with status 1 during rank: see .*trainer\.log"):
        trainer.run(job)
    assert "Traceback" in trainer._log.read_text()
    assert trainer.run(rank_job(pairs, tiny))["rows"]  # and the next job gets a fresh worker


def test_a_killed_worker_is_one_sentence(tiny, tmp_path):
    mine = Trainer(tmp_path / "logs" / "trainer.log")
    mine.warm()
    os.kill(mine._process.pid, signal.SIGKILL)
    mine._process.wait()
    process_, mine.warm = mine._process, lambda: None  # as if it died between warming and answering
    with pytest.raises(PlumblineError, match=r"was killed by SIGKILL \(often: out of memory\) during rank"):
        mine.run(rank_job(pairs_dataset(tmp_path / "pairs", tiny, 2), tiny))
    mine.close()
    assert gone(process_.pid)


def test_the_worker_does_not_outlive_its_parent(tmp_path):
    """Even if the parent is killed outright and somebody else still holds the worker's stdin open."""
    code = (
        "import os, sys, time; from pathlib import Path; from models.training.process import Trainer\n"
        f"t = Trainer(Path({str(tmp_path / 'log')!r})); t.warm()\n"
        "if os.fork() == 0: time.sleep(30); os._exit(0)\n"
        "print(t._process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True)
    worker = int(parent.stdout.readline())
    try:
        time.sleep(0.5)
        assert not gone(worker)
        parent.kill()
        parent.wait()
        assert wait_until(lambda: gone(worker))
    finally:
        os.killpg(parent.pid, signal.SIGKILL)  # the forked child


def test_closing_leaves_no_process_and_may_be_repeated(tmp_path):
    mine = Trainer(tmp_path / "trainer.log")
    mine.close()
    mine.warm()
    worker = mine._process.pid
    mine.warm()
    assert mine._process.pid == worker
    mine.close()
    mine.close()
    assert gone(worker)


def test_an_interrupted_job_does_not_answer_the_next_one(trainer, tiny, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    short, long = (pairs_dataset(tmp_path / str(n), tiny, n) for n in (3, 40))
    with pytest.raises(KeyboardInterrupt):
        trainer.run(rank_job(long, tiny), interrupt)
    assert len(trainer.run(rank_job(short, tiny))["rows"]) == 3


def test_the_environment_is_free_of_what_the_engine_leaves_behind(monkeypatch):
    inside = f"{sys.prefix}/lib/vllm/libs/libtcmalloc_minimal.so"
    monkeypatch.setenv("LD_PRELOAD", f"{inside}:/usr/lib/mine.so")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    env = process._environment(4)
    assert env["LD_PRELOAD"] == "/usr/lib/mine.so" and "LOCAL_WORLD_SIZE" not in env
    assert env["OMP_NUM_THREADS"] == "4" and "OMP_WAIT_POLICY" not in env and env["MALLOC_MMAP_THRESHOLD_"] == "4000000000"
    monkeypatch.setenv("LD_PRELOAD", inside)
    assert "LD_PRELOAD" not in process._environment(4)


def test_a_pinned_parent_does_not_pin_the_worker(tmp_path):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core only")
    code = (
        "import os, threading, time; from pathlib import Path; from models.training.process import Trainer\n"
        "threading.Thread(target=time.sleep, args=(20,), daemon=True).start()\n"  # a thread the engine has not pinned
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        f"t = Trainer(Path({str(tmp_path / 'log')!r})); t.warm(); deadline = time.time() + 10\n"
        "while len(os.sched_getaffinity(t._process.pid)) < 2 and time.time() < deadline: time.sleep(0.05)\n"
        "print(len(os.sched_getaffinity(0)), len(os.sched_getaffinity(t._process.pid))); t.close()"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.split() == ["1", str(len(os.sched_getaffinity(0)))]


STAND_IN = """
import json, sys, time
sys.stdin.readline()
print(json.dumps({"done": {}, "leaves": True}), flush=True)
time.sleep(60)  # a GPU's memory is freed when the process has ended, and not when it has answered
"""


def test_a_worker_that_leaves_has_left_before_its_answer_is_told_and_the_next_is_another(tmp_path, monkeypatch):
    real = subprocess.Popen
    monkeypatch.setattr(process.subprocess, "Popen", lambda command, **kw: real([sys.executable, "-c", STAND_IN], **kw))
    mine = Trainer(tmp_path / "trainer.log", processes=2)
    seen = []
    for _ in range(2):
        mine.warm()
        seen += [p.pid for p in (mine._process, *mine._others)]
        assert mine.run({"kind": "rank"}) == {} and all(gone(pid) for pid in seen)
    mine.close()
    assert len(set(seen)) == 4


def test_on_a_gpu_a_worker_says_that_it_leaves(tiny, tmp_path):
    code = (
        "import os, torch; torch.cuda.is_available = lambda: True\n"
        "from models.training.worker import main; main(os.getppid(), os.sched_getaffinity(0), None)"
    )
    empty = pairs_dataset(tmp_path / "pairs", tiny, 0)
    job = json.dumps(rank_job(empty, tiny))
    asked = subprocess.run([sys.executable, "-c", code], input=f"{job}\n{job}\n", capture_output=True, text=True, cwd=ROOT)
    (said,) = asked.stdout.splitlines()
    assert json.loads(said)["leaves"] is True and "error" in json.loads(said)


def test_a_member_whose_gpu_is_full_is_told_as_that_and_leaves_nobody_waiting(tmp_path, monkeypatch):
    real, started = subprocess.Popen, []

    def popen(command, env, **kw):
        ends = f"raise SystemExit({process.OUT_OF_MEMORY})" if env["RANK"] == "1" else "import time; time.sleep(60)"
        started.append(real([sys.executable, "-c", ends], env=env, **kw))
        return started[-1]

    monkeypatch.setattr(process.subprocess, "Popen", popen)
    with pytest.raises(PlumblineError, match=r"GPU's memory does not suffice .*micro_batch_tokens"):
        Trainer(tmp_path / "trainer.log", processes=3).run({"kind": "rank"})
    assert len(started) == 3 and all(gone(p.pid) for p in started)
