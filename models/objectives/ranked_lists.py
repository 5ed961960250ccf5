"""Ranked lists as weighted pairs: every better answer against every worse one, and what each pair counts.

z = log pi(y|x) - log ref(y|x) of a whole answer, sp(x) = log(1 + e^x). All are sums over one prompt's pairs.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from models.objectives.batch import Batch, Need, Result, Spec, State, softplus
from models.objectives.lists import Ranking, gaps, log_ratio, only, rank_by, ranking, relevance_gain
from models.objectives.pieces import required

if TYPE_CHECKING:
    from torch import Tensor


def _pair_losses(z: "Tensor", weight: "Tensor", order: Ranking) -> "Tensor":
    """Sum over pairs (i better than j) of weight_ij sp(-(z_i - z_j)), [B]."""
    return (softplus(-gaps(z)) * only(weight, order.beats)).sum((-1, -2))


def _lambda(gain: "Tensor", rank: "Tensor") -> "Tensor":
    """What swapping i and j does to the discounted cumulative gain: |G_i - G_j| |1/D(t_i) - 1/D(t_j)|, D(t) = log(1 + t)."""
    return gaps(gain).abs() * gaps(1 / rank.to(gain.dtype).log1p()).abs()


def _lambda_loss(z: "Tensor", order: Ranking, gain: str, objective: str) -> "Tensor":
    worth = relevance_gain(order, objective) if gain == "exponential" else 2 * order.level
    return _pair_losses(z, _lambda(worth, rank_by(z.detach(), order)), order)


@dataclass(frozen=True)
class AllPairsDpo:
    """DPO averaged over every pair of a better and a worse answer of the list.

    Mean over pairs of sp(-beta (z_i - z_j)), i better than j. z is an answer's log pi - log ref, sp(x) = log(1 + e^x).

    Use it as the plain baseline of the list objectives: it assumes nothing about scores beyond their order. Not where near-ties
    are many, since it counts them as much as the best against the worst; lipo does not. With two answers it is DPO.
    """

    beta: float
    name: ClassVar[str] = "all_pairs_dpo"
    needs: ClassVar[Need] = Need.LIST | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2305.18290 eq. 7, over pairs", on_policy="recommended")

    def __call__(self, batch: Batch, state: State) -> Result:
        order = ranking(batch)
        pairs = order.beats.sum((-1, -2)).clamp(min=1)
        z = self.beta * log_ratio(batch, order.here)
        return _pair_losses(z, z.new_ones(order.beats.shape), order) / pairs, {}, state


@dataclass(frozen=True)
class Lipo:
    """Listwise preference optimisation (LiPO-lambda): each pair counts for what swapping it would change in the ranking.

    sum over psi_i > psi_j of D_ij sp(-beta (z_i - z_j)), D_ij = |G_i - G_j| |1/log(1 + t_i) - 1/log(1 + t_j)|. psi is the score;
    t is the rank by the *policy's* z, without gradient, equal z by score. gain "exponential" is G = 2^psi - 1, "linear" G = 2 psi
    - 1. z is an answer's log pi - log ref, sp(x) = log(1 + e^x).

    Use it with four to eight scored answers a prompt where getting the top right matters most. Not with scores that are only
    ranks; and scale scores to about 0..1 (`aggregate.relevances`), since the exponential gain makes a 10 count a thousandfold.

    Reconstructed: the secondary sources print "2 psi - 1", which reads as a lost exponent given the convention of LambdaLoss, so
    exponential is the default; the direction is ours too, since a public port minimises an unbounded form (trap T3).
    """

    beta: float
    gain: str
    name: ClassVar[str] = "lipo"
    needs: ClassVar[Need] = Need.LIST | Need.REFERENCE | Need.SCORES
    spec: ClassVar[Spec] = Spec("2402.01878", on_policy="recommended", reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        order = ranking(batch)
        return _lambda_loss(self.beta * log_ratio(batch, order.here), order, self.gain, self.name), {}, state


@dataclass(frozen=True)
class RankDpo:
    """RankDPO: lipo's pair weights, but by the labels' ranks, so that they stay fixed through training.

    sum over phi_i > phi_j of D_ij sp(-beta (z_i - z_j)), D_ij = |G_i - G_j| |1/log(1 + t_i) - 1/log(1 + t_j)|, G = 2^phi - 1, t
    the rank by phi. phi is meant to be a mean win probability in 0..1; `aggregate.win_rates` makes it from a win matrix. z is an
    answer's log pi - log ref, sp(x) = log(1 + e^x).

    Use it where weights should not depend on the policy, or several judges are averaged. Not where the lower ranks matter: the
    top answers count most from first to last.

    Reconstructed: the paper is on diffusion models and its extraction prints "2 phi - 1"; here z is the log-ratio of the answer.
    """

    beta: float
    name: ClassVar[str] = "rankdpo"
    needs: ClassVar[Need] = Need.LIST | Need.REFERENCE | Need.SCORES
    spec: ClassVar[Spec] = Spec("2410.18013 eq. 5-7", on_policy="recommended", reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        order = ranking(batch)
        weight = _lambda(relevance_gain(order, self.name), rank_by(order.level, order))
        return _pair_losses(self.beta * log_ratio(batch, order.here), weight, order), {}, state


@dataclass(frozen=True)
class RankList:
    """RankList: neighbours in the order, and to a lesser degree answers a few places apart.

    sum over k = 1..skip of (1/k) sum over i of sp(-beta (z_(i) - z_(i+k))), where (i) is the i-th best answer. Answers with equal
    scores share a place. z is an answer's log pi - log ref, sp(x) = log(1 + e^x).

    Use it where a judge gives a fine order and neighbours differ visibly. Not where neighbours are near-ties: those pairs count
    most here.

    Reconstructed from the abstract: a speech and aesthetics model's list loss, whose log-sum-exp aggregation could not be
    verified; the weights 1/k and the plain sum are assumed.
    """

    beta: float
    skip: int
    name: ClassVar[str] = "ranklist"
    needs: ClassVar[Need] = Need.LIST | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2508.09826", on_policy="recommended", reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        order = ranking(batch)
        apart = -gaps(_place(order))
        weight = only(1 / apart.clamp(min=1), (apart >= 1) & (apart <= self.skip))
        return _pair_losses(self.beta * log_ratio(batch, order.here), weight, order), {}, state


def _place(order: Ranking) -> "Tensor":
    """How many distinct levels lie above each answer [B, K]."""
    same_before = ((gaps(order.level) == 0) & order.here[:, None, :]).tril(-1).any(-1)
    return (order.beats.transpose(1, 2) & ~same_before[:, None, :]).sum(-1).to(order.level.dtype)


@dataclass(frozen=True)
class TreePo:
    """Tree preference optimisation: lipo over the leaves of a reasoning tree, scored by their steps.

    lipo with z_i = sum_s w_s r_s / sum_s w_s over the steps s of answer i, r_s the log-ratio of the step's tokens. w_s says how
    close a step is to the best answer's step at the same place (`steps.step_similarity`; 1 everywhere if the batch has no
    step_weight). `step_id` marks the tokens of a step, which lie together.

    Use it for answers in steps with scored leaves, from a tree search or several tries. z is a mean over steps, so a long chain
    does not outweigh a short one. Not for answers without steps: with one step an answer it is lipo.

    Reconstructed: this is the intended form. The authors' code minimises -log s(beta L) of a ranking loss L >= 0, which *raises*
    L (trap T1), and has no lambda weights. It takes w_s from hidden states; the similarity of words stands in for those.
    """

    beta: float
    gain: str
    name: ClassVar[str] = "tree_po"
    needs: ClassVar[Need] = Need.LIST | Need.SCORES | Need.TOKENS | Need.STEPS | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2410.12854", on_policy="recommended", reconstructed=True)

    def __call__(self, batch: Batch, state: State) -> Result:
        order, step = ranking(batch), required(batch.step_id)
        inside = required(batch.token_mask).bool() & order.here[:, :, None]
        ratio = only(required(batch.token_logp), inside) - only(required(batch.token_ref), inside)
        weight = ratio.new_ones(ratio.shape) if batch.step_weight is None else only(batch.step_weight.to(ratio), inside)
        opens = inside.clone()  # the first token of each step
        opens[:, :, 1:] &= ~inside[:, :, :-1] | (step[:, :, 1:] != step[:, :, :-1])
        z = (weight * ratio).sum(-1) / (weight * opens).sum(-1).clamp(min=1e-6)
        return _lambda_loss(self.beta * z, order, self.gain, self.name), {}, state
