"""A whole run of rounds: prepare the folder, start what must run, go round after round, leave nothing behind."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from data_contracts.config import HumanPairsConfig, RoundsConfig
from data_contracts.config_teacher import FREE_TO_CHANGE
from data_contracts.errors import PlumblineError
from data_contracts.flatten import flatten
from data_contracts.load_config import dump_config, load_config
from data_contracts.mask import mask
from data_contracts.store import write_text
from data_contracts.suites import check_settings
from flows import book, services
from flows.display import console, quiet_libraries, working
from flows.reachable import check_addresses, check_journal, check_server, fetch_data
from flows.server import PrefectServer
from flows.stopped import keeping_why
from models.gpus import visible
from models.objectives.serving import far_reference, refuse_config
from models.prerequisites import check_machine
from models.teachers.reach import key_of
from tasks.changes import write_changes
from tasks.contamination import evaluation_texts
from tasks.failure import read_failure
from tasks.import_pairs import check_preferences
from tasks.import_recorded import check_recorded
from tasks.measures import check_measures
from tasks.pair import METHODS, revise_config
from tasks.prompts import check_enough, read_prompts
from tasks.revise import revision_prompt
from tasks.sample_others import check_answers
from tasks.spending import has_answered
from tasks.summary import is_finished

if TYPE_CHECKING:
    from prefect import Flow

    from flows.session import Session

PRIVATE = {  # no phoning home, no pools of threads beside the engine's own
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TQDM_DISABLE": "1",
    "MPLCONFIGDIR": str(Path.home() / ".cache" / "matplotlib"),  # else it makes a folder in ~/.config
}


def check(config: RoundsConfig | HumanPairsConfig, folder: Path) -> None:
    """Raises PlumblineError for whatever can be known to be impossible before anything is started.

    That includes a folder that holds a run with another configuration; more rounds, or another budget for the teacher, are the
    same run.
    """
    if "?" in str(folder):
        raise PlumblineError(f"the run folder {folder} has a ? in its path, where an SQLite address ends: use another --run-dir")
    check_settings(config.validate_)
    evaluation_texts(None, config.validate_.contamination)
    try:
        refuse_config(config)
    except PlumblineError as error:
        raise PlumblineError(f"align: {error}") from None
    if isinstance(config, RoundsConfig):
        _check_sizes(config)
        check_measures(config)
        if config.method.name == "recorded":
            check_recorded(config.prompts, config.method, config.rounds)
        else:
            check_enough(Path(config.prompts.file), config.prompts.per_round, config.rounds)
            _check_files(config)
        _check_templates(config)
        if config.teacher.kind == "openai":
            key_of(config.teacher)
        check_journal(config.teacher, folder)
    else:
        check_preferences(config.pairs)
    saved = folder / "config.yaml"
    if saved.exists():
        old, new = (flatten(c.model_dump(mode="json", by_alias=True)) for c in (load_config(saved), config))
        changed = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k) and not _is_free(k, folder))
        if changed:
            differences = ", ".join(f"{k} was {old.get(k)!r}, is {new.get(k)!r}" for k in changed[:3])
            raise PlumblineError(f"{folder} holds a run with another configuration ({differences}): use another --run-dir")


def _is_free(key: str, run: Path) -> bool:
    """A teacher that has given nothing yet, since its server refused its name, say, may be corrected altogether."""
    return key == "rounds" or (key.startswith("teacher.") and (key.split(".")[1] in FREE_TO_CHANGE or not has_answered(run)))


def _check_sizes(config: RoundsConfig) -> None:
    few, enough = config.validate_.min_rows, config.validate_.contracts.get("enough_rows")
    if config.prompts.per_round < few and (enough is None or enough.severity in (None, "fail")):
        raise PlumblineError(
            f"prompts.per_round is {config.prompts.per_round} and validate.min_rows {few}, so every round would stop: raise "
            "prompts.per_round or lower validate.min_rows"
        )


def _check_files(config: RoundsConfig) -> None:
    """Raises PlumblineError for a file of answers, named by the pair method, that answers no prompt of the run."""
    files = [writer for writer in config.method.writers if writer.kind == "file"]
    prompts = read_prompts(Path(config.prompts.file))[: config.rounds * config.prompts.per_round] if files else []
    for file in files:
        check_answers(file, [messages for _, messages in prompts])


def _check_templates(config: RoundsConfig) -> None:
    """Fill each prompt template that the run will use once, with nothing of interest."""
    from tasks.criteria import check_templates

    if "revise" in METHODS[config.method.name].stages:
        revision_prompt(revise_config(config.revise, config.method.name), "", "")
    check_templates(config.judge)
    if config.pairs.second_view:
        check_templates(config.pairs.second_view)


def execute(
    config: RoundsConfig | HumanPairsConfig,
    folder: Path,
    overrides: dict[str, float] | None = None,
    within_flow: bool = False,
    replaced: Mapping[str, Any] | None = None,
) -> None:
    """Do what is left of the run in `folder`. A finished run costs nothing.

    `overrides` are for the rounds that begin now; `replaced` is what the command line replaced in the file
    (load_config.replaced). `within_flow`: this is called in a Prefect flow run, which the rounds join.

    Raises PlumblineError if a stage or a gate stops it; what was finished stays finished.
    """
    services.adopt(folder.parent / "services")
    saved = folder / "config.yaml"
    before = load_config(saved) if saved.exists() else None
    if isinstance(before, RoundsConfig) and isinstance(config, RoundsConfig):  # rounds that were added once stay part of the run
        config = config.model_copy(update={"rounds": max(before.rounds, config.rounds)})
    if before == config and is_finished(folder) and read_failure(folder) is None and not book.was_cut_short(folder):
        return  # whatever its teacher or its files have become since
    check(config, folder)
    if isinstance(config, RoundsConfig):
        check_machine("cuda" if visible() else "cpu")
    check_addresses()
    check_server(config, folder)
    _tell_unused(folder)
    if isinstance(config, RoundsConfig) and config.rounds > 1 and (doubt := far_reference(config.align)):
        console().print(f"[yellow]![/] align: {doubt}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlumblineError(f"the run folder {folder} cannot be made ({error.strerror}): use another --run-dir") from None
    os.environ.update({k: os.environ.get(k, v) for k, v in PRIVATE.items()})
    server = PrefectServer(folder / "prefect")
    with quiet_libraries(folder / "logs" / "run.log"):
        from flows.session import open_session

        try:
            server.check_given()
            fetch_data(config, folder)
            with open_session(folder, config, overrides) as session:
                write_text(saved, dump_config(config))
                write_changes(folder, replaced or {}, config.model_dump(mode="json", by_alias=True))
                run = start(server, session)
                (run.fn if within_flow else run)(config.name)
                book.sign_out(folder)
        finally:
            end_telling()
            server.stop()


def _tell_unused(folder: Path) -> None:
    """Say so where one of two servers has died: what this run tells would be looked for in vain."""
    servers = folder.parent / "services"
    given = {"PREFECT_API_URL", "MLFLOW_TRACKING_URI"} <= os.environ.keys()
    if not given and services.running(servers) and (why := services.unused(servers)):
        console().print(f"[yellow]![/] {escape(why)}")


def start(server: PrefectServer, session: "Session") -> "Flow[[str], None]":
    """Start what the flow of `session` needs, and return it.

    The order is the one in which they hold each other up least on few cores: the server starts while this process imports, the
    trainer while it starts the engine.
    """
    with keeping_why(session.folder), working("starting engine, trainer and Prefect server"):
        server.start()
        run = import_flow(session.config)
        session.warm()
        server.wait()
    console().print(f"Prefect UI while this runs: {mask(server.url).removesuffix('/api')}")
    return run


def end_telling() -> None:
    """Prefect sends records and events in the background; what is on its way must not meet a server that is stopped or away."""
    if "flows.outbox" in sys.modules:
        sys.modules["flows.outbox"].give_up()  # first: what follows waits for events as well
    if "prefect.logging.handlers" in sys.modules:
        sys.modules["prefect.logging.handlers"].APILogHandler().flush()


def import_flow(config: RoundsConfig | HumanPairsConfig) -> "Flow[[str], None]":
    """Import what is slow to import while the server and the trainer start beside it."""
    if isinstance(config, HumanPairsConfig):
        from flows.human_pairs import human_pairs_flow

        return human_pairs_flow
    from flows.rounds import rounds_flow
    from models.engine import preload

    preload()
    return rounds_flow
