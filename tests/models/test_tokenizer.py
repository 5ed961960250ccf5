"""Texts are read as the checkpoint's own tokenizer.json says, whatever class transformers would read them with."""

import json
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from models.checkpoint import Checkpoint, load_tokenizer
from models.tokenizer import misread

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [
    "In 2024, 1,234.5 km²",
    "it's WE'LL don't",
    "a\n\n\n  b\t c  ",
    "日本語 नमस्ते Привет",
    "🙂👩‍👩‍👧 e\u0301",
    "def f(x):\n    return x[0]**2",
]
THREES = r"'s|'t| ?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"  # Llama 3 reads numbers in threes, Qwen digit by digit
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def write(folder: Path, model_type: str, tokenizer_class: str | None, pattern: str = THREES) -> Path:
    """A byte-level BPE as Llama 3, DeepSeek and Qwen have it, in a folder that names a type and a class."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC() if pattern == QWEN else None
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([(ROOT / "README.md").read_text(), " ".join(map(str, range(2000)))], trainer)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    told = {"eos_token": "<|endoftext|>", "tokenizer_class": tokenizer_class, "chat_template": "{{ messages[0].content }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in told.items() if v}))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return folder


def own_ids(folder: Path, text: str) -> list[int]:
    ids: list[int] = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    return ids


@pytest.mark.parametrize(
    ("model_type", "tokenizer_class"),
    [("qwen2", "PreTrainedTokenizerFast"), ("qwen2", None), ("llama", "LlamaTokenizerFast"), ("gemma2", "GemmaTokenizer")],
)
def test_texts_are_read_as_the_file_says_where_transformers_builds_another_pipeline(
    tmp_path: Path, model_type: str, tokenizer_class: str | None
) -> None:
    from transformers import AutoTokenizer

    folder = write(tmp_path / "model", model_type, tokenizer_class)
    auto, tokenizer = AutoTokenizer.from_pretrained(folder), load_tokenizer(folder)
    if model_type != "gemma2":  # Gemma's class cannot even read with such a vocabulary
        assert any(auto(text, add_special_tokens=False)["input_ids"] != own_ids(folder, text) for text in TEXTS)
    assert misread(folder)
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == own_ids(folder, text) and tokenizer.decode(ids) == text
    assert tokenizer.eos_token == "<|endoftext|>" and tokenizer.chat_template


@pytest.mark.parametrize(
    ("model_type", "tokenizer_class", "pattern", "read_by"),
    [
        ("qwen2", "Qwen2Tokenizer", QWEN, "Qwen2Tokenizer"),
        ("llama", "PreTrainedTokenizerFast", THREES, "TokenizersBackend"),
        ("mistral", None, THREES, "TokenizersBackend"),
    ],
)
def test_an_ordinary_tokenizer_is_left_to_transformers(
    tmp_path: Path, model_type: str, tokenizer_class: str | None, pattern: str, read_by: str
) -> None:
    folder = write(tmp_path / "model", model_type, tokenizer_class, pattern)
    assert not misread(folder) and type(load_tokenizer(folder)).__name__ == read_by


def test_a_folder_that_was_written_anew_is_looked_at_anew(tiny: Checkpoint, tmp_path: Path) -> None:
    assert not misread(tiny.path)
    folder = write(tmp_path / "model", "llama", "PreTrainedTokenizerFast")
    assert not misread(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    assert misread(folder)


def test_a_model_with_a_short_context_is_opened_and_reads_without_a_warning_of_its_length(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from transformers import PreTrainedTokenizerFast
    from transformers.utils import logging

    folder = write(tmp_path / "short", "llama", "PreTrainedTokenizerFast")
    told = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(told | {"model_max_length": 8}))
    logging.enable_propagation()
    try:
        long = "much longer than eight tokens, by far"
        load_tokenizer(folder)(long, add_special_tokens=False)  # a contract sets such a row aside, and says so
        assert caplog.messages == []
        PreTrainedTokenizerFast.from_pretrained(folder)(long, add_special_tokens=False)
        assert "longer than the specified maximum" in caplog.text  # of which this would have seen it
    finally:
        logging.disable_propagation()
