"""A preference model in MLflow: its card as a run, its checkpoint as a version of a registered model, like a policy's."""

from pathlib import Path

from data_contracts.flatten import flatten
from models.preference.store import CARD, open_preference
from tasks.tracking_client import create_run, open_folder
from tasks.tracking_models import register

_FIGURES = ("accuracy", "longer", "held_out_loss", "pairs", "held_out_pairs")


def register_preference(folder: Path, name: str) -> str:
    """A new version of the registered model `name`, alias `candidate`; on MLFLOW_TRACKING_URI, or in SQLite beside `folder`.

    Raises PlumblineError if the folder holds no preference model.
    """
    saved = open_preference(folder)
    client = open_folder(folder.parent)
    run = create_run(client, folder.parent, "preference models", saved.name, tags={"plumbline.checkpoint": saved.checkpoint.hash})
    for key, value in flatten({k: v for k, v in saved.card.items() if k not in _FIGURES}).items():
        client.log_param(run, key, str(value)[:500])
    for key, value in flatten({k: saved.card[k] for k in _FIGURES if k in saved.card}).items():
        client.log_metric(run, key, float(value))
    client.log_artifact(run, str(folder / CARD))
    version, _ = register(client, name, saved.checkpoint.path, run, parent=run, number=0)
    client.set_terminated(run)
    return version
