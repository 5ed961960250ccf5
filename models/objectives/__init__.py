"""The objectives by name. To add one: its class in a family's file, its keys in data_contracts/objective_config_*.py, a line
here.

An objective is a frozen dataclass of its parameters with `name`, `needs` and `spec`, and is called as
`(Batch, State) -> (losses, figures, State)`.
"""

from collections.abc import Mapping

from data_contracts.errors import PlumblineError
from data_contracts.objective_config import ObjectiveConfig
from models.objectives.adaptive import AdaDpo, AlphaDpo
from models.objectives.anchored import ApoAuto, ApoDown, ApoZero, ApoZeroUnpaired
from models.objectives.auxiliary import Bapo, Mapl, Mpo, RationaleDpo, Rpo, UpoUnified
from models.objectives.batch import Need, Objective
from models.objectives.contrastive import Dove, Dpo, DpoNorm, Hinge, MinorDpo, Odpo, RDpo
from models.objectives.divergence import DiscoPop, Exo, Fdpo
from models.objectives.kto import Kto
from models.objectives.list_registry import LISTS
from models.objectives.reference_free import Cpo, Mapo, Orpo, Simpo, Slic, TriplePo, TriplePoL
from models.objectives.robust import Cdpo, Dno, Osp, Robust, Rosepo, Smpo, UpoUncertainty
from models.objectives.rso import RsoHinge, RsoSigmoid
from models.objectives.sided import Bco, Nca
from models.objectives.squared import CalDpo, Gpo, IpoMean, IpoSum, SppoHard, SppoSoft
from models.objectives.supervised import Sft
from models.objectives.weighted import LdDpo, Mrpo, Wpo
from models.objectives.whole_batch import Aot, AotUnpaired, RelativePo

_PAIRS: tuple[type[Objective], ...] = (
    *(Sft, Dpo, Cdpo, Robust, IpoSum, IpoMean, Hinge, Slic),
    *(ApoZero, ApoDown, ApoAuto, ApoZeroUnpaired, Kto, Bco, Nca),
    *(Orpo, Simpo, Cpo, Mapo, TriplePo, TriplePoL),
    *(Rpo, Mpo, CalDpo, SppoHard, SppoSoft, Gpo, Dno, Osp),
    *(DpoNorm, LdDpo, RDpo, Odpo, Wpo, AlphaDpo, AdaDpo, MinorDpo, Rosepo, Smpo, UpoUncertainty),
    *(Fdpo, Exo, DiscoPop, RsoHinge, RsoSigmoid, Aot, AotUnpaired, RelativePo),
    *(Mrpo, RationaleDpo, Bapo, Dove, Mapl, UpoUnified),
)
REGISTRY: dict[str, type[Objective]] = {objective.name: objective for objective in _PAIRS} | LISTS

MISSING = {
    Need.PAIR: "a chosen and a rejected answer to each prompt",
    Need.LIST: "a ranked list of answers to each prompt",
    Need.REFERENCE: "a reference model",
    Need.REFERENCES: "two or more reference models",
    Need.LABELS: "a desirable/undesirable label for each answer",
    Need.SCORES: "a judge's score for each answer",
    Need.WIN_PROBABILITIES: "win probabilities between the answers to each prompt",
    Need.CONFIDENCE: "how sure the judge is of each pair",
    Need.UNCERTAINTY: "the judge's uncertainty about each pair",
    Need.WEIGHT: "a weight for each pair",
    Need.PROMPT_EMBEDDING: "an embedding of each prompt",
    Need.TOKENS: "log-probabilities by token",
    Need.OLD_TOKENS: "the sampling policy's log-probabilities by token",
    Need.STEPS: "the reasoning step of each token",
    Need.DEGRADATIONS: "degraded versions of each chosen answer",
    Need.SHARED_PREFIX: "where each pair's answers part",
    Need.OVERLAP: "each answer's self-overlap under the policy",
    Need.GOLD: "a gold answer to each prompt",
    Need.BASE: "an answer of the base model to each prompt",
    Need.RATIONALE: "a rationale for each pair",
    Need.REPROMPT: "each pair's answers under a changed prompt",
    Need.MISMATCH: "answers paired with other prompts",
    Need.TWO_PROMPTS: "comparisons of answers to different prompts",
    Need.ON_POLICY: "the present policy's own samples",
    Need.WHOLE_BATCH: "the whole batch at once (the trainer works in micro batches)",
    Need.STATE: "a state carried between steps",
}


def build_objective(config: ObjectiveConfig) -> Objective:
    return REGISTRY[config.name](**config.parameters())


# How a run comes by what its data does not have.
_REMEDY = {
    Need.SCORES: "set judge.kind to one that scores answers (likelihood, pointwise, checklist)",
    Need.TWO_PROMPTS: "set judge.kind to one that scores answers (likelihood, pointwise, checklist)",
    Need.UNCERTAINTY: "set judge.votes to 2 or more",
    Need.ON_POLICY: "use method on_policy_judge",
    Need.RATIONALE: "use method clair, whose teacher gives reasons",
    Need.REFERENCES: "set align.second_reference",
    Need.LIST: "use flow rounds, which makes lists",
    Need.OLD_TOKENS: "use flow rounds, which makes lists",
}


def check(objective: Objective | type[Objective], available: Need, partly: Mapping[Need, str] | None = None) -> None:
    """Raises PlumblineError naming what the objective needs and the data does not have; `partly` says how many rows lack it."""
    missing = objective.needs & ~available
    if missing:
        known = partly or {}
        what = " and ".join(MISSING[need] + (f" ({known[need]})" if need in known else "") for need in missing)
        remedies = list(dict.fromkeys(_REMEDY[need] for need in missing if need in _REMEDY))
        ways = ", ".join([*remedies, "or choose another objective"] if remedies else ["choose another objective"])
        raise PlumblineError(f"objective {objective.name} needs {what}, which this data does not have: {ways}")
