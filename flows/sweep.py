"""A grid of runs as one flow: one engine, one trainer, every dataset built once, and no cell lost to another's failure.

Cells run one after the other: they share an engine and a trainer, and each of these uses all the cores or the GPU it has.
"""

import logging
import os
from pathlib import Path
from typing import Any

from rich.markup import escape

from data_contracts.config import HumanPairsConfig, RoundsConfig
from data_contracts.config_sweep import Cell, Sweep, dump_sweep
from data_contracts.errors import PlumblineError, in_short
from data_contracts.load_config import dump_config
from data_contracts.store import sharing, write_text
from flows import book, services
from flows.display import console, quiet_libraries
from flows.iterate import PRIVATE, check, end_telling, import_flow, start
from flows.reachable import check_addresses, check_server, fetch_data
from flows.server import PrefectServer
from flows.session import Session, check_inputs, open_lender, open_models, open_session
from flows.stopped import sentence
from models.checkpoint import Checkpoint
from tasks.failure import clear_failure, write_failure
from tasks.summary import is_finished
from tasks.sweep import Result, cell_folder, collect
from tasks.sweep_tables import write_tables

log = logging.getLogger(__name__)
Config = RoundsConfig | HumanPairsConfig


def execute_sweep(sweep: Sweep, folder: Path) -> list[Result]:
    """Do what is left of the sweep in `folder`, and return every cell's result. Failed cells are tried again.

    Raises PlumblineError before anything starts if a cell is impossible, or if it was run with another configuration.
    """
    for cell in sweep.cells:
        try:
            check(cell.config, cell_folder(folder, cell))
        except PlumblineError as error:
            raise PlumblineError(f"cell {cell.label}: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "sweep.yaml", dump_sweep(sweep))
    services.adopt(folder.parent / "services")
    left = [cell for cell in sweep.cells if not _is_done(folder, cell)]
    if left:
        check_addresses()
        for cell in {repr(getattr(cell.config, "teacher", None)): cell for cell in left}.values():  # each teacher once
            check_server(cell.config, folder)
        os.environ.update({k: os.environ.get(k, v) for k, v in PRIVATE.items()})
        with quiet_libraries(folder / "logs" / "run.log"), sharing(folder / "shared"):
            _run(sweep, folder, left)
    results = write_tables(folder, sweep)
    _tell(folder, sweep, results, is_over=True)
    return results


def _is_done(folder: Path, cell: Cell) -> bool:
    run = cell_folder(folder, cell)
    return (run / "config.yaml").exists() and not (run / "failed.json").exists() and is_finished(run)


def _run(sweep: Sweep, folder: Path, left: list[Cell]) -> None:
    server = PrefectServer(folder / "prefect")
    try:
        server.check_given()
        _check_inputs(sweep, folder, {cell.label for cell in left})
        for cell in {repr(_harness(cell.config)): cell for cell in left}.values():  # not after an hour
            fetch_data(cell.config, cell_folder(folder, cell))
        with open_lender(folder, left[0].config) as lender:
            start(server, lender)
            from prefect import flow

            from flows.crashed import tell_crashed

            @flow(name="sweep", flow_run_name=sweep.name, persist_result=False)
            def sweep_flow() -> None:
                tell_crashed(folder)
                clear_failure(folder)
                try:
                    for place, cell in enumerate(left, 1):
                        console().print(f"[bold]cell {place} of {len(left)}: {cell.label}[/]")
                        _run_cell(lender, folder, cell)
                        _tell(folder, sweep, collect(folder, sweep), is_over=False)
                except BaseException as error:  # no cell's own failure: Ctrl-C, a cancellation, or a bug
                    write_failure(folder, sentence(error), killed=not isinstance(error, Exception))
                    _tell(folder, sweep, collect(folder, sweep), is_over=False)
                    raise

            sweep_flow()
            book.sign_out(folder)
    finally:
        end_telling()
        server.stop()


def _check_inputs(sweep: Sweep, folder: Path, left: set[str]) -> None:
    """Raises PlumblineError naming the cell whose models cannot be used, not at its turn, after hours of the others', or which
    began, and perhaps ended, with other files or models than there are now: its figures would stand beside those of the new."""
    models: dict[str, tuple[Checkpoint, Checkpoint | None, dict[str, Checkpoint]]] = {}
    for cell in sweep.cells:
        run, key = cell_folder(folder, cell), _models_of(cell.config)
        has_begun = (run / "inputs.json").exists()
        if cell.label not in left and not has_begun:
            continue
        try:
            if key not in models:
                models[key] = open_models(cell.config)
            if has_begun:
                check_inputs(run, cell.config, *models[key])
        except PlumblineError as error:
            raise PlumblineError(f"cell {cell.label}: {error}") from None


def _models_of(config: Config) -> str:
    """What decides whether models can be used: all but what most sweeps vary."""
    return repr((config.model_copy(update={"name": "", "seed": 0, "align": None}), config.align.second_reference))


def _harness(config: Config) -> Any:
    return config.evaluate.harness if isinstance(config, RoundsConfig) else None


def _run_cell(lender: Session, folder: Path, cell: Cell) -> None:
    """One cell as a subflow. Whatever stops it is kept as a sentence in its folder."""
    where = cell_folder(folder, cell)
    where.mkdir(parents=True, exist_ok=True)
    clear_failure(where)
    try:
        _lend(lender, cell.config)
        with open_session(where, cell.config, lender=lender):
            write_text(where / "config.yaml", dump_config(cell.config))
            import_flow(cell.config)(cell.config.name)
            book.sign_out(where)
    except PlumblineError as error:
        write_failure(where, str(error))
    except Exception as error:  # the cell's edge: no failure of one may cost the others
        log.exception("cell %s", cell.label)
        write_failure(where, f"{type(error).__name__}: {in_short(error, 500)} (see {folder}/logs/run.log)")
        lender.drop()  # whatever state the engine is in, the next cell starts with a fresh one


def _lend(lender: Session, config: Config) -> None:
    """What the lender has running must be what the cell is configured for."""

    def needs(of: Config) -> Any:
        return (of.policy, of.teacher) if isinstance(of, RoundsConfig) else None

    if needs(config) != needs(lender.config):
        lender.drop()
        lender.reopen(config)


def _tell(folder: Path, sweep: Sweep, results: list[Result], is_over: bool) -> None:
    """Tell MLflow; an outage costs nothing but a `plumbline sync`, which tells what was missed."""
    from tasks.tracking_sweep import track_sweep

    try:
        track_sweep(folder, sweep, results, is_over)
    except Exception as error:  # whatever a server can do wrong
        log.warning("MLflow was not told: %s", error)
        if is_over:
            console().print(f"[yellow]MLflow was not told everything[/]: plumbline sync {escape(str(folder))}")
