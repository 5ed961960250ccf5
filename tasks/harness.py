"""Tasks of lm-evaluation-harness, answered by a checkpoint on the run's engine."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.config_evaluate import HarnessConfig
from data_contracts.store import Dataset, Rows, build, digest, file_digest
from models.checkpoint import Checkpoint
from models.engine import Progress, quiet
from models.harness import run_harness

if TYPE_CHECKING:
    from models.engine import Engine


def harness(folder: Path, config: HarnessConfig, policy: Checkpoint, engine: "Engine", progress: Progress = quiet) -> Dataset:
    """Dataset "harness": one row a question and metric; facts: each task's metrics, as the harness aggregates them.

    Raises PlumblineError as models.harness.run_harness does.
    """

    def make(_: Path) -> tuple[Rows, dict[str, Any]]:
        engine.use(policy)
        return run_harness(config, engine, progress)

    root = Path(config.folder or "")
    own = sorted(p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts) if config.folder else []
    # what they say counts, not where they lie
    content = digest([[path.relative_to(root).as_posix(), file_digest(path)] for path in own])
    settings = config.model_dump(mode="json", exclude={"folder"}) | {"own": content}
    return build(folder, "harness", settings, make, models={"policy": policy.hash})
