"""A checkpoint is a folder in Hugging Face format, named everywhere by the hash of what decides its behaviour.

Weights are safetensors only and remote code is never run: a folder that needs either is refused.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.errors import PlumblineError, in_short
from data_contracts.flatten import flatten
from data_contracts.json_text import read_json
from data_contracts.store import digest, file_digest
from models.chat import control_tokens, end_token, reserve_control_tokens
from models.engine_swap import uncompiled
from models.tokenizer import read_tokenizer

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

    Raises PlumblineError if it is incomplete or damaged, or holds no safetensors weights.
    """
    path = Path(reference)
    if not path.is_dir():
        path = _fetch(str(reference))
    if not (path / "config.json").exists():
        merge = "merge the adapter that it holds into its base first (peft's merge_and_unload, then save_pretrained)"
        told = merge if (path / "adapter_config.json").exists() else "name the folder that save_pretrained wrote"
        raise PlumblineError(f"{path} holds no model, since config.json is missing: {told}")
    read_object(path / "config.json")
    files = sorted({f for pattern in PARTS for f in path.glob(pattern) if f.is_file()})
    if not any(f.suffix == ".safetensors" for f in files):
        raise PlumblineError(
            f"{path} holds no safetensors weights, and no other format is loaded: load the checkpoint in transformers once and "
            "save it again with save_pretrained"
        )
    if (path / "adapter_config.json").exists():  # with peft, transformers loads the base that it names, and not these weights
        raise PlumblineError(
            f"{path} holds a whole model and an adapter_config.json beside it: move that and its weights elsewhere"
        )
    _check_code(path / "config.json", read_config(path))
    _check_weights(path, [f for f in files if f.suffix == ".safetensors"])
    return Checkpoint(path.resolve(), digest([[f.name, _content(f)] for f in files]))


def _content(file: Path) -> str:
    """Hash of a file that a round asks for again and again: read anew only when the file is another or was written since."""
    stat = file.stat()
    return _read_content(file, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _read_content(file: Path, *_version: int) -> str:
    return file_digest(file)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a checkpoint. Raises PlumblineError if it holds none."""
    try:
        found = read_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlumblineError(f"{path} is not readable JSON ({error}): fetch or save the checkpoint again") from None
    if not isinstance(found, dict):
        raise PlumblineError(f"{path} holds no JSON object: fetch or save the checkpoint again")
    return found


def _check_code(where: Path, config: dict[str, Any]) -> None:
    """Raises PlumblineError for a kernel on the hub as a part of the model: transformers fetches and runs it without asking."""
    for key, value in flatten(config).items():
        if "_implementation" in key and "/" in str(value):
            raise PlumblineError(f"{where} takes {key} from {str(value)[:80]!r}, and remote code is never run: remove the key")


def _check_weights(path: Path, files: list[Path]) -> None:
    """Raises PlumblineError for shards that are missing, cut short, elsewhere, or only pointers to where the weights are."""
    for index in path.glob("*.safetensors.index.json"):
        named = read_object(index).get("weight_map")
        shards = {str(name) for name in named.values()} if isinstance(named, dict) else {""}
        if strange := sorted(name for name in shards if not re.fullmatch(r"[^/\\]+\.safetensors", name)):
            raise PlumblineError(f"{index} names {strange[0][:80]!r}, which is no safetensors file beside it: fetch both again")
        if lacking := sorted(name for name in shards if not (path / name).exists()):
            raise PlumblineError(f"{path} lacks {len(lacking)} of its weight files, such as {lacking[0]}: fetch them")
    for file in files:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = stream.read(length) if length <= size else b""
        try:
            ends = [entry["data_offsets"][1] for name, entry in read_json(header).items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError):
            ends = [size]
        if 8 + length + max(ends, default=0) != size:
            raise PlumblineError(
                f"{file} ({size} bytes) is damaged, cut short, or a Git LFS pointer: fetch it again, or run git lfs pull there"
            )


def tensors(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, entry with dtype and shape) of every tensor in the weight files of a folder, from their headers."""
    for file in path.glob("*.safetensors"):
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        yield from ((name, entry) for name, entry in header.items() if name != "__metadata__")


def weight_count(path: Path) -> int:
    """Numbers in the weight files of a folder."""
    return sum(math.prod(entry["shape"]) for _, entry in tensors(path))


def _fetch(reference: str) -> Path:
    if reference.count("/") != 1 or reference[0] in "./~":
        raise PlumblineError(f"there is no folder {reference}, and a hub id looks like org/name: correct it")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(reference, allow_patterns=[*PARTS, "p*processor_config.json"]))
    except (OSError, ValueError) as error:  # the hub's own errors are either of these
        raise PlumblineError(
            f"there is no folder {reference}, and as a hub id it could not be fetched ({in_short(error)}): correct the path or "
            "the id"
        ) from None


