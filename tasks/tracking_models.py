"""The model registry: checkpoints as MLflow models that `mlflow.transformers.load_model` opens, and the aliases over them.

`candidate` is the newest model, `champion` the one promoted last, `previous` the champion before it. On a shared server several
runs may share a registered model; a run moves only aliases that its own promotions and rollbacks give it.
"""

import tempfile
from pathlib import Path
from typing import Any

from models.checkpoint import PARTS, open_checkpoint

TOKENIZER = ("config.json", "tokenizer*", "special_tokens_map.json", "vocab.json", "merges.txt", "*.model", "*.jinja")


def register(client: Any, name: str, weights: Path, run_id: str, parent: str, number: int) -> tuple[str, str]:
    """The checkpoint in `weights` as a version of the registered model `name`, alias `candidate`: (version, model id).

    It is logged as MLflow's transformers flavour around the very safetensors files, without loading any of them.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    run = client.get_run(run_id)
    tags = {"plumbline.round": str(number), "plumbline.run": parent, "plumbline.checkpoint": open_checkpoint(weights).hash}
    logged = client.create_logged_model(
        run.info.experiment_id, name=f"{name}-round-{number}", source_run_id=run_id, tags=tags, model_type="transformers"
    )
    with tempfile.TemporaryDirectory() as folder:
        write_flavour(weights, Path(folder), run_id, logged.model_id)
        client.log_model_artifacts(logged.model_id, folder)
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, number)])
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # the location, not models:/<id>: for that MLflow's SQL registry would ask the process's global address
    made = client.create_model_version(name, logged.artifact_location, run_id, tags=tags, model_id=logged.model_id)
    client.set_registered_model_alias(name, "candidate", made.version)
    return str(made.version), str(logged.model_id)


def write_flavour(weights: Path, out: Path, run_id: str | None = None, model_id: str | None = None) -> None:
    """MLflow's layout in `out`, by links to the checkpoint's files: MLmodel, model/ and components/tokenizer/."""
    from mlflow.models import Model

    places = {out / "model": PARTS, out / "components" / "tokenizer": TOKENIZER}
    for place, patterns in places.items():
        place.mkdir(parents=True)
        for file in sorted({f for pattern in patterns for f in weights.glob(pattern)}):
            (place / file.name).symlink_to(file.resolve())
    model = Model(run_id=run_id, model_id=model_id)
    model.add_flavor(
        "transformers",
        task="text-generation",
        instance_type="TextGenerationPipeline",
        pipeline_model_type="AutoModelForCausalLM",  # a class that transformers has: remote code is never asked for
        source_model_name="plumbline",
        model_binary="model",
        components=["tokenizer"],
        # AutoTokenizer may read otherwise than the file (models/tokenizer.py)
        tokenizer_type="PreTrainedTokenizerFast" if (weights / "tokenizer.json").exists() else "AutoTokenizer",
        code=None,
    )
    model.save(str(out / "MLmodel"))


def promote(client: Any, name: str, version: str) -> None:
    """`champion` moves to `version`, and `previous` to whatever was champion."""
    before = client.get_registered_model(name).aliases.get("champion")
    if before is not None and before != version:
        client.set_registered_model_alias(name, "previous", before)
    client.set_registered_model_alias(name, "champion", version)


def start(client: Any, name: str, version: str) -> None:
    """A run's start is champion where nobody is: on a shared server another run may hold the alias."""
    if "champion" not in client.get_registered_model(name).aliases:
        client.set_registered_model_alias(name, "champion", version)


def roll_back(client: Any, name: str, parent: str, to: int, previous: int | None, why: str) -> bool:
    """`champion` goes back to this run's round `to`, `previous` to its round `previous` or away; False if another run has it."""
    ours = {v.tags["plumbline.round"]: v for v in versions(client, name, parent)}
    aliases = client.get_registered_model(name).aliases
    if str(aliases.get("champion")) not in {str(v.version) for v in ours.values()}:
        return False
    client.set_registered_model_alias(name, "champion", ours[str(to)].version)
    client.set_model_version_tag(name, ours[str(to)].version, "plumbline.rollback", why)
    if previous is not None:
        client.set_registered_model_alias(name, "previous", ours[str(previous)].version)
    elif "previous" in aliases:
        client.delete_registered_model_alias(name, "previous")
    return True


def versions(client: Any, name: str, parent: str) -> list[Any]:
    """What this run registered."""
    return [v for v in client.search_model_versions(f"name='{name}'") if v.tags.get("plumbline.run") == parent]


def forget(client: Any, run_id: str) -> None:
    """Take back what a run registered before an outage cut it short."""
    for version in client.search_model_versions(f"run_id='{run_id}'"):
        client.delete_model_version(version.name, version.version)
    experiment = client.get_run(run_id).info.experiment_id
    for model in client.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'"):
        client.delete_logged_model(model.model_id)
