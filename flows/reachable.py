"""What a run needs outside its folder, servers and a journal, is tried before it costs anything, not when first used."""

import os
from pathlib import Path

from rich.markup import escape

from data_contracts.config import HumanPairsConfig, RoundsConfig
from data_contracts.config_judge import WRITING
from data_contracts.config_teacher import TeacherConfig
from data_contracts.errors import PlumblineError
from data_contracts.mask import is_http
from flows.display import console, working
from flows.outputs import file_can_be
from models.journal import knows
from models.journal_file import open_file
from models.parsers import asks_teacher
from models.teachers.open import journal_path
from tasks.tracking_address import check_uri


def check_server(config: RoundsConfig | HumanPairsConfig, folder: Path) -> None:
    """Ask once, unpaid, and print what is doubtful.

    Raises PlumblineError if the server is away or refuses the key. Where the journal holds replies of this teacher, that is only
    printed: it may hold all that the run will ask, as it does when a run is repeated without a network.
    """
    if isinstance(config, RoundsConfig) and _asks(config) and (doubt := doubtful(config.teacher, folder)):
        console().print(f"[yellow]![/] {escape(doubt)}")


def doubtful(teacher: TeacherConfig, folder: Path) -> str | None:
    """What is doubtful about the server of a teacher whose journal is that of `folder`, in words; None where nothing is.

    Raises PlumblineError as check_server does.
    """
    if teacher.kind != "openai":
        return None
    from models.teachers.reach import reach

    try:
        return reach(teacher)
    except PlumblineError as error:
        if not knows(journal_path(teacher, folder), teacher.model):
            raise
        return f"{error}; what its journal has is taken from there"


def check_addresses() -> None:
    """Raises PlumblineError for a PREFECT_API_URL or MLFLOW_TRACKING_URI where nobody can ever answer; asks neither."""
    prefect = os.environ.get("PREFECT_API_URL")
    if prefect and not is_http(prefect):
        raise PlumblineError("PREFECT_API_URL is no address of a server: give one such as http://127.0.0.1:4200/api, or unset it")
    check_uri()


def fetch_data(config: RoundsConfig | HumanPairsConfig, folder: Path) -> None:
    """Fetch what the tasks of lm-evaluation-harness ask, until it has been asked once in `folder`.

    Raises PlumblineError if it cannot be had.
    """
    if not isinstance(config, RoundsConfig) or config.evaluate.harness is None or (folder / "round-0" / "harness").exists():
        return
    from models.harness import fetch_harness

    with working("fetching the data of lm-evaluation-harness"):
        fetch_harness(config.evaluate.harness)


def check_journal(config: TeacherConfig, folder: Path) -> None:
    """Raises PlumblineError for a file that cannot be the journal of the run in `folder`. One that is not there is not made."""
    path = journal_path(config, folder)
    try:
        file_can_be(path)
    except PlumblineError as error:
        raise PlumblineError(f"teacher.journal: {error}") from None
    if path.exists():
        open_file(path).close()


def _asks(config: RoundsConfig) -> bool:
    """Whether a round may put a question to the teacher."""
    judges = [config.judge, config.pairs.second_view]
    return (
        any(judge is not None and judge.kind in WRITING for judge in judges)
        or (config.method.revised and config.method.name != "self_revision")
        or any(writer.kind == "teacher" for writer in config.method.writers)
        or asks_teacher(config.evaluate.parser)
    )
