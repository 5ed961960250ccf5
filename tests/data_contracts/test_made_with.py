"""What a dataset was made with is noted beside it, without importing anything heavy, and told where it differs."""

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from data_contracts import made_with as module
from data_contracts.made_with import made_with, together
from data_contracts.store import build


def test_every_manifest_says_with_which_versions_and_on_which_machine_it_was_made(tmp_path: Path) -> None:
    noted = build(tmp_path / "prompts", "prompts", {}, lambda _: ([], {})).manifest["made_with"]
    assert noted == made_with()
    assert noted["torch"] == version("torch")
    assert noted["vllm"][0].isdigit()
    assert "cores" in noted["machine"]
    assert set(noted) >= {"plumbline", "python", "transformers", "mlflow", "prefect", "great-expectations", "accelerate"}


def test_a_checkout_is_named_by_its_commit_and_whether_files_differ_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", *author, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    assert module._commit(tmp_path) is None
    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-qm", "one")
    monkeypatch.setenv("GIT_DIR", str(Path(__file__).parents[2] / ".git"))  # as in a hook of another repository
    assert (
        module._commit(tmp_path)
        == subprocess.run(
            ["git", f"--git-dir={tmp_path / '.git'}", "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    (tmp_path / "file").write_text("2")
    assert str(module._commit(tmp_path)).endswith("-dirty")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert module._commit(tmp_path) is None  # no git there


def test_a_machine_is_its_cores_and_its_gpus_by_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "cpu_count", lambda: 16)
    assert module._machine(tmp_path) == "16 cores"
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: AMD EPYC\nprocessor\t: 1\nmodel name\t: AMD EPYC\n")
    for bus, model in enumerate(("NVIDIA A", "NVIDIA B", "NVIDIA A")):
        folder = tmp_path / "driver" / "nvidia" / "gpus" / f"0000:0{bus}:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 1\n")
    assert module._machine(tmp_path) == "16 cores AMD EPYC, 2 × NVIDIA A, 1 × NVIDIA B"


def test_what_differs_among_datasets_is_told_whole_and_what_was_not_noted_is_left_out() -> None:
    old, new = {"made_with": {"torch": "2.12", "python": "3.11"}}, {"made_with": {"torch": "2.13", "python": "3.11"}}
    assert together([{}, old, new, old]) == {"torch": "2.12, 2.13", "python": "3.11"}
    assert together([{}]) == {}
