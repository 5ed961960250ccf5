import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_contracts.config import HumanPairsConfig, RoundsConfig
from data_contracts.config_sweep import load_sweep
from data_contracts.errors import PlumblineError
from data_contracts.load_config import dump_config, load_config
from models.rubrics import open_rubric

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with everything that the configs below name."""
    for folder in ("student", "teacher", "benchmark"):
        (tmp_path / folder).mkdir()
    for file in ("prompts.jsonl", "pairs.jsonl"):
        (tmp_path / file).touch()
    return tmp_path


def rounds(**changes: Any) -> dict[str, Any]:
    return {
        "flow": "rounds",
        "name": "test",
        "policy": "student",
        "teacher": {"kind": "local", "model": "teacher"},
        "prompts": {"file": "prompts.jsonl", "per_round": 10},
        "align": {"objective": {"name": "apo_zero"}},
        "evaluate": {"benchmark": "benchmark"},
    } | changes


def human(**changes: Any) -> dict[str, Any]:
    tree = {"flow": "human_pairs", "name": "test", "policy": "student", "pairs": {"file": "pairs.jsonl"}}
    return tree | {"align": {"objective": {"name": "dpo"}}} | changes


def write(folder: Path, tree: dict[str, Any] | str) -> Path:
    path = folder / "config.yaml"
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    return path


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in rounds().items() if k != key}


OPENAI = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m"}
# nine lines that stand for 9**8 values; to name one of them in a sentence would take hours
BOMB = "z0: &z0 [x]\n" + "".join(f"z{i}: &z{i} [{', '.join([f'*z{i - 1}'] * 9)}]\n" for i in range(1, 8))
# what is wrong → the words that the one sentence must hold
WRONG: dict[str, tuple[dict[str, Any] | str, list[str]]] = {
    "unknown key": (rounds(colour="red"), ["unknown key", "colour"]),
    "unknown key inside": (rounds(sample={"n": 1, "heat": 2}), ["unknown key", "sample.heat"]),
    "unknown key of an objective": (
        rounds(align={"objective": {"name": "dpo", "gamma": 1}}),
        ["unknown key", "align.objective.gamma"],
    ),
    "unknown key of a teacher": (rounds(teacher={"kind": "local", "model": "teacher", "key": 1}), ["unknown key", "teacher.key"]),
    "misspelt": ({k: v for k, v in rounds(prompt=1).items() if k != "prompts"}, ["unknown key prompt: perhaps prompts"]),
    "misspelt inside": (rounds(prompts={"file": "prompts.jsonl", "per_rounds": 1}), ["prompts.per_rounds", "perhaps per_round "]),
    "misspelt in a list": (
        rounds(
            method={"name": "off_policy_judge", "sources": ["teacher", {"kind": "file", "file": "prompts.jsonl", "promt": 1}]}
        ),
        ["method.sources.1.promt", "perhaps prompt"],
    ),
    "named as others name it": (rounds(align={"objective": {"name": "dpo"}, "lora": {"r": 8}}), ["align.lora takes rank, alpha"]),
    "as TRL names it": (
        rounds(align={"objective": {"name": "dpo"}, "lr_scheduler_type": "cosine"}),
        ["here it is align.schedule"],
    ),
    "as TRL names it, of a teacher": (rounds(teacher={"kind": "local", "model_name": "teacher"}), ["model_name: perhaps model"]),
    "what TRL does and a run does not": (rounds(push_to_hub=True), ["unknown key push_to_hub", "nothing: no run uploads"]),
    "at another place": (rounds(align={"objective": {"name": "dpo"}, "beta": 1.0}), ["perhaps align.objective.beta"]),
    "a key of other objectives": (
        rounds(align={"objective": {"name": "dpo", "label_smoothing": 0.1}}),
        ["align.objective.label_smoothing: dpo takes none, cdpo"],
    ),
    "a key of other teachers": (
        rounds(teacher={"kind": "local", "model": "teacher", "price": 1}),
        ["local takes none, openai, batch"],
    ),
    "an objective as TRL names it": (rounds(align={"objective": {"name": "sigmoid"}}), ["'sigmoid'", "perhaps dpo:"]),
    "an objective as papers write it": (rounds(align={"objective": {"name": "APO-zero"}}), ["perhaps apo_zero"]),
    "an objective's name alone": (rounds(align={"objective": "dpo"}), ["align.objective", "group of keys, one of them name"]),
    "a judge's kind alone": (rounds(judge="generation"), ["judge is 'generation'", "group of keys: kind, verdict"]),
    "text for a number": (rounds(sample={"n": "two"}), ["sample.n", "'two'"]),
    "number for text": (rounds(name=7), ["name", "7"]),
    "truth for a number": (rounds(rounds=True), ["rounds", "True"]),
    "list for a group": (rounds(sample=[1]), ["sample", "[1]"]),
    "null for a group": (rounds(validate=None), ["validate", "None"]),
    "negative": (rounds(align={"objective": {"name": "dpo"}, "learning_rate": -1.0}), ["align.learning_rate", "-1.0"]),
    "share above one": (rounds(validate={"max_quarantined": 1.5}), ["validate.max_quarantined", "1.5"]),
    "nothing held out": (human(pairs={"file": "pairs.jsonl", "held_out": 0.0}), ["pairs.held_out"]),
    "bad name": (rounds(name="../up"), ["name", "../up"]),
    "missing key": (without("policy"), ["policy", "is missing"]),
    "missing group": (without("align"), ["align", "is missing"]),
    "missing key inside": (rounds(prompts={"per_round": 1}), ["prompts.file", "is missing"]),
    "no flow": (without("flow"), ["needs the key", "flow", "rounds or human_pairs"]),
    "unknown flow": (rounds(flow="circles"), ["flow", "circles", "rounds"]),
    "key of the other flow": (human(rounds=2), ["unknown key", "rounds"]),
    "unknown objective": (
        rounds(align={"objective": {"name": "apo_zeor"}}),
        ["align.objective.name", "'apo_zeor'", "perhaps apo_zero"],
    ),
    "objective without a name": (rounds(align={"objective": {"beta": 1.0}}), ["align.objective", "needs the key", "name"]),
    "unknown teacher": (rounds(teacher={"kind": "human", "model": "x"}), ["teacher.kind", "human"]),
    "prompts missing": (rounds(prompts={"file": "none.jsonl", "per_round": 1}), ["prompts.file", "none.jsonl", "does not exist"]),
    "benchmark missing": (rounds(evaluate={"benchmark": "none"}), ["evaluate.benchmark", "does not exist"]),
    "pairs missing": (human(pairs={"file": "none.jsonl"}), ["pairs.file", "does not exist"]),
    "policy missing": (rounds(policy="./no/such/folder"), ["policy", "./no/such/folder"]),
    "teacher missing": (rounds(teacher={"kind": "local", "model": "no teacher"}), ["teacher.model", "no teacher"]),
    "judged alone": (rounds(method="on_policy_judge"), ["sample.n", "at least 2"]),
    "revised in twos": (rounds(sample={"n": 2}), ["sample.n", "must be 1"]),
    "equal samples": (
        rounds(method="on_policy_judge", sample={"n": 2, "temperature": 0.0}),
        ["sample.temperature"],
    ),
    "unknown method": (rounds(method="clairvoyance"), ["method.name", "'clairvoyance'", "stronger_preferred"]),
    "unknown key of a method": (rounds(method={"name": "rso", "keeps": 2}), ["unknown key", "method.keeps"]),
    "unknown key of a source": (
        rounds(method={"name": "delta", "stronger": "teacher", "weaker": {"kind": "initial", "temp": 1}}),
        ["unknown key", "method.weaker.temp"],
    ),
    "unknown source": (
        rounds(method={"name": "off_policy_judge", "sources": ["teacher", "oracle"]}),
        ["method.sources.1.kind", "'oracle'"],
    ),
    "one source": (rounds(method={"name": "off_policy_judge", "sources": ["teacher"]}), ["method.sources"]),
    "sources alike": (
        rounds(method={"name": "off_policy_judge", "sources": ["initial", "initial"]}),
        ["off_policy_judge", "all its sources are the same"],
    ),
    "no delta": (
        rounds(method={"name": "delta", "stronger": {"kind": "teacher", "temperature": 0.5}, "weaker": "teacher"}),
        ["delta", "stronger and weaker are the same"],
    ),
    "source missing": (
        rounds(method={"name": "delta", "stronger": "teacher", "weaker": {"kind": "checkpoint", "model": "./none"}}),
        ["method: model", "./none"],
    ),
    "source file missing": (
        rounds(method={"name": "off_policy_judge", "sources": ["teacher", {"kind": "file", "file": "none.jsonl"}]}),
        ["method: file", "none.jsonl", "does not exist"],
    ),
    "nothing stronger": (
        rounds(method="stronger_preferred", teacher={"kind": "local", "model": "student"}),
        ["stronger_preferred", "not the policy itself"],
    ),
    "nothing rejected": (rounds(method={"name": "rso", "keep": 4}, sample={"n": 4}), ["rso keeps 4", "sample.n must be larger"]),
    "best alone": (rounds(method="best_of_n"), ["best_of_n", "at least 2"]),
    "no threshold": (rounds(method={"name": "best_of_n", "choice": "threshold"}, sample={"n": 2}), ["needs a threshold"]),
    "a rubric's file": (
        rounds(revise={"template": "rubric-1", "rubric": "derived.yaml"}),
        ["revise.rubric is 'derived.yaml'", "write the rubric itself"],
    ),
    "worse as chosen": (rounds(revise={"template": "worsen-1"}), ["worsen-1", "makes answers worse", "clair"]),
    "better as rejected": (
        rounds(method="worst_revision", revise={"template": "minimal-1"}),
        ["minimal-1", "makes answers better", "worst_revision"],
    ),
    "one view twice": (
        rounds(method="on_policy_judge", sample={"n": 2}, pairs={"second_view": {}}),
        ["pairs.second_view is the same as judge"],
    ),
    "remote likelihood as a second view": (
        rounds(teacher=OPENAI, pairs={"second_view": {"kind": "likelihood"}}),
        ["pairs.second_view", "likelihood"],
    ),
    "more than all": (rounds(pairs={"replay": [1.5]}), ["pairs.replay", "1.5"]),
    "the address of the completions": (
        rounds(teacher=OPENAI | {"base_url": "http://127.0.0.1:1/v1/chat/completions"}),
        ["teacher.base_url", "usually at /v1"],
    ),
    "budget of nothing": (rounds(teacher=OPENAI | {"budget": {}}), ["teacher.budget", "give tokens or money"]),
    "budget without a price": (rounds(teacher=OPENAI | {"budget": {"money": 5.0}}), ["teacher.budget.money", "teacher.price"]),
    "GPUs in words": (rounds(teacher={"kind": "vllm", "model": "teacher", "gpus": "all"}), ["teacher.gpus", "'all'"]),
    "vllm teacher missing": (rounds(teacher={"kind": "vllm", "model": "no teacher"}), ["teacher.model", "no teacher"]),
    "batch likelihood": (
        rounds(teacher={"kind": "batch", "model": "m"}, judge={"kind": "likelihood"}),
        ["judge.kind", "local teacher"],
    ),
    "remote likelihood": (rounds(teacher=OPENAI, judge={"kind": "likelihood"}), ["judge.kind", "local teacher"]),
    "kto alone": (rounds(align={"objective": {"name": "kto"}, "batch_size": 1}), ["align.batch_size", "at least 2"]),
    "key given twice": ("flow: rounds\nname: a\nname: b\n", ["line 3", "'name'", "twice"]),
    "key given twice inside": ("flow: rounds\nsample: {n: 1, n: 2}\n", ["'n'", "twice"]),
    "not yaml": ("flow: [", ["not valid YAML: line 1: "]),
    "a tab": ("flow: rounds\n\tname: x", ["not valid YAML: line 2: a tab, and only spaces may indent"]),
    "two documents": ("flow: rounds\n---\nname: x", ["line 2: expected a single document", "but found another"]),
    "a python object": ("flow: !!python/object/apply:os.getcwd []", ["not valid YAML"]),
    "aliases of aliases": (f"{BOMB}flow: rounds\nmethod: {{name: *z7}}\n", ["its aliases repeat values too often"]),
    "an alias of itself": ("flow: rounds\nname: &z [*z]\n", ["its aliases repeat values too often"]),
    "too deep": ("flow: " + "{a: " * 3000 + "}" * 3000, ["nests too deeply"]),
    "a date": ("flow: 2026-99-99", ["flow is '2026-99-99'"]),
    "a number of many digits": (f"seed: {'9' * 5000}", ["not valid YAML", "digits"]),
    "no mapping": ("- flow", ["must hold keys and values"]),
    "empty": ("", ["must hold keys and values"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_in_one_sentence_that_names_the_key(here: Path, name: str) -> None:
    tree, words = WRONG[name]
    with pytest.raises(PlumblineError) as told:
        load_config(write(here, tree))
    sentence = str(told.value)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence and "pydantic" not in sentence


def test_the_right_configs_behind_the_wrong_ones_load(here: Path) -> None:
    assert isinstance(load_config(write(here, rounds())), RoundsConfig)
    assert isinstance(load_config(write(here, human())), HumanPairsConfig)
    assert load_config(write(here, rounds(teacher=OPENAI))).teacher.model == "m"


def test_a_method_is_saved_as_it_was_written(here: Path) -> None:
    rso = {"name": "rso", "keep": 2, "temperature": 0.5}
    for method, sample in (("clair", {}), (rso, {"n": 3})):
        config = load_config(write(here, rounds(method=method, sample=sample)))
        assert yaml.safe_load(dump_config(config))["method"] == method
        assert load_config(write(here, dump_config(config))) == config


def test_the_models_and_files_of_a_method_are_found_beside_the_config(here: Path) -> None:
    sources = [{"kind": "checkpoint", "model": "teacher"}, {"kind": "file", "file": "pairs.jsonl"}, "previous"]
    config = load_config(write(here, rounds(method={"name": "off_policy_judge", "sources": sources})))
    assert isinstance(config, RoundsConfig)
    named = [getattr(writer, key, None) for writer, key in zip(config.method.writers, ("model", "file", "model"), strict=True)]
    assert named == [str(here / "teacher"), str(here / "pairs.jsonl"), None]


@pytest.mark.parametrize("key", ["prompts.file", "evaluate.benchmark"])
def test_a_pipe_is_no_file(here: Path, key: str) -> None:
    os.mkfifo(here / "pipe")
    with pytest.raises(PlumblineError, match=rf"{key} is .*a pipe or a device"):
        load_config(write(here, rounds()), [f"{key}={here / 'pipe'}"])


def test_a_config_file_that_is_not_there_is_told(here: Path) -> None:
    with pytest.raises(PlumblineError, match=r"none\.yaml does not exist"):
        load_config(here / "none.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_config_loads_and_says_what_it_is_for(path: Path) -> None:
    is_sweep = "\ngrid:" in path.read_text()
    load_sweep(path) if is_sweep else load_config(path)
    head = path.read_text().split("name:" if is_sweep else "flow:")[0]
    assert all(word in head for word in ("# Purpose:", "# Command:", "# Time and cost:"))


def test_overrides_reach_any_depth_and_keep_their_type(here: Path) -> None:
    sets = ["rounds=3", "align.learning_rate=1e-4", "align.objective.beta=0.5", "sample.top_p=0.9", "policy=org/name"]
    config = load_config(write(here, rounds()), sets)
    assert isinstance(config, RoundsConfig)
    assert (config.rounds, config.align.learning_rate, config.sample.top_p) == (3, 1e-4, 0.9)
    assert config.align.objective.parameters() == {"beta": 0.5}
    assert config.policy == "org/name"


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("rounds", ["--set 'rounds'", "key.subkey=value"]),
        ("=3", ["key.subkey=value"]),
        ("name.x=3", ["'name'", "not a group"]),
        ("align.colour=3", ["unknown key", "align.colour"]),
        ("rounds=[", ["--set", "not valid YAML"]),
    ],
)
def test_a_bad_override_is_told(here: Path, assignment: str, words: list[str]) -> None:
    with pytest.raises(PlumblineError) as told:
        load_config(write(here, rounds()), [assignment])
    assert all(word in str(told.value) for word in words), str(told.value)


def test_paths_in_a_file_are_relative_to_it_and_overrides_to_the_working_directory(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "pairs.jsonl").touch()
    monkeypatch.chdir(elsewhere)
    config = write(here, human())
    plain, overridden = load_config(config), load_config(config, ["pairs.file=pairs.jsonl"])
    assert isinstance(plain, HumanPairsConfig) and isinstance(overridden, HumanPairsConfig)
    assert plain.pairs.file == str(here / "pairs.jsonl")
    assert overridden.pairs.file == str(elsewhere / "pairs.jsonl")
    assert plain.policy == overridden.policy == str(here / "student")


def test_the_home_of_a_user_who_is_none_is_a_path_that_is_not_there(here: Path) -> None:
    with pytest.raises(PlumblineError, match=r"pairs.file is '~no-such-user/pairs.jsonl', which does not exist"):
        load_config(write(here, human(pairs={"file": "~no-such-user/pairs.jsonl"})))


def test_a_text_where_a_file_should_be_named_is_told(here: Path) -> None:
    """Longer than a file's name may be: a rubric's own words, say."""
    words = "Prefer the answer that is short, kind and right. " * 20
    config = load_config(write(here, rounds(judge={"rubric": words})))
    assert isinstance(config, RoundsConfig)
    with pytest.raises(PlumblineError, match=r"there is no rubric Prefer .*: name a YAML file"):
        open_rubric(config.judge.rubric)
    for key in ("prompts.file", "policy", "evaluate.benchmark"):
        with pytest.raises(PlumblineError, match=f"{key} is 'Prefer"):
            load_config(write(here, rounds()), [f"{key}={words}"])


SETS = {
    "method.stronger.model=./other": lambda c: c.method.stronger.model,
    "method.stronger={kind: checkpoint, model: other}": lambda c: c.method.stronger.model,
    "method={name: delta, stronger: {kind: checkpoint, model: other}, weaker: initial}": lambda c: c.method.stronger.model,
    "method={name: off_policy_judge, sources: [teacher, {kind: file, file: other.jsonl}]}": lambda c: c.method.sources[1].file,
    "win_rate.against=[{name: they, file: other.jsonl}]": lambda c: c.win_rate.against[0].file,
    "teacher={kind: local, model: other}": lambda c: c.teacher.model,
    "validate.contamination.sets=[other.jsonl]": lambda c: c.validate_.contamination.sets[0],
    "teacher.journal=other.db": lambda c: c.teacher.journal,
}


@pytest.mark.parametrize("assignment", SETS)
def test_every_path_of_an_override_is_relative_to_the_working_directory(
    here: Path, monkeypatch: pytest.MonkeyPatch, assignment: str
) -> None:
    """Also where the same name lies beside the file, and where the override gives the group that the path is in."""
    elsewhere = here / "elsewhere"
    for folder in (here, elsewhere):
        (folder / "other").mkdir(parents=True)
        (folder / "other.jsonl").touch()
    monkeypatch.chdir(elsewhere)
    stronger = {"kind": "checkpoint", "model": "other"}
    config = write(here, rounds(method={"name": "delta", "stronger": stronger, "weaker": "initial"}))
    assert load_config(config).method.stronger.model == str(here / "other")  # type: ignore[union-attr]
    found = SETS[assignment](load_config(config, [assignment]))
    assert Path(found).parent == elsewhere and Path(found).stem == "other"
    kept = load_config(config, ["method.stronger.temperature=0.5"])
    assert kept.method.stronger.model == str(here / "other")  # type: ignore[union-attr]


SECRET = "sk-5ecre7"
LEAKS = {
    "userinfo": {"base_url": f"https://user:{SECRET}@host/v1"},
    "user alone": {"base_url": f"https://{SECRET}@host/v1"},
    "query": {"base_url": f"https://host/v1?key={SECRET}"},
    "fragment": {"base_url": f"https://host/v1#{SECRET}"},
    "no scheme": {"base_url": f"{SECRET}.host/v1"},
    "unfinished": {"base_url": f"https:/{SECRET}"},
    "the key in place of its variable": {"api_key_env": SECRET},
    "a key that could be a name": {"api_key_env": "gsk_5ecre7Kdj38dhGs0aLq"},
}


@pytest.mark.parametrize("name", LEAKS)
def test_what_may_be_a_secret_is_refused_and_not_repeated(here: Path, name: str) -> None:
    with pytest.raises(PlumblineError, match=r"teacher\.(base_url|api_key_env) ") as told:
        load_config(write(here, rounds(teacher=OPENAI | LEAKS[name])))
    assert not any(value in str(told.value) for value in (SECRET, *LEAKS[name].values()))
    assert len(str(told.value).splitlines()) == 1
    load_config(write(here, rounds(teacher=OPENAI | {"base_url": "https://[::1]:8000/some/v1", "api_key_env": "A_KEY"})))
    load_config(write(here, rounds(teacher=OPENAI | {"api_key_env": "TEACHER_2_API_KEY_OF_PRODUCTION"})))


def test_the_saved_config_loads_as_itself(here: Path) -> None:
    config = load_config(write(here, rounds(validate={"min_rows": 5})), ["seed=4"])
    assert load_config(write(here, dump_config(config))) == config


def test_no_parameter_of_an_objective_is_infinite(here: Path) -> None:
    with pytest.raises(PlumblineError, match=r"align\.objective\.beta is inf"):
        load_config(write(here, rounds()), ["align.objective.beta=.inf"])


def test_configs_are_checked_before_anything_heavy_is_imported(here: Path) -> None:
    write(here, rounds(colour="red"))
    script = (
        "import sys\nfrom pathlib import Path\nfrom data_contracts.load_config import load_config\n"
        "try:\n    load_config(Path(sys.argv[1]))\nexcept Exception as error:\n    print(error)\n"
        "print([m for m in ('torch', 'pandas', 'pyarrow', 'numpy', 'prefect', 'great_expectations') if m in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(here / "config.yaml")], capture_output=True, text=True, check=True, env=environment
    )
    told, heavy = done.stdout.splitlines()
    assert "unknown key colour" in told
    assert heavy == "[]"


def test_a_journal_that_is_not_there_yet_is_placed_beside_the_config_that_names_it(here: Path) -> None:
    config = load_config(write(here, rounds(teacher=OPENAI | {"journal": "shared/j.db"})))
    assert config.teacher.journal == str(here / "shared" / "j.db")  # type: ignore[union-attr]
    told = load_config(write(here, rounds(teacher=OPENAI)), ["teacher.journal=j.db"])
    assert told.teacher.journal == str(Path.cwd() / "j.db")  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["a\0b.db", "\ud800.db", "a" * 256, "é" * 128, "folder/" * 500])
def test_a_name_that_no_file_can_have_is_told(here: Path, name: str) -> None:
    with pytest.raises(PlumblineError, match=r"^teacher\.journal is .*no file can have such a name") as told:
        load_config(write(here, rounds(teacher=OPENAI | {"journal": name})))
    assert len(str(told.value)) < 200
    load_config(write(here, rounds(teacher=OPENAI | {"journal": "a" * 250 + ".db"})))


@pytest.mark.parametrize("key", ["policy", "prompts.file", "evaluate.benchmark", "validate.contamination.sets", "judge.rubric"])
def test_a_path_with_a_nul_is_told_by_its_key(here: Path, key: str) -> None:
    value = '["a\\0b"]' if key.endswith("sets") else '"a\\0b"'
    with pytest.raises(PlumblineError, match=rf"^{key} is 'a\\x00b'"):
        load_config(write(here, rounds()), [f"{key}={value}"])
