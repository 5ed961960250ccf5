"""Writing the aligned model so that transformers and vLLM load it like the one it came from."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_TEXT = (".json", ".jinja", ".model", ".txt")


def save_checkpoint(model: "PreTrainedModel", origin: Path, out: Path, dtype: "torch.dtype") -> None:
    """Weights as safetensors in `dtype`, a config, and `origin`'s tokenizer, chat template and generation settings unchanged.

    The text files are copied byte for byte, because a tokenizer that is loaded and saved again need not be the same.
    """
    from transformers import GenerationConfig

    # transformers refuses to save some generation settings that it has loaded without complaint
    model.generation_config = GenerationConfig()
    model.to(dtype).save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    for file in sorted(origin.iterdir()):
        if file.suffix in _TEXT and file.name != "config.json" and not file.name.endswith(".index.json"):
            shutil.copyfile(file, out / file.name)
