"""What vLLM takes from the machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from data_contracts.errors import PlumblineError
from models import prerequisites
from models.prerequisites import check_machine, missing

ROOT = Path(__file__).parents[2]


def test_this_machine_has_everything() -> None:
    assert missing("cpu") == {}


def test_all_that_is_missing_is_named_with_its_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(prerequisites, "get_path", lambda name: str(tmp_path))
    monkeypatch.setitem(prerequisites.LIBRARIES, "cpu", {"libmissing.so.1": "libmissing1"})
    packages = rf"g\+\+ python3\.{sys.version_info.minor}-dev libmissing1"
    with pytest.raises(PlumblineError, match=rf"needs g\+\+, Python\.h, libmissing\.so\.1, .* apt install {packages}\)"):
        check_machine("cpu")
    assert list(missing("cuda")) == ["gcc", "Python.h"]


def test_a_compiler_that_the_environment_names_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", sys.executable)
    assert missing("cpu") == {}


@pytest.mark.parametrize(("backend", "compiler"), [("cpu", "g++"), ("cuda", "gcc")])
def test_a_python_without_packages_can_ask(backend: str, compiler: str, tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-m", "models.prerequisites", backend]
    asked = subprocess.run(command, env={"PATH": str(tmp_path)}, cwd=ROOT, capture_output=True, text=True, check=False)
    assert asked.returncode == 1
    assert asked.stderr.startswith(f"error: vLLM needs {compiler}")
    assert len(asked.stderr.splitlines()) == 1
