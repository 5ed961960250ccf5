"""What can be put round an objective: each takes an objective and gives one with the same interface and further needs.

Moving references, momentum and curricula change what is trained on and not the loss: see `models/training/schedule.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

from data_contracts.errors import PlumblineError
from data_contracts.objective_config import ObjectiveConfig, WrappersConfig
from models.objectives import build_objective
from models.objectives.batch import Batch, Need, Objective, Result, Spec, State
from models.objectives.pieces import desensitised, difference, nll, required, summed
from models.objectives.weighted import likely_pair

if TYPE_CHECKING:
    from torch import Tensor

WeightBy = Literal["judge_margin", "certainty", "likelihood", "given"]


@dataclass(frozen=True)
class _Wrapped:
    name: str
    needs: Need
    spec: Spec
    call: Callable[[Batch, State], Result]

    def __call__(self, batch: Batch, state: State) -> Result:
        return self.call(batch, state)


def _objective(name: str, needs: Need, spec: Spec, call: Callable[[Batch, State], Result]) -> Objective:
    """An objective made of others; `name` says of which, as in "dpo + 0.2 nll"."""
    return cast(Objective, _Wrapped(name, needs, spec, call))  # whose attributes are an instance's and not a class's


def nll_anchor(objective: Objective, weight: float) -> Objective:
    """Adds weight times the chosen answer's negative log-likelihood a token, so that it cannot become less likely (RPO)."""

    def call(batch: Batch, state: State) -> Result:
        losses, figures, state = objective(batch, state)
        anchor = nll(batch)
        return losses + weight * anchor, figures | {"nll": anchor.detach().mean().item()}, state

    return _objective(f"{objective.name} + {weight:g} nll", objective.needs, objective.spec, call)


def mixture(parts: Sequence[tuple[Objective, float]]) -> Objective:
    """The weighted sum of objectives; MPO is one. The state is that of the one part that carries any.

    Raises PlumblineError for two parts that carry a state, and for answers one part cannot be given with the other's.
    """
    objectives = [objective for objective, _ in parts]
    names = " and ".join(o.name for o in objectives)
    if sum(Need.STATE in o.needs for o in objectives) > 1:
        raise PlumblineError(f"{names} each carry a state between steps, and a mixture keeps one: choose one of them")
    needs = Need(0)
    for o in objectives:
        needs |= o.needs
    if Need.PAIR in needs and Need.LIST in needs:
        raise PlumblineError(f"{names} cannot be mixed: one takes pairs, another longer lists of answers")

    def call(batch: Batch, state: State) -> Result:
        total, figures, out = 0.0, dict[str, float](), state
        for objective, weight in parts:
            losses, own, after = objective(batch, state)
            total = total + weight * losses
            figures |= {f"{objective.name}.{key}": value for key, value in own.items()}
            if Need.STATE in objective.needs:
                out = after
        return total, figures, out  # type: ignore[return-value]

    name = " + ".join(o.name if weight == 1 else f"{weight:g} {o.name}" for o, weight in parts)
    return _objective(name, needs, replace(objectives[0].spec, normalised=all(o.spec.normalised for o in objectives)), call)


def _judge_margin(batch: Batch) -> "Tensor":
    gap = difference(required(batch.score)).clamp(min=0)
    mean = gap[gap.isfinite()].mean()
    return (gap / mean).nan_to_num(1.0, posinf=1.0)


def _certainty(batch: Batch) -> "Tensor":
    return 1 - required(batch.uncertainty).clamp(0, 0.6931) / 0.6931


WEIGHTS: dict[str, tuple[Need, Callable[[Batch], "Tensor"]]] = {
    # the gap in the judge's scores over the batch's mean gap; 1 where a score is unknown
    "judge_margin": (Need.SCORES | Need.WHOLE_BATCH, _judge_margin),
    # 1 - the judge's uncertainty over its most, log 2 (UPO, arXiv 2409.11212, with mu = 1)
    "certainty": (Need.UNCERTAINTY, _certainty),
    # how likely the policy is to write both answers itself (WPO, arXiv 2406.11827)
    "likelihood": (Need.OVERLAP, likely_pair),
    # whatever the data says, as PairUni's similarities (arXiv 2510.25682)
    "given": (Need.WEIGHT, lambda batch: required(batch.weight)),
}


def weighted(objective: Objective, by: WeightBy) -> Objective:
    """Multiplies each pair's loss by a weight without gradient; WEIGHTS says which there are."""
    need, weigh = WEIGHTS[by]

    def call(batch: Batch, state: State) -> Result:
        weight = weigh(batch).detach()
        losses, figures, state = objective(batch, state)
        return weight * losses, figures | {"weight": weight.mean().item()}, state

    return _objective(f"{objective.name} weighted by {by}", objective.needs | need, objective.spec, call)


