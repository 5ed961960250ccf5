"""What training writes is the checkpoint it began with but for its numbers: names, configuration, texts; adapters are merged."""

import json

import pytest
import torch
from safetensors import safe_open

from data_contracts.config_align import AlignConfig
from data_contracts.errors import PlumblineError
from models.check_model import check_trainable
from models.checkpoint import load_model, positions
from models.training.checkpoints import save_checkpoint
from models.training.methods import merge, set_up, trainable
from tests.models.families import TRAINED, config_of, family

FULL = {"objective": {"name": "dpo"}}
KINDS = {"all weights": FULL, "adapters": FULL | {"lora": {"rank": 4, "alpha": 8}}}
SETTINGS = {"eos_token_id": [0, 5], "pad_token_id": 0, "temperature": 0.6, "do_sample": False}


def names(folder):
    found = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            found |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118 - no dict
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["llama 3", "gemma 2", "phi 3", "granite", "mixtral", "qwen 2 moe", "granite moe", "deepseek v3"]
)
def test_a_trained_model_is_written_as_it_came(name, kind, tmp_path):
    origin, out = tmp_path / "origin", tmp_path / "out"
    family(*TRAINED[name]).save_pretrained(origin, max_shard_size="100KB")
    (origin / "generation_config.json").write_text(json.dumps(SETTINGS))
    told = json.loads((origin / "config.json").read_text())
    told["rope_theta"] = told.pop("rope_parameters", {}).get("rope_theta", 1e4)  # as versions before 5 write it
    told["torch_dtype"] = told.pop("dtype")
    (origin / "config.json").write_text(json.dumps(told))
    (origin / "chat_template.jinja").write_text("{{ messages }}\n")
    assert len(list(origin.glob("*.safetensors"))) > 1
    model, ids = load_model(origin, torch.float32).eval(), torch.arange(3, 40)[None]
    set_up(model, AlignConfig.model_validate(KINDS[kind]))
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in trainable(model).values():
            p.add_(0.02 * torch.randn(p.shape, generator=draw))
        before = model(ids).logits
    merge(model)
    save_checkpoint(model, origin, out, torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(load_model(out, torch.float32).eval()(ids).logits, before, rtol=0, atol=1e-4)
        assert (load_model(origin, torch.float32).eval()(ids).logits - before).abs().max() > 1e-2
    assert names(out) == names(origin)
    assert json.loads((out / "config.json").read_text()) == told | {"torch_dtype": "float32"}
    for file in ("generation_config.json", "chat_template.jinja"):
        assert (out / file).read_bytes() == (origin / file).read_bytes()


@pytest.mark.parametrize("name", TRAINED)
def test_adapters_reach_every_matrix_but_the_embeddings(name):
    """Experts, which are one tensor, and the layers beside them, too."""
    model, reached = family(*TRAINED[name]), set()
    wanted = {where for where, p in model.named_parameters() if p.dim() > 1 and "embed" not in where and "lm_head" not in where}
    set_up(model, AlignConfig.model_validate(KINDS["adapters"]))
    for where in trainable(model):
        layer = where.partition(".lora_")[0]
        parameter = getattr(model.get_submodule(layer), "parameter_name", "weight")
        reached.add(f"{layer.replace('.base_layer', '')}.{parameter}")
    assert reached == wanted


def test_quantised_weights_and_what_is_no_text_model_are_refused_for_training(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    family(*TRAINED["mistral"]).save_pretrained(folder)
    check_trainable(folder)
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | {"quantization_config": {"quant_method": "awq", "bits": 4}}))
    with pytest.raises(PlumblineError, match=r"are quantised \(awq\) and cannot be trained"):
        check_trainable(folder)
    for kind in ("gemma3", "qwen2_vl"):
        told = {"model_type": kind, "text_config": {"model_type": f"{kind}_text"}}
        (folder / "config.json").write_text(json.dumps(told))
        if kind == "gemma3":
            monkeypatch.setattr("models.check_model.find_spec", lambda name: name)
            check_trainable(folder)
            monkeypatch.setattr("models.check_model.find_spec", lambda name: None)
            with pytest.raises(PlumblineError, match="only with torchvision"):
                check_trainable(folder)
        else:
            with pytest.raises(PlumblineError, match="qwen2_vl, which is a multimodal model"):
                check_trainable(folder)


@pytest.mark.parametrize(
    ("told", "reach"),
    [
        ({"max_position_embeddings": 4096, "sliding_window": 512}, 4096),
        ({"n_positions": 1024}, 1024),
        (
            {"max_position_embeddings": 8192, "rope_scaling": {"rope_type": "llama3", "original_max_position_embeddings": 64}},
            8192,
        ),
        ({"max_position_embeddings": 99, "original_max_position_embeddings": 9, "rope_scaling": {"type": "longrope"}}, 9),
        (
            {
                "max_position_embeddings": 99,
                "rope_parameters": {"full": {"rope_type": "longrope", "original_max_position_embeddings": 7}},
            },
            7,
        ),
        ({}, None),
    ],
)
def test_a_model_takes_what_its_positions_mean_the_same_for(told, reach, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(told))
    assert positions(tmp_path) == reach


def test_longrope_as_transformers_writes_it_is_known(tmp_path):
    factors = {"short_factor": [1.0] * 16, "long_factor": [3.0] * 16, "original_max_position_embeddings": 32}
    rope = {"rope_type": "longrope", "rope_theta": 1e4} | factors
    config_of("phi3", {"head_dim": None}, rope_parameters=rope, original_max_position_embeddings=32).save_pretrained(tmp_path)
    assert positions(tmp_path) == 32
