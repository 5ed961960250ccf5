"""Whose reading of a text counts: a checkpoint's own tokenizer.json, with which its model was trained.

Since transformers 5 the class of a tokenizer may build the pipeline itself and take no more than vocabulary and merges from the
file: `Qwen2Tokenizer` does, for every checkpoint of `model_type: qwen2` whatever class it names, and so do `LlamaTokenizer`,
`GemmaTokenizer`, `GPT2Tokenizer` and others where they are named. A file with another pre-tokenizer, normalizer or decoder is
then read wrongly without a word.
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# where pipelines part ways: numbers, contractions, white space and line ends, scripts, composed and decomposed letters, code
_PROBE = """ In 2024, 1,234,567.89 km²; it's WE'LL don't  two   three\ttab

\n\nñaïve e\u0301 \ufb01ne ﾃｽﾄ 日本語の文章 नमस्ते दुनिया مرحبا بالعالم สวัสดี Привет 🙂👩‍👩‍👧🇩🇪 …“quoted”—dash
def f(x_1):\r\n    return {"a": x_1[0]**2 != 3.14e-10}  # snake_case camelCase <b>&amp;</b> https://example.org/?q=1

   """
_DECIDING = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json")


def read_tokenizer(path: Path) -> "PreTrainedTokenizerFast":
    """AutoTokenizer's, unless that reads texts otherwise than the folder's tokenizer.json; then the file's."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    reads: PreTrainedTokenizerFast = (
        PreTrainedTokenizerFast.from_pretrained(path)
        if misread(path)
        else AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    )
    # a contract sets aside what is too long for a model, and says so: "will result in indexing errors" would only frighten
    reads.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return reads


def misread(path: Path) -> bool:
    """Whether transformers' AutoTokenizer, and whoever uses it, reads texts otherwise than the tokenizer.json in the folder."""
    if not (path / "tokenizer.json").exists():
        return False
    stats = [file.stat() for name in _DECIDING if (file := path / name).exists()]
    return _misread(path, *((s.st_ino, s.st_size, s.st_mtime_ns) for s in stats))


@lru_cache(maxsize=256)
def _misread(path: Path, *_version: tuple[int, int, int]) -> bool:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    own = PreTrainedTokenizerFast.from_pretrained(path)
    try:
        auto = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        text = f"{_PROBE}{auto.eos_token or ''}{_PROBE}"  # some begin again after a control token
        read = auto(text, add_special_tokens=False, verbose=False)["input_ids"]  # it may be longer than what the model takes
    except Exception:  # whatever a class makes of a vocabulary that is not what it was written for
        return True
    ids: list[int] = own(text, add_special_tokens=False, verbose=False)["input_ids"]
    return bool(ids != read or own.decode(ids) != auto.decode(ids))
