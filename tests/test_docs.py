"""What the documentation shows is there: commands with their options, configurations, keys, files, the number of objectives."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from pydantic import BaseModel

from data_contracts.config import HumanPairsConfig, RoundsConfig
from data_contracts.config_sweep import load_sweep
from data_contracts.errors import PlumblineError
from data_contracts.load_config import load_config
from data_contracts.objective_config import CONFIGS
from data_contracts.rubric import load_rubric
from data_contracts.suites import check_settings
from flows.cli import app
from models.benchmark import load_benchmark
from models.objectives.serving import refuse_config
from tasks.prompts import read_prompts

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")), *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
YAML = re.compile(r"^```yaml\n(.*?)^```", re.M | re.S)
SNIPPETS = [(name, block) for name, text in TEXTS.items() for block in YAML.findall(text)]


def code(text: str) -> list[str]:
    """Lines of code blocks without their comments, and code within sentences."""
    blocks = re.findall(r"^    (\S.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return [re.sub(r"\s+#\s.*", "", line) for line in blocks] + re.findall(r"`([^`\n]+)`", text)


def commands(text: str) -> list[list[str]]:
    """The arguments of every `plumbline …` that a reader may type; `prefect …` and the like are other people's."""
    found = [match[1] for line in code(text) if (match := re.search(r"(?:^|/|; )plumbline (\S.*)", line))]
    return [shlex.split(re.sub(r"[\[\]|]", " ", line).replace("…", "")) for line in found]


def unknown(arguments: list[str]) -> str | None:
    """The first word that is no command, or the first option that the command does not have."""
    command: Any = typer.main.get_command(app)
    words = list(arguments)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return words[0]
        command = command.commands[words.pop(0)]
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    return next((word for word in words if word.startswith("--") and word not in options), None)


def test_every_command_that_is_named_exists_with_its_options() -> None:
    named = {(page, *arguments) for page, text in TEXTS.items() for arguments in commands(text)}
    named |= {(path.name, *a) for path in (ROOT / "configs").glob("*.yaml") for a in commands(f"`{header(path)}`")}
    assert len(named) > 40
    assert [(told, unknown(list(told[1:]))) for told in sorted(named) if unknown(list(told[1:]))] == []
    assert unknown(["teacher", "forget"]) == "forget"  # the check sees what is not there
    assert unknown(["run", "c.yaml", "--fast"]) == "--fast"


def header(path: Path) -> str:
    return next(line for line in path.read_text(encoding="utf-8").splitlines() if "plumbline" in line)


def test_every_command_is_in_the_documentation() -> None:
    first = {arguments[0] for text in TEXTS.values() for arguments in commands(text)}
    assert set(typer.main.get_command(app).commands) - first == {"demo", "embedded"}  # which are make's


def load_snippet(folder: Path, block: str) -> None:
    """Load a whole configuration or a sweep; where only some keys are shown, within the demo's configuration."""
    for name in ("models", "configs"):
        (folder / name).symlink_to(ROOT / name)
    tree = yaml.safe_load(block)
    if "flow" not in tree and "grid" not in tree:
        demo = (ROOT / "configs" / "demo.yaml").read_text(encoding="utf-8").replace("../models", "models")
        block = yaml.safe_dump(yaml.safe_load(demo) | {"judge": {}} | tree)  # the default judge goes with every teacher
    path = folder / "snippet.yaml"
    path.write_text(block, encoding="utf-8")
    configs = [cell.config for cell in load_sweep(path).cells] if "grid" in tree else [load_config(path)]
    for config in configs:
        refuse_config(config)
        check_settings(config.validate_)


@pytest.mark.parametrize("block", [block for _, block in SNIPPETS], ids=[f"{n}-{i}" for i, (n, _) in enumerate(SNIPPETS)])
def test_every_configuration_that_is_shown_loads(block: str, tmp_path: Path) -> None:
    load_snippet(tmp_path, block)


def test_a_wrong_configuration_would_be_noticed(tmp_path: Path) -> None:
    with pytest.raises(PlumblineError, match=r"judge\.kinds"):
        load_snippet(tmp_path, "judge: {kinds: pointwise}\n")


def keys(model: type[BaseModel]) -> set[str]:
    """Dotted names of every key, of all members of unions."""
    model.model_rebuild()  # some annotations name a class further down
    found = set()
    for name, field in model.model_fields.items():
        name = field.alias or name
        found |= {name} | {f"{name}.{below}" for inner in _models(field.annotation) for below in keys(inner)}
    return found


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]


def test_every_dotted_key_that_is_named_exists() -> None:
    known = keys(RoundsConfig) | keys(HumanPairsConfig)
    groups = {key.split(".")[0] for key in known if "." in key}
    named = {span for text in TEXTS.values() for span in re.findall(r"`([a-z]+(?:\.[a-z_]+)+)`", text)}
    told = {span for span in named if span.split(".")[0] in groups and not span.endswith((".py", ".md", ".json", ".db"))}
    assert len(told) > 25
    assert told - known == set()


def test_every_file_that_is_linked_or_in_the_tree_exists() -> None:
    for page, text in TEXTS.items():
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / page).parent.joinpath(link).exists(), f"{page}: {link}"
        for link, part in re.findall(r"\]\(([\w./]*)#([^)]+)\)", text):
            there = (ROOT / page).parent.joinpath(link).resolve().relative_to(ROOT) if link else page
            headings = re.findall(r"^#+ (.+)$", TEXTS[str(there)], re.M)
            assert part in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}, f"{page}: {link}#{part}"
    tree = TEXTS["README.md"].partition("## What is where")[2].partition("\n## ")[0]
    top, seen = ROOT, set()
    for line in re.findall(r"^    (.+)$", tree, re.M):
        if not line.startswith(" "):
            top = ROOT / line.split()[0]
            seen.add(line.split()[0])
        for name in re.findall(r"(?<![\w/])[\w*]+(?:\.py|\.html|/)(?!\w)", line):
            if name.endswith(".py") or not line.startswith(" "):
                assert any([*top.glob(name), *ROOT.glob(name)]), f"{name} in {top.name}/"
    assert {p.parent.name + "/" for p in ROOT.glob("*/*.py")} <= seen


def test_the_number_of_objectives_is_the_registry_s() -> None:
    for page in ("README.md", "docs/objectives.md"):
        assert re.search(rf"\ball {len(CONFIGS)}\b", TEXTS[page]), f"{page} should say that there are {len(CONFIGS)}"


def test_prompts_questions_and_the_rubric_that_are_shown_are_read(tmp_path: Path) -> None:
    (shown,) = re.findall(r"^```json\n(.*?)^```", TEXTS["docs/pairs.md"], re.M | re.S)
    (tmp_path / "prompts.jsonl").write_text(shown)
    assert [(id_, len(messages)) for id_, messages in read_prompts(tmp_path / "prompts.jsonl")] == [("1", 1), ("b-7", 2)]
    folder = tmp_path / "shown"
    folder.mkdir()
    for block in re.findall(r"^```json\n(.*?)^```", TEXTS["docs/evaluation.md"], re.M | re.S):
        (question,) = json.loads(block).values()
        (folder / f"{question['problem_type']}.json").write_text(block)
    assert len(load_benchmark(folder)) == 2
    (rubric,) = re.findall(r"^```\n(name: .*?)^```", TEXTS["docs/judges.md"], re.M | re.S)
    (tmp_path / "rubric.yaml").write_text(rubric)
    assert [c.weight for c in load_rubric(tmp_path / "rubric.yaml").criteria] == [3.0, 1.0]
