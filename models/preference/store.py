"""A preference model on disk: a checkpoint folder like a policy's, with `preference_head.safetensors` and `preference.json`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.errors import PlumblineError
from data_contracts.store import digest, write_json
from models.checkpoint import Checkpoint, load_model, open_checkpoint
from models.weights import save_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from models.preference.model import PreferenceModel

_HEAD, CARD = "preference_head.safetensors", "preference.json"
_KEYS = ("kind", "blocks", "temperature")


@dataclass(frozen=True)
class SavedPreference:
    """`checkpoint.hash` covers the weights of body and head, and what the head means."""

    checkpoint: Checkpoint
    card: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.card['kind']}/{self.checkpoint.hash}"


def save(model: "PreferenceModel", origin: Path, out: Path) -> None:
    """Into the empty or missing folder `out`, with the tokenizer and chat template of `origin`."""
    import torch

    from models.training.checkpoints import save_checkpoint

    out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(model.model, origin, out, torch.float32)
    save_weights({"head.weight": model.head.weight.detach().cpu().contiguous()}, out / _HEAD)
    card = {key: getattr(model, key) for key in _KEYS}
    write_json(out / CARD, card)


def open_preference(folder: Path) -> SavedPreference:
    """Raises PlumblineError if the folder holds no preference model."""
    if not (folder / _HEAD).is_file() or not (folder / CARD).is_file():
        raise PlumblineError(f"{folder} holds no preference model: train one with plumbline preference train")
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        meaning = [card["kind"], int(card["blocks"]), float(card["temperature"])]
    except (ValueError, TypeError, KeyError):
        card, meaning = {}, [None]
    if meaning[0] not in ("bt", "gpm"):
        raise PlumblineError(f"{folder / CARD} is damaged: train the preference model again")
    checkpoint = open_checkpoint(folder)
    return SavedPreference(Checkpoint(checkpoint.path, digest([checkpoint.hash, meaning])), card)


def load_body(path: Path) -> "PreTrainedModel":
    """In float32, on the GPU if there is one."""
    import torch

    return load_model(path, torch.float32).to("cuda" if torch.cuda.is_available() else "cpu").eval()


def load(saved: SavedPreference) -> "PreferenceModel":
    """The model. Raises PlumblineError if the head does not fit the body."""
    import torch
    from safetensors.torch import load_file

    from models.preference.model import PreferenceModel

    model = PreferenceModel(load_body(saved.checkpoint.path), saved.card["kind"], saved.card["blocks"], saved.card["temperature"])
    weight = load_file(saved.checkpoint.path / _HEAD).get("head.weight")
    if weight is None or weight.shape != model.head.weight.shape:
        raise PlumblineError(f"{saved.checkpoint.path / _HEAD} does not fit the model beside it: train it again")
    with torch.no_grad():
        model.head.weight.copy_(weight)
    return model
