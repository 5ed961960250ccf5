"""A run's teacher is tried before the run costs anything, and never where the run can do without it."""

from pathlib import Path

import pytest

from data_contracts.config import RoundsConfig
from data_contracts.errors import PlumblineError
from data_contracts.load_config import load_config
from flows.iterate import check, execute
from flows.reachable import check_addresses, check_server
from models.journal import Journal, Reply, Request
from tests.models.chat_server import refuses, serving

ROOT = Path(__file__).resolve().parents[2]
AWAY = "http://127.0.0.1:9/v1"  # the discard port: nobody answers there


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", "sk-very-secret")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(ROOT)


def config(address: str, *sets: str) -> RoundsConfig:
    teacher = f"teacher={{kind: openai, base_url: '{address}', model: big, api_key_env: TEACHER_KEY}}"
    found = load_config(ROOT / "configs" / "demo.yaml", [teacher, "judge={kind: generation}", *sets])
    assert isinstance(found, RoundsConfig)
    return found


def test_a_server_that_is_away_stops_a_run_before_it_has_a_folder(tmp_path: Path) -> None:
    with pytest.raises(PlumblineError, match=r"teacher\.base_url"):
        execute(config(AWAY), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_refused_key_stops_a_run_before_it_has_a_folder(tmp_path: Path) -> None:
    def no(*_: object) -> tuple[int, object]:
        return refuses(401, "who are you?")

    with serving(no, no) as (address, _, _), pytest.raises(PlumblineError, match=r"TEACHER_KEY.*teacher\.api_key_env"):
        execute(config(address), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_where_the_journal_knows_the_teacher_it_may_be_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a run asks again, or for the first time but after another, comes from there."""
    journal = Journal(tmp_path / "journal.db")
    for model, known in (("other", False), ("big", True)):
        journal.store([(Request(model, [{"role": "user", "content": "?"}], {}, 0, 0), Reply("yes", "stop"))])
        if known:
            check_server(config(AWAY), tmp_path / "run")
            assert "cannot be reached" in capsys.readouterr().out
        else:
            with pytest.raises(PlumblineError, match=r"teacher\.base_url"):
                check_server(config(AWAY), tmp_path / "run")
    journal.close()


@pytest.mark.parametrize(
    ("sets", "asked"),
    [
        (["method=self_revision"], True),  # its win rates are judged
        (["method=self_revision", "judge={kind: preference_model, model: models/embedded/student}"], False),
        (["method=stronger_preferred", "judge={kind: preference_model, model: models/embedded/student}"], True),
        (["method=clair", "judge={kind: preference_model, model: models/embedded/student}"], True),
    ],
)
def test_a_teacher_that_is_never_asked_may_be_away(tmp_path: Path, sets: list[str], asked: bool) -> None:
    if asked:
        with pytest.raises(PlumblineError, match=r"teacher\.base_url"):
            check_server(config(AWAY, *sets), tmp_path / "run")
    else:
        check_server(config(AWAY, *sets), tmp_path / "run")


def test_a_journal_that_is_none_is_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("dear diary, " * 100)
    for path, words in (
        (tmp_path / "notes.db", "cannot be used"),
        (tmp_path, "is a folder"),
        (tmp_path / "notes.db" / "j", "is a file"),
    ):
        given = load_config(ROOT / "configs" / "demo.yaml", [f"teacher.journal={path}"])
        with pytest.raises(PlumblineError, match=rf"journal.*{words}"):
            check(given, tmp_path / "run")
    check(load_config(ROOT / "configs" / "demo.yaml", [f"teacher.journal={tmp_path}/new/j.db"]), tmp_path / "run")
    assert not (tmp_path / "new").exists() and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PREFECT_API_URL", "127.0.0.1:4200/api", "no address of a server"),
        ("PREFECT_API_URL", "http://127.0.0.1:port/api", "no address of a server"),
        ("PREFECT_API_URL", "https:///api", "no address of a server"),
        ("PREFECT_API_URL", "http://127.0.0.1:9/api", None),
        ("MLFLOW_TRACKING_URI", "http//127.0.0.1:5000", "neither a server's address nor a database's"),
        ("MLFLOW_TRACKING_URI", "http://:5000", "neither a server's address nor a database's"),
        ("MLFLOW_TRACKING_URI", "runs/mlflow.db", "neither a server's address nor a database's"),
        ("MLFLOW_TRACKING_URI", "postgres//u:hunter2@h/d", "neither a server's address nor a database's"),
        ("MLFLOW_TRACKING_URI", "sqlite:////nowhere/at/all/mlflow.db", "there is no such folder"),
        ("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db", None),
        ("MLFLOW_TRACKING_URI", "postgresql+psycopg2://u:p@127.0.0.1:9/d", None),
        ("MLFLOW_TRACKING_URI", "databricks", None),
        ("MLFLOW_TRACKING_URI", "https://mlflow.example.org/base", None),
    ],
)
def test_what_can_be_no_address_is_told_and_what_may_only_be_away_is_not(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str | None
) -> None:
    for variable in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    check_addresses()
    monkeypatch.setenv(name, value)
    if said is None:
        check_addresses()
    else:
        with pytest.raises(PlumblineError, match=f"{name}.*{said}") as told:
            check_addresses()
        assert "hunter2" not in str(told.value)


def test_an_address_that_is_none_stops_a_run_before_it_has_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "garbage")
    with pytest.raises(PlumblineError, match="PREFECT_API_URL is no address"):
        execute(load_config(ROOT / "configs" / "demo.yaml"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
