"""Whether the parts of a checkpoint belong together, read from small files and headers before anything is loaded."""

import difflib
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from data_contracts.errors import PlumblineError
from models.checkpoint import read_config, read_object, tensors

_WRITES = re.compile(r"(ForCausalLM|LMHeadModel|ForConditionalGeneration)$")
# what the tables of token embeddings are called in weight files
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")


def check_model(path: Path, chat: bool = True) -> None:
    """Raises PlumblineError for a model that transformers does not know or that writes no text, for a vocabulary in config.json
    that is not the weights', for a tokenizer that is missing, damaged or another model's, and with `chat` for a chat template
    that is missing or damaged."""
    _check_kind(path)
    rows = _rows(path)
    if not any((path / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")):
        raise PlumblineError(f"{path} holds no tokenizer (tokenizer.json): save it there with the tokenizer's save_pretrained")
    told = {name: read_object(path / name) for name in ("tokenizer.json", "tokenizer_config.json") if (path / name).exists()}
    settings = told.get("tokenizer_config.json", {})
    template = _template(path, settings) if chat else ""
    if rows is not None and "tokenizer.json" in told:
        _check_tokens(path, told["tokenizer.json"], rows, template + str(settings.get("eos_token", "")))


def check_trainable(path: Path) -> None:
    """Raises PlumblineError for a model whose weights are quantised, since what is trained has to be whole, and for one that sees
    more than text where transformers makes no causal language model of it, or vLLM lacks what it reads pictures with."""
    told = read_object(path / "config.json")
    if quantised := told.get("quantization_config") or told.get("compression_config"):
        raise PlumblineError(
            f"the weights in {path} are quantised ({quantised.get('quant_method', 'somehow')}) and cannot be trained: name the "
            "checkpoint that they were made from, or save it dequantised"
        )
    if "text_config" in told:
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as TRAINABLE

        if told.get("model_type") not in TRAINABLE:
            raise PlumblineError(
                f"{path} holds a {told.get('model_type')}, which is a multimodal model and cannot be trained: name a text model "
                "(docs/models.md)"
            )
        if find_spec("torchvision") is None:
            raise PlumblineError(
                f"{path} holds a {told['model_type']}, a vision model, which vLLM loads only with torchvision: "
                "install it, or name a text model"
            )


def _check_kind(path: Path) -> None:
    config = read_object(path / "config.json")
    names = config.get("architectures") or []
    if config.get("is_encoder_decoder") or not any(_WRITES.search(str(name)) for name in names):
        what = f"is a {names[0]}" if names else "has no architectures"
        raise PlumblineError(f"the model in {path} {what}, and only causal language models (…ForCausalLM) can be used: name one")
    _check_type(path / "config.json", str(config.get("model_type")))


def _check_type(where: Path, kind: str) -> None:
    """Most are known by the folder that transformers has for them; its own list takes seconds to import."""
    home = find_spec("transformers")
    if home and home.origin and (Path(home.origin).parent / "models" / kind.replace("-", "_")).is_dir():
        return
    from transformers import __version__
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if kind not in CONFIG_MAPPING_NAMES:
        near = difflib.get_close_matches(kind, CONFIG_MAPPING_NAMES, 1)
        meant = f" ({near[0]}, perhaps)" if near else ""
        raise PlumblineError(
            f"{where} says model_type {kind!r}, which transformers {__version__} does not know: correct it{meant}, or name "
            "another model"
        )


def _rows(path: Path) -> int | None:
    """How many tokens have an embedding; None where the weights name no table of a known name."""
    rows = {int(entry["shape"][0]) for name, entry in tensors(path) if name.endswith(_EMBEDDINGS)}
    said = read_config(path).get("vocab_size")
    if rows and said is not None and said not in rows:
        raise PlumblineError(
            f"{path / 'config.json'} says vocab_size {said}, and the weights hold embeddings of {max(rows)} tokens: correct it, "
            "or fetch both again"
        )
    return said if said in rows else max(rows, default=None)


def _check_tokens(path: Path, tokenizer: dict[str, Any], rows: int, needed: str) -> None:
    """Raises PlumblineError for tokens without an embedding. Of those that were added to a vocabulary only what `needed` spells
    is looked at: a model that was made of one that sees pictures may keep a placeholder for them."""
    vocabulary = tokenizer.get("model", {}).get("vocab", {})
    own = vocabulary if isinstance(vocabulary, dict) else {piece[0]: i for i, piece in enumerate(vocabulary)}
    added = {token["content"]: token["id"] for token in tokenizer.get("added_tokens", [])}
    used = {text: id_ for text, id_ in own.items() if text not in added} | {t: i for t, i in added.items() if t in needed}
    if beyond := [text for text, id_ in used.items() if id_ >= rows]:
        raise PlumblineError(
            f"the tokenizer in {path} has tokens, such as {beyond[0]!r}, for which the model, of {rows} tokens, "
            "has no embedding: put the model's own tokenizer there, or resize its embeddings (resize_token_embeddings)"
        )


def _template(path: Path, settings: dict[str, Any]) -> str:
    """Raises PlumblineError if there is none, or none that is Jinja."""
    own, other = path / "chat_template.jinja", path / "chat_template.json"
    named = settings.get("chat_template")
    if not own.exists() and not other.exists() and not named:
        raise PlumblineError(f"the tokenizer in {path} has no chat template: add chat_template.jinja to the checkpoint")
    if own.exists():
        return _checked(own.read_text(encoding="utf-8"), own)
    return _checked(named, path / "tokenizer_config.json") if isinstance(named, str) else ""


def _checked(text: str, where: Path) -> str:
    """`text`. Raises PlumblineError for a chat template that is no Jinja as transformers reads it."""
    from jinja2 import Environment, TemplateSyntaxError

    plain = text
    for tag in ("generation", "endgeneration"):  # transformers' own, around what a model wrote
        plain = re.sub(rf"{{%-?\s*{tag}\s*-?%}}", "", plain)
    try:
        Environment(extensions=["jinja2.ext.loopcontrols"]).parse(plain)
    except TemplateSyntaxError as error:
        raise PlumblineError(
            f"the chat template in {where} is damaged (line {error.lineno}: {error.message}): fetch or correct it"
        ) from None
    return text
