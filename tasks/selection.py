"""A champion that is the best of several checkpoints measured on one benchmark scores too high there: by how much."""

from pathlib import Path
from typing import Any

from data_contracts.store import Dataset, Rows, load_json, open_dataset, write_json
from models.statistics import selection_bias
from tasks.lineage import champions, last_decided


def write_selection(run: Path) -> None:
    """`selection.json` in the run folder: how many models were measured, and by how much the champion's score is too high.

    Only where there were three or more, the champion is the best of them, and a rival was close enough for that to matter.
    """
    path = run / "selection.json"
    path.unlink(missing_ok=True)
    if (last := last_decided(run)) < 2:
        return
    measured = [open_dataset(run / f"round-{k}" / "evaluate") for k in range(last + 1)]
    means = [data.facts["metrics"]["overall"]["mean"] for data in measured]
    bias = selection_bias([_scores(data) for data in measured])
    if means[champions(run)[-1]] == max(means) and round(bias, 3) > 0:
        write_json(path, {"models": len(measured), "bias": bias})


def selection_note(run: Path) -> str | None:
    """One sentence for whoever reads the champion's score, or None."""
    found: dict[str, Any] | None = load_json(run / "selection.json")
    return f"The champion {selection_warning(**found)}." if found else None


def selection_warning(models: int, bias: float) -> str:
    return f"is the best of {models} models measured on the same questions: expect about {max(bias, 0):.3f} less on new ones"


def _scores(data: Dataset) -> Rows:
    columns = ["question_id", "question", "score"]
    rows: Rows = data.table().select(columns).to_pylist()
    return rows
