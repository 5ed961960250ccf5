"""Ranked lists as likelihoods: the probability of the whole order, or of the best answer among the others.

z = log pi(y|x) - log ref(y|x) of a whole answer, sp(x) = log(1 + e^x).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from models.objectives.batch import Batch, Need, Result, Spec, State, softplus
from models.objectives.lists import Ranking, gaps, log_ratio, log_sum, only, per_token, rank_by, ranking, relevance_gain
from models.objectives.pieces import there

if TYPE_CHECKING:
    from torch import Tensor


def _order_nll(z: "Tensor", order: Ranking) -> "Tensor":
    """-log Plackett-Luce probability of the order [B]: each answer against itself and all that are strictly worse."""
    size = z.shape[-1]
    itself = z.new_ones(size, size).tril().triu().bool()
    rivals = z[:, None, :].expand(-1, size, -1)
    return only(log_sum(rivals, order.beats | itself) - z, order.here).sum(-1)


@dataclass(frozen=True)
class PlackettLuce:
    """DPO on a full ranking: the likelihood of the whole order, each answer chosen before all worse ones.

    -log prod_k exp(beta z_k) / sum_{j >= k} exp(beta z_j), best first; z is an answer's log pi - log ref.

    Use it where every place of the order is trusted. Not where only the top is, since a wrong lower half costs as much as a wrong
    top: prefer lipo or s_dpo. Equal scores are not compared, so a list of ties teaches nothing. With two answers it is DPO.
    """

    beta: float
    name: ClassVar[str] = "plackett_luce"
    needs: ClassVar[Need] = Need.LIST | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2305.18290 appendix A.3", on_policy="recommended")

    def __call__(self, batch: Batch, state: State) -> Result:
        order = ranking(batch)
        return _order_nll(self.beta * log_ratio(batch, order.here), order), {}, state


@dataclass(frozen=True)
class SDpo:
    """Softmax DPO: the best answer against all worse ones at once, the hardest of them most.

    sp(log sum_l exp(beta (z_l - z_w))). The losses of several equally best answers are averaged. z is an answer's log pi - log
    ref, sp(x) = log(1 + e^x).

    Use it for one good answer and several bad ones in no order. Not where the order of the rest matters. With two answers it is
    DPO. Reconstructed from memory of the paper's equation.
    """

    beta: float
    name: ClassVar[str] = "s_dpo"
    needs: ClassVar[Need] = Need.LIST | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2406.09215", reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        order = ranking(batch)
        z = self.beta * log_ratio(batch, order.here)
        return (order.best * softplus(log_sum(-gaps(z), order.beats))).sum(-1), {}, state


@dataclass(frozen=True)
class MultiSimilarity:
    """Multi-similarity loss, carried over from metric learning: the best answer against those still too close to it.

    (1/a) log(1 + sum_l exp(-a (beta z_w - beta z_l - margin))) over the rejected answers l with beta z_l > beta z_w - mining; a
    is the sharpness, z an answer's log pi - log ref.

    Use it for one chosen answer and many rejected ones of which most are soon easy: those drop out, as in a hinge. Not if the
    margin should keep growing, since a prompt stops teaching once all its rejected answers lie `mining` below.

    Reconstructed: the paper compares images by cosine similarity; a, margin and mining are its constants from memory, applied to
    beta z.
    """

    beta: float
    sharpness: float
    margin: float
    mining: float
    name: ClassVar[str] = "multi_similarity"
    needs: ClassVar[Need] = Need.LIST | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("1904.06627", reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        order = ranking(batch)
        gap = gaps(self.beta * log_ratio(batch, order.here))
        hard = order.beats & (gap.detach() < self.mining)
        loss = softplus(log_sum(-self.sharpness * (gap - self.margin), hard)) / self.sharpness
        judged = (order.best > 0)[:, :, None] & order.beats
        share = (hard & judged).sum() / judged.sum().clamp(min=1)
        return (order.best * loss).sum(-1), {"hard_share": share.item()}, state


@dataclass(frozen=True)
class Pro:
    """Preference ranking optimisation: an order's likelihood at temperatures of the score gaps, and imitation of the best.

    With m the mean log-probability of an answer's tokens, r its score, best first, and T_k = max_{j > k} (r_k - r_j): sum_k
    {log[exp(m_k T_k) + sum_{j > k} exp(m_j (r_k - r_j))] - m_k T_k} + sft_weight (n - 1)^2 (-m_1), as in the authors'
    `process_manager.py`. Equal scores are not compared; n counts the answers that are there.

    Use it without a reference model, on lists whose score differences mean something; scores of 0..10 make it nearly a hinge. Not
    for lists with a noisy tail, whose every place counts.
    """

    sft_weight: float
    name: ClassVar[str] = "pro"
    needs: ClassVar[Need] = Need.LIST | Need.SCORES
    spec: ClassVar[Spec] = Spec("2306.17492, its authors' process_manager.py", normalised=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        order = ranking(batch)
        m = per_token(only(batch.logp, order.here), batch)
        gap = gaps(order.level)
        own = m * only(gap, order.beats).amax(-1)
        ranked = only(softplus(log_sum(m[:, None, :] * gap, order.beats) - own), order.beats.any(-1)).sum(-1)
        imitation = (order.count - 1) ** 2 * -(order.best * m).sum(-1)
        return ranked + self.sft_weight * imitation, {}, state


@dataclass(frozen=True)
class Irpo:
    """In-context ranking preference optimisation: each answer against the average of all others, relevant ones most.

    (1/N) sum_i w_i sp(log mean_{j != i} exp(beta (z_j - z_i))), w_i = (2^rel_i - 1) / log2(1 + rank_i), with z_i the *mean*
    log-ratio of answer i's tokens, rel_i its score and rank_i its place by score. An answer of relevance 0 is only ever compared
    against. sp(x) = log(1 + e^x).

    Use it for graded relevance (0..about 3) or scores in 0..1. Not for negative scores, which are refused.

    After the authors' `rdpo_loss`, but exact: the self term is left out, where the authors subtract 100 beta from its exponent.
    """

    beta: float
    name: ClassVar[str] = "irpo"
    needs: ClassVar[Need] = Need.LIST | Need.REFERENCE | Need.SCORES
    spec: ClassVar[Spec] = Spec("2504.15477, its authors' rdpo_loss", on_policy="recommended", normalised=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        order = ranking(batch)
        z = self.beta * per_token(log_ratio(batch, order.here), batch)
        size = z.shape[-1]
        others = order.here[:, None, :] & ~z.new_ones(size, size).tril().triu().bool()
        crowd = log_sum(-gaps(z), others) - (order.count - 1).clamp(min=1).to(z.dtype).log()[:, None]
        weight = relevance_gain(order, self.name) / (1 + rank_by(order.level, order).to(z.dtype)).log2()
        return only(weight * softplus(crowd), order.here).sum(-1) / order.count, {}, state


@dataclass(frozen=True)
class SpoDegree:
    """Self-supervised preference optimisation: DPO, and the known order of an answer and its own degradations.

    sp(-beta (z_w - z_l)) + weight * -log Plackett-Luce(chosen > its degradations, mildest first) / (number of degradations).
    Answer 0 is chosen, 1 rejected, and 2, 3, … are the chosen one with a growing share of its content words removed
    (`degradations.degrade`); fewer may be there. z is an answer's log pi - log ref, sp(x) = log(1 + e^x).

    Use it where pairs are few: the order of the degradations is known for free. Not for answers that stay right when shortened.

    Reconstructed from the abstract (the repository holds no code): the paper classifies the degree by a head on the hidden state;
    the order of the likelihoods stands in for that, and only the chosen answer is degraded.
    """

    beta: float
    weight: float
    name: ClassVar[str] = "spo_degree"
    needs: ClassVar[Need] = Need.PAIR | Need.DEGRADATIONS | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2409.17791", reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        here = there(batch)
        z = self.beta * log_ratio(batch, here)
        pair = softplus(z[:, 1] - z[:, 0])
        family = here.clone()
        family[:, 1] = False
        position = -here.to(z.dtype).cumsum(-1)
        order = Ranking(position, family, family[:, :, None] & family[:, None, :] & (gaps(position) > 0))
        degrees = _order_nll(z, order) / (order.count - 1).clamp(min=1)
        return pair + self.weight * degrees, {"degree_loss": degrees.mean().item()}, state
