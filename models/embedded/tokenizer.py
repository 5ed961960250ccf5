"""One token a word: a unigram tokenizer over the world's own words, with bytes for everything else.

Any text round-trips, since unknown characters become byte tokens. Special tokens inside a *message* are the one
thing that could do harm: a rendered chat is encoded as one string, where "<|end|>" typed by a user would become the
control token. The chat template therefore breaks every "<|" in a message to "< |". Code that encodes a message by
itself must pass `split_special_tokens=True`, which reads it as plain characters.
"""

import random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from models.embedded.curriculum import copy_example, revision_example, student_example, task_example
from models.embedded.facts import OPENINGS, WORDINGS, WORDS
from models.embedded.world import capital

END, PAD, USER, ASSISTANT = "<|end|>", "<|pad|>", "<|user|>", "<|assistant|>"
SPECIAL = (END, PAD, USER, ASSISTANT, "<unk>")  # ids 0 to 4; with byte fallback the last is never produced

# A piece is a braced name, a digit, a word or one other character, each with the space before it.
PIECE = r" ?\{\w+\}| ?\d| ?\p{L}+| ?[^\s\p{L}\d]|\s"

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] not in ['user', 'assistant'] -%}
{{ raise_exception('the embedded models know only the roles user and assistant') }}
{%- endif -%}
{{ '<|' + message['role'] + '|>' + message['content'] | replace('<|', '< |') }}
{%- if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif -%}
"""


def _words() -> list[str]:
    """Every piece of more than one character that the world can say, found by letting it speak."""
    rng, splitter = random.Random(0), pre_tokenizers.Split(Regex(PIECE), "isolated")
    texts = [form for word in WORDS for form in (word, " " + word, capital(word), " " + capital(word))]
    texts += [
        opening + wording.replace("{", "").replace("}", "") for w in WORDINGS.values() for wording in w for opening in OPENINGS
    ]
    texts += [
        text
        for _ in range(2000)
        for make in (student_example, task_example, revision_example, copy_example)
        for text in make(rng)
    ]
    pieces = {piece for text in texts for piece, _ in splitter.pre_tokenize_str(text)}
    pieces |= {f" {digit}" for digit in range(10)}
    return sorted(piece for piece in pieces if len(piece) > 1)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer both models share. Deterministic: it has no seed to set."""
    characters = [chr(i) for i in range(32, 127)] + ["\n"]
    vocabulary = [(token, 0.0) for token in SPECIAL] + [(f"<0x{i:02X}>", 0.0) for i in range(256)]
    vocabulary += [(word, -1.0) for word in _words()] + [(character, -5.0) for character in characters]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=SPECIAL.index("<unk>"), byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def encode_text(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """Message texts as token ids, none of them a control token whatever the text says."""
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"] if texts else []


def encode_examples(tokenizer: PreTrainedTokenizerFast, pairs: list[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
    """(prompt, answer) texts as ids: the prompt as the chat template has it, the answer with its end token."""
    prompts, answers = (encode_text(tokenizer, [pair[i] for pair in pairs]) for i in (0, 1))
    user, assistant, end = (tokenizer.convert_tokens_to_ids(t) for t in (USER, ASSISTANT, END))
    return [([user, *p, assistant], [*a, end]) for p, a in zip(prompts, answers, strict=True)]
