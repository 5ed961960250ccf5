"""Objectives that weigh pairs or tokens by how the policy itself sees them, or measure against several references."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from models.objectives.batch import Batch, Need, Result, Spec, State
from models.objectives.contrastive import Dpo
from models.objectives.pieces import desensitised, likeliness, required

if TYPE_CHECKING:
    from torch import Tensor


def likely_pair(batch: Batch) -> "Tensor":
    """[B] WPO's weight: how likely the policy is to write both answers of a pair, at most 1, detached."""
    return likeliness(batch)[:, :2].sum(-1).clamp(max=0).exp()


@dataclass(frozen=True)
class Wpo:
    """Weighted preference optimisation: DPO, with pairs that the policy would not write itself counting for less.

    w_w w_l (-log s(beta h)), w = exp of the mean over tokens of log p_t - log sum_v p_v^2, no gradient, the product at most 1 (as
    its authors' code; TRL does not clip).

    Use it to make off-policy data count as if on-policy. Not on the policy's own samples, where the weights are all alike and
    only shrink the learning rate.
    """

    beta: float
    name: ClassVar[str] = "wpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.OVERLAP
    spec: ClassVar[Spec] = Spec("2406.11827 eq. 2")

    def __call__(self, batch: Batch, state: State) -> Result:
        weight = likely_pair(batch)
        losses, _, state = Dpo(self.beta)(batch, state)
        return weight * losses, {"weight": weight.mean().item()}, state


@dataclass(frozen=True)
class LdDpo:
    """Length-desensitised DPO: tokens past the length of the shorter answer count for less.

    -log s(beta h') with log p' = log p(first min(n_w, n_l) tokens) + alpha log p(the rest), on policy and reference alike.

    alpha 1 is DPO, alpha 0 cuts the longer answer off. Use it when DPO makes answers longer. Not when the end decides, as in
    reasoning whose result comes last: then the deciding tokens are the ones that count for less.
    """

    beta: float
    alpha: float
    name: ClassVar[str] = "ld_dpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.TOKENS
    spec: ClassVar[Spec] = Spec("2409.06411", "recommended")

    def __call__(self, batch: Batch, state: State) -> Result:
        return Dpo(self.beta)(desensitised(batch, self.alpha), state)


@dataclass(frozen=True)
class Mrpo:
    """Multi-reference preference optimisation: DPO against the harmonic mean of several references.

    -log s(beta h), 1 / ref = (1 - alpha) / ref_1 + sum_k (alpha / (R - 1)) / ref_k, with log ref_k first clipped to within a
    share eta of log ref_1, the initial policy's.

    alpha is the weight of the further references. The authors' code exchanges the weights (with alpha 1/2 they are equal, and so
    the results). Use it when a second good model is at hand whose tokenizer is the same. With equal references it is DPO; a later
    study (2512.10040) found plain DPO better with most reference models.
    """

    beta: float
    alpha: float
    eta: float
    name: ClassVar[str] = "mrpo"
    needs: ClassVar[Need] = Need.PAIR | Need.REFERENCE | Need.REFERENCES
    spec: ClassVar[Spec] = Spec("2405.16388")

    def __call__(self, batch: Batch, state: State) -> Result:
        refs = required(batch.ref_logp)
        first, others = refs[:1], refs[1:]
        others = others.clamp(first * (1 + self.eta), first * (1 - self.eta))
        weights = [1 - self.alpha] + [self.alpha / len(others)] * len(others)
        terms = [-ref for ref in (first[0], *others)]
        mixed = -_log_mean_exp(terms, weights)
        return Dpo(self.beta)(replace(batch, ref_logp=mixed[None]), state)


def _log_mean_exp(terms: "list[Tensor]", weights: list[float]) -> "Tensor":
    """log of the weighted sum of exp(terms)."""
    top = terms[0]
    for term in terms[1:]:
        top = top.maximum(term)
    total = sum(weight * (term - top).exp() for term, weight in zip(terms, weights, strict=True))
    return top + total.log()  # type: ignore[union-attr]
