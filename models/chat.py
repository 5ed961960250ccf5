"""Between conversations and token ids. Prompt and answer are encoded apart and concatenated (design, decision 2)."""

import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, TypedDict

from data_contracts.errors import PlumblineError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


_THOUGHT = re.compile("think|thought|reason", re.IGNORECASE)
# What day it is for templates that tell the model (Llama 3.1, Granite 3, SmolLM 3): the one that Llama's own names without a
# clock, so that a round that goes on after midnight, and one beside it, reads the same prompts
TODAY = date(2024, 7, 26)


# A role goes into the template as it stands, so that any other could forge a turn
ROLES = ("system", "user", "assistant")


class Message(TypedDict):
    role: str
    content: str


def user(text: str) -> list[Message]:
    """The conversation of a lone user message."""
    return [Message(role="user", content=text)]


def opening(messages: Sequence[Message]) -> str:
    """The user's first turn, by which conversations that hang together are known; "" where there is none."""
    return next((m["content"] for m in messages if m["role"] == "user"), "")


def encode_prompt(tokenizer: "PreTrainedTokenizerFast", messages: Sequence[Message]) -> list[int]:
    """Token ids of the conversation with the generation prompt, and exactly the template's own control tokens.

    Text that spells a control token (`<|end|>`) would be read as one if the rendered template were simply encoded. Where
    a message holds such text, the template is rendered around placeholders and each message is encoded as plain characters.
    """
    if _control_finder(tokenizer)(messages):
        marks = [f"\ue000{i}\ue001" for i in range(len(messages))]
        shell = [Message(role=m["role"], content=mark) for m, mark in zip(messages, marks, strict=True)]
        pieces = re.split("\ue000(\\d+)\ue001", _render(tokenizer, shell))  # a template may leave a message out, or move it
        said = [messages[int(piece)]["content"] if i % 2 else piece for i, piece in enumerate(pieces)]
        return [token for i, text in enumerate(said) for token in _encode(tokenizer, text, as_text=i % 2 == 1)]
    return _encode(tokenizer, _render(tokenizer, list(messages)))