def read_config(path: Path) -> dict[str, Any]:
    """What the model in a folder says of itself; one that sees pictures, too, says some of it of its text model apart."""
    config: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return config | config.get("text_config", {})


def positions(path: Path) -> int | None:
    """How many tokens the model in a folder takes, if its configuration says so."""
    return reach(read_config(path))


def reach(config: dict[str, Any]) -> int | None:
    """`positions` by what a text model's configuration says.

    LongRoPE turns positions another way as soon as a text is longer than what the model was trained on first: for the whole text
    in transformers, for all texts in vLLM. Only up to that length do both mean the same model, and may texts share a row.
    """
    limit: int | None = config.get("max_position_embeddings", config.get("n_positions"))
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    for part in (rope, *(v for v in rope.values() if isinstance(v, dict))):  # some tell it by kind of layer
        if {part.get("rope_type"), part.get("type")} & {"longrope", "su"}:
            first = part.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
            limit = min(limit or first, first) if first else limit
    return limit


def load_tokenizer(path: Path, chat: bool = True) -> "PreTrainedTokenizerFast":
    """Raises PlumblineError if `chat` and the tokenizer has no chat template, or if it names no end of sequence."""
    tokenizer = read_tokenizer(path)
    if chat and not tokenizer.chat_template:
        raise PlumblineError(f"the tokenizer in {path} has no chat template: add chat_template.jinja to the checkpoint")
    if tokenizer.eos_token_id is None:
        raise PlumblineError(f"the tokenizer in {path} names no end-of-sequence token: set eos_token in tokenizer_config.json")
    reserve_control_tokens(tokenizer)
    return tokenizer


def end_tokens(tokenizer: "PreTrainedTokenizerFast") -> tuple[int, ...]:
    """Every token at which the model beside the tokenizer ends an answer by itself: `end_token` first, then its `eos_token` and
    what generation_config.json, or config.json where there is none, lists besides (GLM-4 stops where the user's turn begins).

    Control tokens only: any other would stay in the text.
    """
    first, folder = end_token(tokenizer), Path(tokenizer.name_or_path)
    files = [path for name in ("generation_config.json", "config.json") if (path := folder / name).exists()]
    listed = read_object(files[0]).get("eos_token_id") if files else None
    besides = [tokenizer.eos_token_id, *(listed if isinstance(listed, list) else [listed])]
    specials = set(tokenizer.convert_tokens_to_ids(control_tokens(tokenizer)))
    return tuple(dict.fromkeys([first, *(token for token in besides if type(token) is int and token in specials)]))


def load_model(path: Path, dtype: "torch.dtype") -> "PreTrainedModel":
    """With transformers' own choice of attention, but where that leaves out a cap on the scores (Gemma 2).

    Raises PlumblineError for a model of which the folder holds a part only: transformers would make up the rest.
    """
    from transformers import AutoModelForCausalLM

    attention = {"attn_implementation": "eager"} if read_config(path).get("attn_logit_softcapping") else {}
    with uncompiled():
        model, told = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, trust_remote_code=False, use_safetensors=True, output_loading_info=True, **attention
        )
    if lacking := sorted(told["missing_keys"]):
        raise PlumblineError(
            f"the weights in {path} lack {len(lacking)} of its config.json's tensors, such as {lacking[0]}: fetch both again"
        )
    return model


def empty_model(path: Path, dtype: "torch.dtype") -> "PreTrainedModel":
    """What `load_model` gives, on the meta device: without a single weight."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path, trust_remote_code=False), dtype=dtype)
