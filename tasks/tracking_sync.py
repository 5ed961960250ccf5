"""Put right what an outage, or a process that was killed without a word, left untold."""

from pathlib import Path

from data_contracts.config_sweep import read_sweep
from data_contracts.errors import PlumblineError
from tasks import summary
from tasks.failure import SILENT, clear_failure, read_failure, was_killed, write_failure
from tasks.sweep import collect, is_cell
from tasks.sweep_tables import write_tables
from tasks.tracking import track
from tasks.tracking_sweep import track_sweep


def catch_up(folder: Path) -> None:
    """Tell MLflow everything that it does not know of the run or sweep in `folder`, on which no process works.

    One that is not finished, and that no sentence says why it stopped, was killed: it is told so, until it goes on.
    Raises PlumblineError if the folder holds neither, and whatever the tracking server raises.
    """
    if is_cell(folder):
        raise PlumblineError(f"{folder} is a cell of a sweep: use plumbline sync {folder.resolve().parent.parent}")
    if not (folder / "sweep.yaml").exists():
        _settle(folder, summary.is_finished(folder))
        track(folder)
        return
    sweep = read_sweep((folder / "sweep.yaml").read_text(encoding="utf-8"))
    results = collect(folder, sweep)
    is_over = all(result.state != "waiting" for result in results)
    _settle(folder, is_over)
    track_sweep(folder, sweep, write_tables(folder, sweep) if is_over else results, is_over)


def _settle(folder: Path, is_finished: bool) -> None:
    if is_finished and was_killed(folder):  # when there was nothing left to do but to say so
        clear_failure(folder)
    elif not is_finished and read_failure(folder) is None:
        write_failure(folder, SILENT, killed=True)