def encode_prompts(tokenizer: "PreTrainedTokenizerFast", conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
    """`encode_prompt` of each, many times as fast: rendered and encoded all at once where no message spells a control token."""
    spells_control = _control_finder(tokenizer)
    plain = [not spells_control(messages) for messages in conversations]
    rendered = [_render(tokenizer, list(messages)) for messages, is_plain in zip(conversations, plain, strict=True) if is_plain]
    encoded = iter(tokenizer(rendered, add_special_tokens=False)["input_ids"] if rendered else [])
    return [next(encoded) if p else encode_prompt(tokenizer, m) for m, p in zip(conversations, plain, strict=True)]


def encode_text(tokenizer: "PreTrainedTokenizerFast", text: str) -> list[int]:
    """Ids of a text for a base model to continue: plain characters after what the tokenizer begins every text with."""
    ids: list[int] = tokenizer(text, split_special_tokens=True)["input_ids"]
    return ids


def encode_answer(tokenizer: "PreTrainedTokenizerFast", text: str) -> list[int]:
    """Ids of a complete answer that somebody else wrote: its text as plain characters, then one end token."""
    return [*_encode(tokenizer, text, as_text=True), end_token(tokenizer)]


def end_token(tokenizer: "PreTrainedTokenizerFast") -> int:
    """The token that ends an answer: what the template writes after one, which need not be the tokenizer's `eos_token`.

    Gemma's turns end with `<end_of_turn>` and Phi-3's with `<|end|>`, while their `eos_token` ends a document.
    """
    if not tokenizer.chat_template:  # a base model
        return int(tokenizer.eos_token_id)
    specials = set(tokenizer.convert_tokens_to_ids(control_tokens(tokenizer)))
    after = [token for token in _encode(tokenizer, _answered(tokenizer)[1]) if token in specials]
    return after[0] if after else int(tokenizer.eos_token_id)


def astray(tokenizer: "PreTrainedTokenizerFast") -> str:
    """What stands between the place where the template asks for an answer and the one where it writes one; "" for white space.

    A reasoning model's template may ask behind an open `<think>`, or write an empty thought before an answer that it did not ask
    for: whoever puts an answer where one is asked for then puts it where the model never has one.
    """
    asked, told = _render(tokenizer, user("question")), _answered(tokenizer)[0]
    longer, shorter = (told, asked) if len(told) > len(asked) else (asked, told)
    return (longer.removeprefix(shorter) if longer.startswith(shorter) else longer).strip()


def _answered(tokenizer: "PreTrainedTokenizerFast") -> tuple[str, str]:
    """What the template writes before and after an answer to a question."""
    mark = "\ue000answer\ue001"
    turns = [*user("question"), Message(role="assistant", content=mark)]
    rendered: str = tokenizer.apply_chat_template(turns, add_generation_prompt=False, tokenize=False, strftime_now=TODAY.strftime)
    before, _, after = rendered.partition(mark)
    return before, after


def decode_answer(tokenizer: "PreTrainedTokenizerFast", ids: Sequence[int]) -> str:
    """Text of an answer, without the control tokens it may contain."""
    text: str = tokenizer.decode(list(ids), skip_special_tokens=True)
    return text


def decode_answers(tokenizer: "PreTrainedTokenizerFast", answers: Sequence[Sequence[int]]) -> list[str]:
    """`decode_answer` of each."""
    texts: list[str] = tokenizer.batch_decode([list(ids) for ids in answers], skip_special_tokens=True)
    return texts


def control_tokens(tokenizer: "PreTrainedTokenizerFast") -> list[str]:
    return [str(t) for t in tokenizer.added_tokens_decoder.values() if t.special]


def reserve_control_tokens(tokenizer: "PreTrainedTokenizerFast") -> None:
    """Have the added tokens that the chat template writes around turns count as special, which not every checkpoint says of them.

    `<｜Assistant｜>` of the Qwens distilled from DeepSeek R1 is not, and what is not special is read as the token in any text. A
    thought's marks (`<think>`) stay as they are, since answers hold them.
    """
    added = [token for token in tokenizer.added_tokens_decoder.values() if not token.special and not _THOUGHT.search(str(token))]
    if not added or not tokenizer.chat_template:
        return
    turns = [*user("question"), Message(role="assistant", content="answer"), *user("question")]
    written: str = tokenizer.apply_chat_template(turns, tokenize=False, strftime_now=TODAY.strftime)
    if control := [token for token in added if str(token) in written]:
        kept = ("normalized", "lstrip", "rstrip", "single_word")
        made = [type(t)(str(t), special=True, **{name: getattr(t, name) for name in kept}) for t in control]
        tokenizer.add_tokens(made, special_tokens=True)


def _control_finder(tokenizer: "PreTrainedTokenizerFast") -> Callable[[Sequence[Message]], bool]:
    """Tells whether a message spells a control token, also one that shows only in what the tokenizer's normalizer makes of it:
    that may take full-width brackets for common ones, capitals for small letters, and invisible characters for nothing."""
    control, normalizer = control_tokens(tokenizer), tokenizer.backend_tokenizer.normalizer
    normal = normalizer.normalize_str if normalizer else str
    spelled = {*control, *map(normal, control)}
    return lambda messages: any(
        token in text for m in messages for text in {m["content"], normal(m["content"])} for token in spelled
    )


def _render(tokenizer: "PreTrainedTokenizerFast", messages: list[Message]) -> str:
    if not tokenizer.chat_template:
        raise PlumblineError(
            f"the tokenizer of {tokenizer.name_or_path} has no chat template: add chat_template.jinja to the checkpoint"
        )
    text: str = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, strftime_now=TODAY.strftime)
    return text


def _encode(tokenizer: "PreTrainedTokenizerFast", rendered: str, as_text: bool = False) -> list[int]:
    """`as_text`: what spells a control token is read as its characters."""
    # the template writes its own beginning-of-sequence token, so the tokenizer must not add a second one
    how = {"split_special_tokens": True} if as_text else {}
    ids: list[int] = tokenizer(rendered, add_special_tokens=False, **how)["input_ids"]
    return ids
