"""Writing the aligned model so that transformers and vLLM load it like the one it came from."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from models.checkpoint import read_object
from models.weights import set_mode

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_TEXT = (".json", ".jinja", ".model", ".txt")


def save_checkpoint(model: "PreTrainedModel", origin: Path, out: Path, dtype: "torch.dtype") -> None:
    """Weights as safetensors in `dtype`, and `origin`'s tokenizer, chat template and generation settings unchanged.

    The text files are copied byte for byte, because a tokenizer that is loaded and saved again need not be the same, and a
    configuration neither: transformers 5 writes keys that older versions, and servers built on them, overlook without a word (a
    rotary base, say). Of the configuration only the precision is new.
    """
    from transformers import GenerationConfig

    # transformers refuses to save some generation settings that it has loaded without complaint
    model.generation_config = GenerationConfig()
    model.to(dtype).save_pretrained(out)
    for file in out.glob("*.safetensors"):
        set_mode(file, (out / "config.json").stat().st_mode)
    (out / "generation_config.json").unlink(missing_ok=True)
    for file in sorted(origin.iterdir()):
        if file.suffix in _TEXT and not file.name.endswith(".index.json"):
            shutil.copyfile(file, out / file.name)
    config = read_object(out / "config.json")
    for part in (config, config.get("text_config", {})):
        for key in ("dtype", "torch_dtype"):
            if key in part:
                part[key] = str(dtype).removeprefix("torch.")
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
