"""Fixtures that several test files share. Anything dear is started once a session."""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytest_plugins = ["tests.browser", "tests.end_to_end.killed", "tests.operate.services"]
os.environ.update(
    {"HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "GX_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
)
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.pop("PREFECT_API_URL", None)
if not (ALONE := "PYTEST_XDIST_WORKER" not in os.environ):
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for work take the core that another process works on
DEAR = ("operated", "killed", "engine", "trainer", "empty_store")  # fixtures of several files that take long to make


@cache
def group(file: str) -> str:
    """Tests of one group belong into one process: those of a file, and of all files that ask for the same dear fixture."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return next((name for name in DEAR if re.search(rf"def \w+\([^)]*\b{name}\b", text)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n`: group by group in the order of collection. (xdist's own `loadgroup` groups nothing under pytest 9.2.)"""
    from xdist.scheduler import LoadFileScheduling

    class ByGroup(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(super()._split_scope(nodeid))

    config.option.loadscopereorder = False
    return ByGroup(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The scheduled run on real servers takes minutes. A single process does it last, so that a failure elsewhere shows first;
    where processes share the tests it comes first, and the others are done meanwhile."""
    for item in items:
        if "operated" in getattr(item, "fixturenames", ()):
            item.add_marker("services")
    items.sort(key=lambda item: (group(item.nodeid.partition("::")[0]) == "operated") == ALONE)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout; tests that read it are skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    return folder


@pytest.fixture(scope="session")
def student():  # type: ignore[no-untyped-def]
    from models.checkpoint import open_checkpoint

    return open_checkpoint(ROOT / "models" / "embedded" / "student")


@pytest.fixture(scope="session")
def teacher():  # type: ignore[no-untyped-def]
    from models.checkpoint import open_checkpoint

    return open_checkpoint(ROOT / "models" / "embedded" / "teacher")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A random Llama of a few thousand parameters with the embedded tokenizer."""
    from models.checkpoint import open_checkpoint
    from tests.tiny import tiny as write_tiny

    folder = tmp_path_factory.mktemp("tiny")
    write_tiny(folder)
    return open_checkpoint(folder)


@pytest.fixture(scope="session")
def engine(student) -> Iterator:  # type: ignore[no-untyped-def,type-arg]
    from data_contracts.config import EngineConfig
    from models.engine import Engine

    running = Engine(student, EngineConfig(max_model_len=512))
    yield running
    running.close()


@pytest.fixture(scope="session")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator:  # type: ignore[type-arg]
    """A training subprocess that all tests share: its imports take 10-25 s."""
    from models.training.process import Trainer

    running = Trainer(tmp_path_factory.mktemp("trainer") / "trainer.log")
    running.warm()
    yield running
    running.close()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables and nothing in it: making one takes seconds, copying it nothing."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path
