"""The objectives by name. To add one: its class in a family's file, its keys in data_contracts/objective_config.py, a line here.

An objective is a frozen dataclass of its parameters with `name`, `needs` and `(Batch, State) -> (losses, figures, State)`.
"""

from data_contracts.errors import PlumblineError
from data_contracts.objective_config import ObjectiveConfig
from models.objectives.anchored import ApoDown, ApoZero, ApoZeroUnpaired
from models.objectives.batch import Need, Objective
from models.objectives.contrastive import Dpo
from models.objectives.kto import Kto
from models.objectives.supervised import Sft

REGISTRY: dict[str, type[Objective]] = {o.name: o for o in (Sft, Dpo, ApoZero, ApoDown, Kto, ApoZeroUnpaired)}

# What pairs and the trainer can give between them.
PAIRS_SERVE = Need.PAIR | Need.REFERENCE | Need.LABELS | Need.MISMATCH

_MISSING = {
    Need.PAIR: "a chosen and a rejected answer to each prompt",
    Need.LIST: "three or more ranked answers to each prompt",
    Need.REFERENCE: "a reference model",
    Need.REFERENCES: "two or more reference models",
    Need.LABELS: "a desirable/undesirable label for each answer",
    Need.SCORES: "a judge's score for each answer",
    Need.WIN_PROBABILITIES: "win probabilities between the answers to each prompt",
    Need.OVERLAP: "each answer's self-overlap under the policy",
    Need.GOLD: "a gold answer to each prompt",
    Need.BASE: "an answer of the base model to each prompt",
    Need.RATIONALE: "a rationale for each pair",
    Need.MISMATCH: "answers paired with other prompts",
    Need.WHOLE_BATCH: "the whole batch at once (the trainer works in micro batches)",
    Need.STATE: "a state carried between steps",
}


def build_objective(config: ObjectiveConfig) -> Objective:
    return REGISTRY[config.name](**config.parameters())


def check(objective: Objective | type[Objective], available: Need = PAIRS_SERVE) -> None:
    """Raises PlumblineError naming what the objective needs and the data does not have."""
    missing = objective.needs & ~available
    if missing:
        what = " and ".join(_MISSING[need] for need in missing)
        raise PlumblineError(f"objective {objective.name} needs {what}, which this data does not have: choose another objective")
