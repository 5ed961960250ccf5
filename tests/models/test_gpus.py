"""What a machine has to what each part takes of it; no GPU is needed to know."""

import pytest

from data_contracts.config import EngineConfig
from data_contracts.config_align import AlignConfig
from data_contracts.config_teacher import OpenAITeacher, VllmTeacher
from data_contracts.errors import PlumblineError
from models import gpus
from models.training.process import Trainer

API = OpenAITeacher(kind="openai", model="m", base_url="http://x/v1")


def own(named: str | None, memory: float = 0.4) -> VllmTeacher:
    return VllmTeacher(kind="vllm", model="m", gpus=named, gpu_memory=memory)


@pytest.fixture
def cuda_build(monkeypatch):
    monkeypatch.setattr(gpus, "version", lambda name: "2.13.0")


NAMED = [("4,5", ["4", "5"]), ("", []), ("-1", []), (" 0, 2,-1,3", ["0", "2"]), ("GPU-1a,GPU-2b", ["GPU-1a", "GPU-2b"])]


@pytest.mark.parametrize(("named", "found"), [*NAMED, ("MIG-7c2f,MIG-8d", ["MIG-7c2f"])])
def test_visible_gpus_are_those_that_cuda_reads_there(cuda_build, monkeypatch, named, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert gpus.visible() == found


def test_torch_s_cpu_build_uses_no_gpu_whatever_the_machine_has(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(gpus, "version", lambda name: "2.13.0+cpu")
    assert gpus.visible() == []


def test_a_teacher_s_own_gpus_are_left_to_it():
    four = ["0", "1", "2", "3"]
    assert gpus.trainers(four, own("2,3")) == ["0", "1"] and gpus.before_the_teachers(four, own("2,3")) == 2
    assert gpus.trainers(four, own("1")) == ["0", "2", "3"] and gpus.before_the_teachers(four, own("1")) == 1
    for teacher in (own(None), API, None):
        assert gpus.trainers(four, teacher) == four and gpus.before_the_teachers(four, teacher) == 4
    assert gpus.trainers([], own("2,3")) == []  # a CPU: nothing to give, nothing to refuse


@pytest.mark.parametrize(
    ("there", "named", "said"),
    [
        (["4", "5", "6"], "2", "GPU 2, but this process may use 4, 5, 6"),
        (["MIG-7c2f"], "0", "GPU 0, but this process may use MIG-7c2f"),
        (["0", "1"], "0,1", "GPU 0, on which the run's own engine works"),
    ],
)
def test_a_teacher_takes_nobody_else_s_gpu(there, named, said):
    with pytest.raises(PlumblineError, match=said):
        gpus.trainers(there, own(named))


def test_an_engine_leaves_a_teacher_on_the_same_gpu_its_share(cuda_build, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    engine = EngineConfig()
    assert gpus.engines(engine, own(None)).gpu_memory == 0.5  # with the teacher's 0.4 the defaults fit on one GPU
    assert gpus.engines(engine, own(None)).max_model_len == engine.max_model_len
    assert gpus.engines(EngineConfig(gpu_memory=0.3), own(None)).gpu_memory == 0.3
    assert gpus.engines(engine, own("1")) == gpus.engines(engine, API) == engine
    with pytest.raises(PlumblineError, match="leaves nothing of the GPU"):
        gpus.engines(engine, own(None, 0.85))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.engines(engine, own(None, 0.85)) == engine


def test_a_model_is_split_only_where_it_must_be():
    h100 = 0.85 * 80e9
    assert gpus.shards(16_000_000_000, h100, 32, 8) == 1  # eight billion weights
    assert gpus.shards(65_000_000_000, h100, 40, 8) == 2
    assert gpus.shards(141_000_000_000, h100, 64, 8) == 4
    assert gpus.shards(141_000_000_000, h100, 64, 2) == 2  # too few: as many as can be had
    assert gpus.shards(141_000_000_000, h100, 14, 8) == 2  # and no more than divide its heads


def test_precision_left_open_is_chosen_by_the_machine(cuda_build, monkeypatch):
    left, named = (AlignConfig.model_validate({"objective": {"name": "dpo"}} | dtype) for dtype in ({}, {"dtype": "float32"}))
    for there, chosen in (("0,1", "bfloat16"), ("", "float32")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", there)
        assert gpus.settled(left).dtype == chosen and gpus.settled(named) == named


def test_more_processes_than_gpus_are_refused_before_anything_starts(tmp_path):
    assert (
        Trainer(tmp_path / "log", None, ["0", "1", "3"])._size == 3 and Trainer(tmp_path / "log", 2, ["0", "1", "3"])._size == 2
    )
    assert Trainer(tmp_path / "log", 4, [])._size == 4  # without a GPU as many as you like
    with pytest.raises(PlumblineError, match=r"align.processes is 4, but there are 2 GPUs"):
        Trainer(tmp_path / "log", 4, ["0", "1"])