def length_desensitised(objective: Objective, alpha: float) -> Objective:
    """Gives the objective log-probabilities in which tokens past the shorter answer's length count alpha (LD-DPO)."""

    def call(batch: Batch, state: State) -> Result:
        return objective(desensitised(batch, alpha), state)

    return _objective(f"{objective.name}, tails at {alpha:g}", objective.needs | Need.TOKENS, objective.spec, call)


def trimmed(objective: Objective) -> Objective:
    """Leaves out the tokens that a pair's answers share at the beginning (MCTS-DPO, arXiv 2405.00451, siblings of one step).

    A difference of sums does not change by it; what each answer scores by itself, and means over tokens, do. For the paper's
    label smoothing by step values wrap `rosepo`, with confidence at least 1/2.
    """

    def call(batch: Batch, state: State) -> Result:
        shared = required(batch.shared)
        before = required(batch.token_mask) & (required(batch.token_mask).cumsum(-1) <= shared[:, None, None])
        logp = batch.logp - summed(batch.token_logp, before)
        ref = None if batch.ref_logp is None else batch.ref_logp[:1] - summed(batch.token_ref, before)
        lengths = (batch.lengths - shared[:, None]).clamp(min=1)
        return objective(replace(batch, logp=logp, ref_logp=ref, lengths=lengths), state)

    needs = objective.needs | Need.TOKENS | Need.SHARED_PREFIX
    return _objective(f"{objective.name}, trimmed", needs, objective.spec, call)


def refuse_combination(objective: Objective, wrappers: WrappersConfig, part: bool = False) -> None:
    """Raises PlumblineError, with the reason, for wrappers that make no sense around `objective` (a `part` of a mixture)."""
    name, needs = objective.name, objective.needs
    compares = bool(needs & (Need.PAIR | Need.LABELS)) and Need.LIST not in needs
    elsewhere = needs & (Need.TOKENS | Need.OVERLAP | Need.REFERENCES | Need.REPROMPT | Need.MISMATCH)  # left as they are
    if wrappers.length_desensitising is not None:
        if objective.spec.normalised:
            raise PlumblineError(f"objective {name} divides by length already: leave length_desensitising out")
        if name == "ld_dpo":
            raise PlumblineError("objective ld_dpo desensitises length already: set its alpha instead")
        if not compares or elsewhere:
            raise PlumblineError(f"length_desensitising changes a pair's sums, and objective {name} needs more: leave it out")
    if wrappers.trim and (not compares or elsewhere or Need.TWO_PROMPTS in needs):
        raise PlumblineError(f"trim shortens a pair of answers to one prompt, and objective {name} needs more: leave it out")
    if wrappers.trim and wrappers.length_desensitising is not None:
        raise PlumblineError("trim and length_desensitising both change which tokens count: use one of them")
    if wrappers.nll_anchor and name in {"sft", "rpo", "mpo", "cpo", "orpo", "slic", "mapo", "upo_uncertainty"}:
        raise PlumblineError(f"objective {name} holds the chosen answer's likelihood already: leave nll_anchor out")
    if wrappers.nll_anchor and name == "apo_down":
        raise PlumblineError("apo_down lowers the chosen answer and nll_anchor raises it: use one of them, or apo_zero")
    if wrappers.weight_by and not compares and not part:
        raise PlumblineError(f"weight_by weighs pairs, and objective {name} takes none: leave it out")
    if wrappers.weight_by == "likelihood" and name == "wpo":
        raise PlumblineError("objective wpo weighs by likelihood already: leave weight_by out, or wrap dpo")
    if wrappers.weight_by == "likelihood" and needs & Need.ON_POLICY:
        raise PlumblineError(
            f"weight_by likelihood makes up for answers of others, and {name} takes the policy's own: leave it out"
        )
    if wrappers.weight_by == "certainty" and needs & (Need.UNCERTAINTY | Need.CONFIDENCE):
        raise PlumblineError(f"objective {name} counts the judge's doubt already: leave weight_by out")


def wrap(objective: Objective, wrappers: WrappersConfig) -> Objective:
    """`objective` with the wrappers asked for, from the inside out: mixture, length, trimming, weights, anchor (not weighted).

    Raises PlumblineError for a combination that makes no sense.
    """
    if wrappers.mix:
        parts = [(objective, 1.0), *((build_objective(mixed.objective), mixed.weight) for mixed in wrappers.mix)]
        for part, _ in parts:
            refuse_combination(part, wrappers, part=True)
        objective = mixture(parts)
    refuse_combination(objective, wrappers)
    if wrappers.length_desensitising is not None:
        objective = length_desensitised(objective, wrappers.length_desensitising)
    if wrappers.trim:
        objective = trimmed(objective)
    if wrappers.weight_by:
        objective = weighted(objective, wrappers.weight_by)
    return nll_anchor(objective, wrappers.nll_anchor) if wrappers.nll_anchor else objective


def configured(objective: ObjectiveConfig, wrappers: WrappersConfig) -> Objective:
    """The objective a config describes. Raises PlumblineError if its combination makes no sense."""
    return wrap(build_objective(objective), wrappers)
