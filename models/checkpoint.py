"""A checkpoint is a folder in Hugging Face format, named everywhere by the hash of what decides its behaviour.

Weights are safetensors only and remote code is never run: a folder that needs either is refused.
"""

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.errors import PlumblineError
from data_contracts.store import digest, file_digest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

PARTS = ["*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "*.model", "*.jinja"]
PARTS += ["tokenizer*", "special_tokens_map.json", "vocab.json", "merges.txt"]


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    hash: str


def open_checkpoint(reference: str | Path) -> Checkpoint:
    """The checkpoint in a folder, or fetched from the hub for an id like `org/name`.

    Raises PlumblineError if it is incomplete or holds no safetensors weights.
    """
    path = Path(reference)
    if not path.is_dir():
        path = _fetch(str(reference))
    if not (path / "config.json").exists():
        raise PlumblineError(f"{path} holds no model: config.json is missing")
    files = sorted({f for pattern in PARTS for f in path.glob(pattern) if f.is_file()})
    if not any(f.suffix == ".safetensors" for f in files):
        raise PlumblineError(f"{path} holds no safetensors weights, and no other format is loaded: convert the checkpoint first")
    return Checkpoint(path.resolve(), digest([[f.name, file_digest(f)] for f in files]))


def _fetch(reference: str) -> Path:
    if reference.count("/") != 1 or reference[0] in "./~":
        raise PlumblineError(f"there is no folder {reference}, and a hub id looks like org/name: correct it")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(reference, allow_patterns=PARTS))
    except (OSError, ValueError) as error:  # the hub's own errors are either of these
        said = textwrap.shorten(str(error), 160, placeholder=" …")
        raise PlumblineError(
            f"there is no folder {reference}, and as a hub id it could not be fetched ({said}): correct the path or the id"
        ) from None


def read_config(path: Path) -> dict[str, Any]:
    """What the model in a folder says of itself; one that sees pictures, too, says some of it of its text model apart."""
    config: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return config | config.get("text_config", {})


def positions(path: Path) -> int | None:
    """How many tokens the model takes, if its configuration says so."""
    limit: int | None = read_config(path).get("max_position_embeddings")
    return limit


def load_tokenizer(path: Path, chat: bool = True) -> "PreTrainedTokenizerFast":
    """Raises PlumblineError if `chat` and the tokenizer has no chat template, or if it names no end of sequence."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    if chat and not tokenizer.chat_template:
        raise PlumblineError(f"the tokenizer in {path} has no chat template: add chat_template.jinja to the checkpoint")
    if tokenizer.eos_token_id is None:
        raise PlumblineError(f"the tokenizer in {path} names no end-of-sequence token: set eos_token in tokenizer_config.json")
    return tokenizer


def load_model(path: Path, dtype: "torch.dtype") -> "PreTrainedModel":
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path, dtype=dtype, trust_remote_code=False, use_safetensors=True)
