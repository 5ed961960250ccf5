"""Checkpoint folders that transformers and vLLM load as they are."""

import json
from pathlib import Path

from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from models.embedded.llama import EPS, MAX_POSITIONS, ROPE_BASE, Llama, Shape
from models.weights import save_weights


def save(model: Llama, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Weights, configuration and tokenizer. The JSON is written by hand: importing LlamaConfig costs ten seconds."""
    shape = model.shape
    tokens = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": shape.vocab,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.width // shape.heads,
        "max_position_embeddings": MAX_POSITIONS,
        "rms_norm_eps": EPS,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_BASE},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        **tokens,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (out / "generation_config.json").write_text(json.dumps(tokens, indent=2) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(out)
    save_weights(model.state_dict(), out / "model.safetensors")


def load(path: Path) -> Llama:
    """A checkpoint folder written by `save`."""
    c = json.loads((path / "config.json").read_text(encoding="utf-8"))
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads")
    model = Llama(Shape(*(c[k] for k in sizes)))
    model.load_state_dict(load_file(path / "model.safetensors"))
    model.eval()
    return model
