"""Checkpoints beyond others: the next round's reference, and what momentum makes of a round's result."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from data_contracts.config_align import AlignConfig
from data_contracts.errors import PlumblineError
from models.checkpoint import load_model, load_tokenizer, open_checkpoint
from models.extrapolation import write_extrapolation
from tasks.align import align
from tasks.lineage import trained
from tasks.reference import extrapolated_reference
from tests.pairs_dataset import pairs_dataset


@pytest.fixture(scope="module")
def moved(tiny, tmp_path_factory):
    """`tiny` with 1 % added to each weight."""
    import shutil

    folder = tmp_path_factory.mktemp("moved") / "model"
    shutil.copytree(tiny.path, folder)
    weights = {k: v * 1.01 for k, v in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return open_checkpoint(folder)


def test_a_reference_lies_as_far_beyond_the_champion_as_asked(tiny, moved, tmp_path):
    made = extrapolated_reference(tmp_path / "reference", moved, tiny, 0.5)
    old, new, out = (load_file(p / "model.safetensors") for p in (tiny.path, moved.path, made.folder / "model"))
    for name in out:
        torch.testing.assert_close(out[name], new[name] + 0.5 * (new[name] - old[name]))
    assert load_model(made.folder / "model", torch.float32) and load_tokenizer(made.folder / "model").chat_template
    assert made.facts["model_hash"] == open_checkpoint(made.folder / "model").hash
    assert all(row["step"] == pytest.approx(0.5 * 0.01 / 1.01, rel=1e-3) for row in made.records())


def test_another_architecture_is_refused(tiny, moved, tmp_path):
    import shutil

    shutil.copytree(tiny.path, tmp_path / "other")
    save_file({"lm_head.weight": torch.zeros(2, 2)}, tmp_path / "other" / "model.safetensors")
    with pytest.raises(PlumblineError, match="the two models differ"):
        write_extrapolation(moved.path, tmp_path / "other", 0.3, tmp_path / "out")


def test_momentum_carries_the_rounds_result_on_and_keeps_what_was_trained(tiny, moved, trainer, tmp_path):
    config = AlignConfig.model_validate({"objective": {"name": "dpo"}, "momentum": 0.5, "learning_rate": 1e-3, "batch_size": 8})
    pairs = pairs_dataset(tmp_path / "pairs", tiny, 8)
    run = tmp_path / "run" / "round-1"
    made = align(run / "align", pairs, config, moved, moved, 0, trainer, before=tiny)
    old, kept, out = (load_file(p / "model.safetensors") for p in (tiny.path, run / "align" / "trained", run / "align" / "model"))
    for name in out:
        torch.testing.assert_close(out[name], kept[name] + 0.5 * (kept[name] - old[name]))
    assert made.facts["model_hash"] == open_checkpoint(run / "align" / "model").hash
    assert made.manifest["models"]["before"] == tiny.hash
    assert trained(tmp_path / "run", tiny, 1).path.name == "trained" and trained(tmp_path / "run", tiny, 0) == tiny
