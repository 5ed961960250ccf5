"""`plumbline sync`, for Prefect: what its pages were not told of a run or a sweep, told outside of any flow."""

from pathlib import Path

from data_contracts.errors import PlumblineError
from data_contracts.mask import mask
from flows import book, services, untold
from flows.lock import locked
from flows.server import PrefectServer
from tasks.failure import read_failure


def is_told(folder: Path) -> bool:
    """Whether Prefect knows how everything in `folder` ended that worked there, and what it had to show; asks no server."""
    return not any(
        untold.path(place).exists() or (book.was_cut_short(place) and read_failure(place) is None) for place in _places(folder)
    )


def tell(folder: Path) -> str:
    """Tell the server that is used for `folder` now what it has missed. Returns that in words.

    Raises BusyError if another process works there, PlumblineError where there is no server, and whatever its client raises.
    """
    services.adopt(folder.resolve().parent / "services")
    own = PrefectServer(folder.resolve() / "prefect")
    if not own.url and not (own.folder / "server.log").exists():
        raise PlumblineError(services.unused(folder.resolve().parent / "services") or "set PREFECT_API_URL to the run's server")
    name = f"Prefect at {mask(own.url).removesuffix('/api')}" if own.url else "the run's own Prefect server"
    own.check_given()
    try:
        own.start()
        own.wait()
        told = [_tell(place) for place in _places(folder)]
    finally:
        own.stop()
    tasks, artifacts, left = (sum(count) for count in zip(*told, strict=True))
    missed = f"was told of {tasks} stages and {artifacts} artifacts it had missed" if tasks + artifacts else "knows everything"
    return f"{name} {missed}" if not left else f"{name} {missed} but for {left} flow runs, of which another server was told"


def _tell(folder: Path) -> tuple[int, int, int]:
    from prefect.client.orchestration import get_client

    from flows.crashed import tell_ended

    with locked(folder), get_client(sync_client=True) as client:
        others, told = tell_ended(folder, client)
        book.settle(folder, others)
    return told.tasks, told.artifacts, len(others.keys() | {line["flow_run"] for line in told.left})


def _places(folder: Path) -> list[Path]:
    return [folder, *sorted(path.parent for path in folder.glob("cells/*/.lock"))]
