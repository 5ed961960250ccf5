"""A preference model in MLflow: its card as a run, its checkpoint as a version of a registered model, like a policy's."""

from pathlib import Path

from models.preference.store import CARD, open_preference
from tasks.tracking_client import at, create_run, log_metrics, log_params, numbers, open_folder
from tasks.tracking_models import register

_FIGURES = ("accuracy", "longer", "held_out_loss", "pairs", "held_out_pairs")


def register_preference(folder: Path, name: str) -> str:
    """A new version of the registered model `name`, alias `candidate`; on MLFLOW_TRACKING_URI, or in SQLite beside `folder`.

    Raises PlumblineError if the folder holds no preference model.
    """
    saved = open_preference(folder)
    client = open_folder(folder.parent)
    run = create_run(client, folder.parent, "preference models", saved.name, tags={"plumbline.checkpoint": saved.checkpoint.hash})
    log_params(client, run, {k: v for k, v in saved.card.items() if k not in _FIGURES})
    log_metrics(client, run, at(0, numbers({k: v for k, v in saved.card.items() if k in _FIGURES})))
    client.log_artifact(run, str(folder / CARD))
    version, _ = register(client, name, saved.checkpoint.path, run, parent=run, number=0)
    client.set_terminated(run)
    return version
