"""The embedded models, several times as wide: they say the same, and cost more, as models do that people align.

Beside a million parameters whatever a round costs by itself looks large. Here every dimension but the vocabulary is filled up
with zeros, which changes no answer (nor do gradients ever reach the zeros) and multiplies the arithmetic by the square of the
factor.
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from torch import Tensor

_SIZES = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")


def widen(source: Path, out: Path, times: int) -> Path:
    """A copy in `out` of the Llama in the folder `source`, `times` as wide."""
    shutil.copytree(source, out)
    config = json.loads((source / "config.json").read_text())
    config |= {name: times * config[name] for name in _SIZES}
    config["rms_norm_eps"] /= times  # as the mean of squares is over so many zeros more
    (out / "config.json").write_text(json.dumps(config, indent=2))
    weights = {name: _filled(name, tensor, times) for name, tensor in load_file(source / "model.safetensors").items()}
    save_file(weights, out / "model.safetensors", {"format": "pt"})
    return out


def _filled(name: str, tensor: "Tensor", times: int) -> "Tensor":
    words = name in ("model.embed_tokens.weight", "lm_head.weight")
    shape = [size if words and place == 0 else times * size for place, size in enumerate(tensor.shape)]
    wide = tensor.new_zeros(shape)
    wide[tuple(slice(size) for size in tensor.shape)] = tensor
    return wide / times**0.5 if name.endswith("norm.weight") else wide
