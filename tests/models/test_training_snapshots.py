"""A training that is killed goes on to bitwise the same weights."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.training import snapshots
from models.training.jobs import align
from models.training.progress import silent
from tests.models.test_training_loop import config

ROOT = Path(snapshots.__file__).parents[2]


def job(pairs, policy, folder, **settings):
    """bco carries a state and kto's reference has two files; out is wiped between attempts, as `build` does it."""
    model = {"path": str(policy.path), "hash": policy.hash}
    (folder / "out").mkdir(parents=True)
    asked = {"pairs": str(pairs.folder), "config": config(**settings).model_dump(mode="json"), "seed": 3}
    asked |= {"policy": model, "reference": model, "cache": str(folder / "cache")}
    return asked | {"out": str(folder / "out"), "resume": str(folder / "resume")}


def weights(folder):
    return load_file(folder / "out" / "model" / "model.safetensors")


MEASURED = ("tokens_per_second", "peak_memory_mb")  # of the machine, not of the training


class Stop(Exception):
    pass


def stop_after(step):
    def progress(done, *_):
        if done > step:  # the snapshot of `step` has been written
            raise Stop

    return progress


@pytest.mark.parametrize("name", ["dpo", "bco", "alpha_dpo", "kto", "ld_dpo"])
def test_going_on_from_any_snapshot_ends_in_the_same_weights_and_records(pairs, tiny, tmp_path, monkeypatch, name):
    settings = {"name": name, "epochs": 2, "schedule": "cosine"}
    whole = align(job(pairs, tiny, tmp_path / "whole", **settings), silent)
    monkeypatch.setattr(snapshots, "EVERY", 0.0)
    monkeypatch.setattr(snapshots, "SHARE", 0.0)
    for step in (1, 4):
        cut = job(pairs, tiny, tmp_path / str(step), **settings)
        with pytest.raises(Stop):
            align(cut, stop_after(step))
        seen = []
        resumed = align(cut, lambda done, *_, seen=seen: seen.append(done))
        assert seen == list(range(step + 1, 7))  # not one step is done twice
        first, second = weights(tmp_path / "whole"), weights(tmp_path / str(step))
        assert all(torch.equal(first[k], second[k]) for k in first)
        timeless = [[{k: v for k, v in r.items() if k not in MEASURED} for r in x["steps"]] for x in (whole, resumed)]
        assert timeless[0] == timeless[1] and resumed["figures"] == whole["figures"]


FORKING = """
import json, os, sys, models.training.snapshots as snapshots
from models.training.jobs import align
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # lazy: imported when named
snapshots.EVERY = snapshots.SHARE = 0.0
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        align(json.loads(line), lambda *_: None)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def test_a_process_killed_in_the_middle_of_an_epoch_loses_nothing(pairs, tiny, tmp_path):
    """SIGKILL at a moment nobody chose, possibly in the middle of writing a snapshot; three times over.

    Every attempt is a process of its own: other tests set this one's threads, and sums depend on their number. All are forked
    from one that has imported what takes ten seconds.
    """
    whole, cut = (job(pairs, tiny, tmp_path / name, name="bco", epochs=12) for name in ("whole", "cut"))
    resume, reached = tmp_path / "cut" / "resume", []
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", FORKING], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as forking:

        def start(what):
            print(json.dumps(what), file=forking.stdin, flush=True)
            return int(forking.stdout.readline())

        def ended():
            return int(forking.stdout.readline())

        start(whole)
        assert ended() == 0
        for attempt in range(2):
            pid, limit, goal = start(cut), time.monotonic() + 120, (attempt + 1) * 6
            while not any(int(p.name[5:]) >= goal for p in resume.glob("step-*")) and time.monotonic() < limit:
                time.sleep(0.002)
            os.kill(pid, signal.SIGKILL)
            assert ended() == -signal.SIGKILL
            reached.append(max(int(p.name[5:]) for p in resume.glob("step-*")))
        assert 6 <= reached[0] < reached[1] < 36
        assert len(list(resume.glob("step-*"))) <= snapshots.KEPT + 1
        start(cut)
        assert ended() == 0
        forking.stdin.close()
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_snapshots_are_bounded(pairs, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "EVERY", 0.0)
    monkeypatch.setattr(snapshots, "SHARE", 0.0)
    cut = job(pairs, tiny, tmp_path / "cut", name="dpo")
    with pytest.raises(Stop):
        align(cut, stop_after(4))
    kept = sorted(p.name for p in (tmp_path / "cut" / "resume").glob("step-*"))
    assert kept == ["step-00000003", "step-00000004"]


def test_nothing_is_written_before_it_is_due(pairs, tiny, tmp_path):
    align(job(pairs, tiny, tmp_path, name="dpo"), silent)
    assert list((tmp_path / "resume").glob("step-*")) == []
