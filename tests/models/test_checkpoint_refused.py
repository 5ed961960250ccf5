"""Folders that are no checkpoint that can be used: each is one sentence that says what to do, before anything is loaded."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from data_contracts.errors import PlumblineError
from models.check_model import check_model
from models.checkpoint import Checkpoint, load_model, open_checkpoint, read_config

WEIGHTS = "model.safetensors"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def cut(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:-7])


def cut_text(file: Path) -> None:
    text = file.read_text()
    file.write_text(text[: text.index("%}") + 4] if "%}" in text else text[:40])


def no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    told = json.loads((folder / "tokenizer_config.json").read_text())
    told.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(told))


def index(folder: Path) -> None:
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": {"a": WEIGHTS, "b": "model-2.safetensors"}}))


def index_names(folder: Path, name: str) -> None:
    """The weights are elsewhere, and another file lies in their place."""
    (folder / name).write_bytes((folder / WEIGHTS).read_bytes())
    (folder / WEIGHTS).rename(folder / "other.safetensors")
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": {"model.embed_tokens.weight": name}}))


def adapter_beside(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "other/model", "peft_type": "LORA"}))


def settings(folder: Path, **changed: object) -> None:
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | changed))


def grown(folder: Path, token: str) -> None:
    """One more token in the tokenizer, and no embedding for it."""
    told = json.loads((folder / "tokenizer.json").read_text())
    entry = told["added_tokens"][-1] | {"id": 748, "content": token}
    (folder / "tokenizer.json").write_text(json.dumps(told | {"added_tokens": [*told["added_tokens"], entry]}))


def adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


# what is wrong → how it came about, and words of the sentence
WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (cut, "cut short"),
    "a pointer": (lambda f: (f / WEIGHTS).write_bytes(POINTER), "git lfs pull"),
    "empty": (lambda f: (f / WEIGHTS).write_bytes(b""), "damaged"),
    "a shard is missing": (index, "such as model-2.safetensors"),
    "pickled": (lambda f: (f / WEIGHTS).rename(f / "pytorch_model.bin"), "save_pretrained"),
    "a shard in another folder": (lambda f: index_names(f, "../x.safetensors"), "index.json names '../x.safetensors'"),
    "a shard that is pickled": (lambda f: index_names(f, "pytorch_model.bin"), "index.json names 'pytorch_model.bin'"),
    "no map in an index": (lambda f: (f / f"{WEIGHTS}.index.json").write_text('{"weight_map": [1]}'), "no safetensors file"),
    "weights and an adapter": (adapter_beside, "an adapter_config.json beside it"),
    "attention by a stranger": (lambda f: settings(f, _attn_implementation="org/kernel"), "takes _attn_implementation from"),
    "experts by a stranger": (lambda f: settings(f, text_config={"experts_implementation": "org/x"}), "remote code is never run"),
    "nested too deeply": (lambda f: (f / "config.json").write_text('{"a":' + "[" * 10**5 + "]" * 10**5 + "}"), "too deeply"),
    "an adapter": (adapter, "merge_and_unload"),
    "half a configuration": (lambda f: (f / "config.json").write_text('{"model_type": '), "config.json is not readable JSON"),
    "a list for a configuration": (lambda f: (f / "config.json").write_text("[]"), "no JSON object"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "holds no tokenizer"),
    "half a tokenizer": (lambda f: cut_text(f / "tokenizer.json"), "tokenizer.json is not readable JSON"),
    "half a tokenizer's settings": (
        lambda f: cut_text(f / "tokenizer_config.json"),
        "tokenizer_config.json is not readable JSON",
    ),
    "half a template": (lambda f: cut_text(f / "chat_template.jinja"), r"chat_template.jinja is damaged \(line"),
    "no template": (no_template, "chat_template.jinja"),
    "an unknown kind": (lambda f: settings(f, model_type="llamma"), r"model_type 'llamma'.* \(llama, perhaps\)"),
    "no kind": (lambda f: settings(f, model_type=None), "model_type 'None'"),
    "a classifier": (lambda f: settings(f, architectures=["LlamaForSequenceClassification"]), "is a LlamaForSequence"),
    "a smaller vocabulary": (lambda f: settings(f, vocab_size=500), "vocab_size 500, and .* of 748 tokens"),
    "a larger vocabulary": (lambda f: settings(f, vocab_size=1000), "vocab_size 1000, and .* of 748 tokens"),
    "a token of the template without embedding": (lambda f: grown(f, "role"), "has tokens, such as 'role'"),
}


def use(folder: Path) -> Checkpoint:
    found = open_checkpoint(folder)
    check_model(found.path)
    return found


@pytest.mark.parametrize("name", WRONG)
def test_a_folder_that_is_no_checkpoint_is_told_before_anything_is_loaded(tiny: Checkpoint, tmp_path: Path, name: str) -> None:
    spoil, words = WRONG[name]
    folder = tmp_path / "model"
    shutil.copytree(tiny.path, folder)
    assert use(folder).hash == tiny.hash  # whole, it is used
    spoil(folder)
    with pytest.raises(PlumblineError, match=words) as told:
        use(folder)
    assert "\n" not in str(told.value) and str(folder) in str(told.value)


def test_a_model_without_all_of_its_weights_is_not_made_up(tiny: Checkpoint, tmp_path: Path) -> None:
    import torch

    folder = tmp_path / "model"
    shutil.copytree(tiny.path, folder)
    load_model(folder, torch.float32)
    settings(folder, num_hidden_layers=read_config(folder)["num_hidden_layers"] + 1)
    with pytest.raises(PlumblineError, match=r"lack \d+ of its config.json's tensors, such as model.layers"):
        load_model(folder, torch.float32)


def test_a_template_with_the_marks_of_transformers_is_whole(tiny: Checkpoint, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.path, folder)
    said = "{%- generation -%}{{ m.content }}{% endgeneration %}"
    marked = "{% for m in messages %}" + said + "{% if loop.last %}{% break %}{% endif %}{% endfor %}"
    (folder / "chat_template.jinja").write_text(marked)
    check_model(folder)
    (folder / "chat_template.jinja").unlink()
    told = json.loads((folder / "tokenizer_config.json").read_text())
    for template, is_whole in ((marked, True), ([{"name": "default", "template": marked}], True), ("{{", False)):
        (folder / "tokenizer_config.json").write_text(json.dumps(told | {"chat_template": template}))
        if is_whole:
            check_model(folder)
        else:
            with pytest.raises(PlumblineError, match=r"tokenizer_config.json is damaged"):
                check_model(folder)


def test_a_token_that_nothing_spells_needs_no_embedding(tiny: Checkpoint, tmp_path: Path) -> None:
    """As the placeholder for pictures of a model that was made of one that sees them."""
    folder = tmp_path / "model"
    shutil.copytree(tiny.path, folder)
    grown(folder, "<image_soft_token>")
    check_model(folder)
    told = json.loads((folder / "tokenizer.json").read_text())
    told["model"]["vocab"] += [[f"zz{i}", 0.0] for i in range(4)]
    (folder / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(PlumblineError, match="such as 'zz"):
        check_model(folder)


def test_looking_at_a_model_imports_nothing_that_takes_seconds(tiny: Checkpoint) -> None:
    """It is done before a run starts what it waits for."""
    code = "import sys; from pathlib import Path; from models.check_model import check_model; check_model(Path(sys.argv[1])); "
    code += "assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(tiny.path)], check=True)


def test_a_kind_whose_folder_has_another_name_is_known(tiny: Checkpoint, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny.path, folder)
    settings(folder, model_type="gemma3_text")
    check_model(folder)
