"""The rules of the house that a reader relies on: which floor imports which, one door per heavy library, small files."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ["data_contracts", "models", "tasks", "flows"]
DOORS = {
    "prefect": lambda path: path.startswith("flows/"),
    "mlflow": lambda path: path.startswith("tasks/tracking"),
    "vllm": lambda path: path.startswith("models/engine"),
    "great_expectations": lambda path: path.startswith("data_contracts/"),
    "yaml": lambda path: path == "data_contracts/parse_yaml.py",  # libraries change it for the whole process
}


def sources() -> list[Path]:
    return [p for floor in FLOORS for p in sorted((ROOT / floor).rglob("*.py"))]


def imported(source: str) -> set[str]:
    """Top-level names of every absolute import, also those inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def upward(floor: str, source: str) -> set[str]:
    return imported(source) & set(FLOORS[FLOORS.index(floor) + 1 :])


def test_imports_run_only_downwards() -> None:
    broken = {str(p.relative_to(ROOT)): upward(p.relative_to(ROOT).parts[0], p.read_text()) for p in sources()}
    assert {path: names for path, names in broken.items() if names} == {}
    assert upward("models", "def f():\n    from tasks.sample import sample") == {"tasks"}  # the check itself sees a hidden import


def test_each_heavy_library_has_one_door() -> None:
    for path in (p.relative_to(ROOT).as_posix() for p in sources()):
        for library in imported((ROOT / path).read_text()) & DOORS.keys():
            assert DOORS[library](path), f"{path} imports {library}"


def common_draws(source: str) -> set[str]:
    """What is drawn from a generator that a whole process shares: `random.shuffle`, `np.random.normal`, …"""
    own = {"random": "Random", "np.random": "default_rng", "numpy.random": "default_rng"}
    named = {ast.unparse(node).rpartition(".")[::2] for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    return {f"{owner}.{name}" for owner, name in named if name != own.get(owner, name)}


def test_nothing_is_drawn_from_generators_that_libraries_seed() -> None:
    """vLLM seeds them all in every run, and lm-evaluation-harness once more."""
    drawn = common_draws("random.uniform(0, 1); np.random.normal(); random.Random(0).random(); np.random.default_rng()")
    assert drawn == {"random.uniform", "np.random.normal"}
    assert {str(path): drawn for path in sources() if (drawn := common_draws(path.read_text()))} == {}


def without_encoding(source: str) -> list[str]:
    """Calls that read or write text in whatever encoding the machine is set to."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, words = node.func.attr, [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            is_text = name in ("open", "fdopen") and any(isinstance(word, str) and set(word) <= set("rwax+") for word in words)
            if (name in ("read_text", "write_text") or is_text) and "encoding" not in (k.arg for k in node.keywords):
                found.append(ast.unparse(node))
    return found


def test_text_files_are_utf_8_whatever_the_machine_is_set_to() -> None:
    assert {str(p.relative_to(ROOT)): calls for p in sources() if (calls := without_encoding(p.read_text()))} == {}
    assert without_encoding("p.read_text()\np.open('a')\np.write_text(t)") == ["p.read_text()", "p.open('a')", "p.write_text(t)"]
    assert without_encoding("p.open('rb')\np.open('w', encoding='utf-8')\nwrite_text(p, t)") == []


def test_files_stay_small() -> None:
    lengths = {p: len(p.read_text().splitlines()) for p in sources() if p.name != "__init__.py"}
    assert max(lengths.values()) <= 400, max(lengths, key=lengths.__getitem__)
    assert statistics.median(lengths.values()) <= 150


def test_help_and_config_errors_import_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "vllm", "prefect", "mlflow", "great_expectations", "pandas", "pyarrow", "numpy", "openai"]
    script = (
        "import sys\nsys.argv = ['plumbline', *{arguments!r}]\nfrom flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', [m for m in {heavy!r} if m in sys.modules])"
    )
    for arguments in (["--help"], ["run", "configs/demo.yaml", "--set", "no.such=1"]):
        done = subprocess.run(
            [sys.executable, "-c", script.format(arguments=arguments)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert "HEAVY []" in done.stdout, done.stdout
