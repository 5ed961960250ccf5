"""A folder is a checkpoint by its files, and the same files are the same checkpoint."""

import json
import shutil
from pathlib import Path

import pytest

from data_contracts.errors import PlumblineError
from models import checkpoint
from models.checkpoint import Checkpoint, open_checkpoint, positions
from models.engine import Engine, _shape


def test_only_files_make_a_checkpoint(tiny: Checkpoint, tmp_path: Path) -> None:
    """Some repositories keep a tokenizer in a folder besides; a link into a cache may lead nowhere."""
    copy = shutil.copytree(tiny.path, tmp_path / "é model")
    (copy / "tokenizer").mkdir()
    (copy / "vocab.json").symlink_to(tmp_path / "gone")
    assert open_checkpoint(copy).hash == tiny.hash
    weights = copy / "model.safetensors"
    weights.rename(tmp_path / "moved")
    weights.symlink_to(tmp_path / "moved")
    assert open_checkpoint(copy).hash == tiny.hash
    (tmp_path / "moved").unlink()
    with pytest.raises(PlumblineError, match="holds no safetensors weights"):
        open_checkpoint(copy)


def test_weights_are_read_once_and_again_when_they_are_written_anew(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round opens its models a dozen times, and 7B parameters are 15 GB."""
    copy, read = shutil.copytree(tiny.path, tmp_path / "model"), list[str]()
    digest = checkpoint.file_digest
    monkeypatch.setattr(checkpoint, "file_digest", lambda path: read.append(path.name) or digest(path))
    first = open_checkpoint(copy).hash
    assert open_checkpoint(copy).hash == first == tiny.hash and read.count("model.safetensors") == 1
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    assert open_checkpoint(copy).hash != first and read.count("model.safetensors") == 2
    assert read.count("config.json") == 1


def test_what_a_model_says_of_its_text_model_is_read(tmp_path: Path) -> None:
    """Sizes of one that also sees pictures stand apart, and two sizes need two engines."""
    for size in (64, 128):
        (tmp_path / str(size)).mkdir()
        said = {"architectures": ["Both"], "text_config": {"hidden_size": size, "max_position_embeddings": 10 * size}}
        (tmp_path / str(size) / "config.json").write_text(json.dumps(said))
    assert [positions(tmp_path / name) for name in ("64", "128")] == [640, 1280]
    assert _shape(tmp_path / "64") != _shape(tmp_path / "128")


def test_models_that_differ_in_their_precision_share_an_engine_and_in_their_window_do_not(tmp_path: Path) -> None:
    said = {"architectures": ["MistralForCausalLM"], "torch_dtype": "bfloat16", "sliding_window": 4096, "eos_token_id": 2}
    for name, change in {"one": {}, "trained": {"torch_dtype": "float32"}, "windowless": {"sliding_window": None}}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(said | change))
    one, trained, windowless = (_shape(tmp_path / name) for name in ("one", "trained", "windowless"))
    assert one == trained != windowless


def test_an_engine_that_could_not_start_again_closes_without_a_word() -> None:
    """Else its end would hide the reason."""
    engine = object.__new__(Engine)
    engine._llm = None
    engine.close()
