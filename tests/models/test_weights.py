"""Whoever may read the files of a checkpoint may read its weights: a colleague, or the user that a server runs as."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from models.checkpoint import Checkpoint, load_model
from models.extrapolation import write_extrapolation
from models.preference.model import PreferenceModel
from models.preference.store import save
from models.training.checkpoints import save_checkpoint


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    return {file.name: oct(stat.S_IMODE(file.stat().st_mode)) for file in folder.iterdir()}


@pytest.mark.parametrize(("hidden", "mode"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_weights_are_as_readable_as_the_umask_makes_any_file(hidden: int, mode: int, tiny: Checkpoint, tmp_path: Path) -> None:
    model = load_model(tiny.path, torch.float32)
    with umask(hidden):
        save_checkpoint(model, tiny.path, tmp_path / "trained", torch.float32)
        write_extrapolation(tmp_path / "trained", tiny.path, 0.5, tmp_path / "beyond")
        save(PreferenceModel(load_model(tiny.path, torch.float32), "bt", 1, 1.0), tiny.path, tmp_path / "judge")
    for folder in ("trained", "beyond", "judge"):
        found = modes(tmp_path / folder)
        assert "model.safetensors" in found and set(found.values()) == {oct(mode)}, (folder, found)
