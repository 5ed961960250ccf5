"""What one round does differently from its run's configuration: written beside the round, so that resuming it does the same."""

from data_contracts.errors import PlumblineError
from data_contracts.load_config import load_config
from data_contracts.store import write_json
from flows.session import Session
from tasks.changes import overrides


def settle(session: Session, number: int) -> None:
    """Give the session the configuration of round `number`.

    Raises PlumblineError if the round has begun with other overrides than the session brings, or if one is impossible.
    """
    path, settled = session.folder / f"round-{number}" / "overrides.json", overrides(session.folder, number)
    if session.overrides and session.overrides != settled:
        if any(path.parent.glob("*/manifest.json")):
            raise PlumblineError(
                f"{path.parent} has begun without the overrides {session.overrides}: finish it first, in a run without overrides"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, session.overrides)
        settled = session.overrides
    session.config = load_config(session.folder / "config.yaml", [f"{key}={value!r}" for key, value in settled.items()])
