"""Policy gradients on groups of the policy's own answers, by token or by answer.

B prompts with K sampled answers each. Ratio = pi / pi_old, where pi_old is the policy that sampled; A is the advantage of an
answer within its group. Exponentials go on as their tangents far out, so that a token 200 nats away gives a finite loss and still
the right direction. A prompt's loss is the mean over its answers; the figures are shares over the micro batch.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from data_contracts.errors import PlumblineError
from models.objectives.advantages import centred, leave_one_out, standardised, win_fraction
from models.objectives.batch import Batch, Need, Result, Spec, State
from models.objectives.lists import only
from models.objectives.pieces import bounded_exp, required, there

if TYPE_CHECKING:
    from torch import Tensor

_SAMPLED = Need.TOKENS | Need.OLD_TOKENS | Need.ON_POLICY


def _spare_reference(objective: "Grpo | PrefGrpo | PairwiseRl") -> None:
    """Spares the reference model's forward pass where the divergence has no weight."""
    if objective.kl_weight == 0:
        object.__setattr__(objective, "needs", type(objective).needs & ~Need.REFERENCE)


def k3(logp: "Tensor", ref: "Tensor") -> "Tensor":
    """exp(ref - pi) - (ref - pi) - 1 >= 0, the estimate of KL(pi || ref) with the least variance (Schulman 2020, "k3")."""
    return bounded_exp(ref - logp) - (ref - logp) - 1


def clipped(log_ratio: "Tensor", advantage: "Tensor", clip: float) -> "tuple[Tensor, Tensor]":
    """-min(ratio A, clip(ratio, 1 - e, 1 + e) A) (PPO, arXiv 1707.06347 eq. 7), and where clipping took the gradient away."""
    ratio = bounded_exp(log_ratio)
    free, bounded = ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage
    return -free.minimum(bounded), bounded < free


def _scored(batch: Batch) -> "tuple[Tensor, Tensor]":
    """Rewards [B, K] and which answers are there."""
    reward = required(batch.score).to(batch.logp.dtype)
    return reward, ~reward.isnan() if batch.mask is None else batch.mask.bool() & ~reward.isnan()


def _mean_answer(x: "Tensor", here: "Tensor") -> "Tensor":
    return only(x, here).sum(-1) / here.sum(-1).clamp(min=1)


@dataclass(frozen=True)
class _Tokens:
    logp: "Tensor"
    old: "Tensor"
    ref: "Tensor | None"
    inside: "Tensor"  # [B, K, T] bool

    def mean(self, x: "Tensor") -> "Tensor":
        """Mean over the tokens of each answer [B, K]."""
        return only(x, self.inside).sum(-1) / self.inside.sum(-1).clamp(min=1)

    def share(self, x: "Tensor") -> float:
        return (only(x, self.inside).sum() / self.inside.sum().clamp(min=1)).item()


def _tokens(batch: Batch, here: "Tensor") -> _Tokens:
    inside = required(batch.token_mask).bool() & here[:, :, None]
    ref = None if batch.token_ref is None else only(batch.token_ref, inside)
    return _Tokens(only(required(batch.token_logp), inside), only(required(batch.token_old), inside).detach(), ref, inside)


def _clipped_tokens(
    batch: Batch, advantage: "Tensor", here: "Tensor", clip: float, kl_weight: float
) -> "tuple[Tensor, _Tokens, dict[str, float]]":
    """PPO's clipped loss of each token [B, K, T] plus kl_weight k3, and the figures about it."""
    tokens = _tokens(batch, here)
    loss, cut = clipped(tokens.logp - tokens.old, advantage[:, :, None], clip)
    groups = here.any(-1)
    idle = (advantage == 0).all(-1) & groups
    figures = {"clipped_share": tokens.share(cut.to(loss.dtype)), "idle_groups": (idle.sum() / groups.sum().clamp(min=1)).item()}
    if kl_weight > 0:
        divergence = k3(tokens.logp, required(tokens.ref))
        loss = loss + kl_weight * divergence
        figures["kl"] = tokens.share(divergence.detach())
    return loss, tokens, figures


@dataclass(frozen=True)
class Grpo:
    """Group relative policy optimisation: clipped policy gradients, with the group's mean and spread as the yardstick.

    Mean over answers of the mean over tokens of -min(ratio A, clip(ratio, 1 - e, 1 + e) A) + kl_weight k3(pi, ref), A = (R - mean
    R) / (std R + 1e-4) within the group, ratio = pi / pi_old of a token.

    Use it for rewards that can be checked or judged, with 4 to 64 fresh answers a prompt. Not where most groups have equal
    rewards: those teach nothing (figure idle_groups). Dividing by the standard deviation favours prompts that are solved nearly
    always or never, and the mean over tokens favours long wrong answers; dr_grpo does neither.
    """

    clip: float
    kl_weight: float
    name: ClassVar[str] = "grpo"
    needs: ClassVar[Need] = _SAMPLED | Need.SCORES | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2402.03300 eq. 3", on_policy="required", normalised=True)

    def __post_init__(self) -> None:
        _spare_reference(self)

    def __call__(self, batch: Batch, state: State) -> Result:
        reward, here = _scored(batch)
        advantage = standardised(reward, here)
        loss, tokens, figures = _clipped_tokens(batch, advantage, here, self.clip, self.kl_weight)
        return _mean_answer(tokens.mean(loss), here), figures, state


@dataclass(frozen=True)
class DrGrpo:
    """GRPO done right: neither the rewards' spread nor an answer's own length divides, and there is no reference model.

    Mean over answers of the sum over tokens of -min(ratio A, clip(ratio, 1 - e, 1 + e) A) / max_length, A = R - mean R, ratio =
    pi / pi_old of a token.

    Use it instead of grpo when answers grow longer without getting better. max_length is one constant for all (the sampler's
    max_tokens): it scales the gradient and does not turn it. Not for rewards of wild scales, which stay in: keep them about 0..1.
    """

    clip: float
    max_length: int
    name: ClassVar[str] = "dr_grpo"
    needs: ClassVar[Need] = _SAMPLED | Need.SCORES
    spec: ClassVar[Spec] = Spec("2503.20783 section 3", on_policy="required")

    def __call__(self, batch: Batch, state: State) -> Result:
        reward, here = _scored(batch)
        loss, tokens, figures = _clipped_tokens(batch, centred(reward, here), here, self.clip, 0.0)
        return _mean_answer(only(loss, tokens.inside).sum(-1) / self.max_length, here), figures, state


@dataclass(frozen=True)
class Rloo:
    """REINFORCE leave-one-out: whole answers, each against the mean reward of the others.

    -min(ratio A, clip(ratio, 1 - e, 1 + e) A), ratio = exp(sum over tokens of log pi - log pi_old), A = R - mean of the others'
    R. At pi = pi_old its gradient is the paper's, -A grad log pi; the clipping is Hugging Face TRL's (`rloo_trainer.py`).

    Use it where one step follows each sampling: an unbiased baseline and no other machinery. Not where samples serve many steps:
    a long answer's ratio soon leaves the clip range, and that of a bad answer is not bounded above; grpo keeps going. The paper
    takes the divergence from the reference off the reward; do that before, or keep to few steps.
    """

    clip: float
    name: ClassVar[str] = "rloo"
    needs: ClassVar[Need] = _SAMPLED | Need.SCORES
    spec: ClassVar[Spec] = Spec("2402.14740 eq. 9", on_policy="required")

    def __call__(self, batch: Batch, state: State) -> Result:
        reward, here = _scored(batch)
        tokens = _tokens(batch, here)
        loss, cut = clipped((tokens.logp - tokens.old).sum(-1), leave_one_out(reward, here), self.clip)
        share = (only(cut.to(loss.dtype), here).sum() / here.sum().clamp(min=1)).item()
        return _mean_answer(loss, here), {"clipped_share": share}, state


@dataclass(frozen=True)
class PrefGrpo:
    """Pref-GRPO: grpo whose reward is the share of the group's other answers that an answer beats.

    R_i = mean over j of P(i beats j), a tie being half a win; A and loss as in grpo. The same reward as minimax SPO's (arXiv
    2401.04056), whose fixed point is the minimax winner of the comparisons, so judgements in a circle do no harm.

    Use it where a judge compares better than it scores: win shares spread over 0..1, where near-equal scores divided by their
    spread would blow noise up. Not on a small budget: up to K (K - 1) / 2 comparisons a prompt. Those not made are NaN.
    """

    clip: float
    kl_weight: float
    name: ClassVar[str] = "pref_grpo"
    needs: ClassVar[Need] = _SAMPLED | Need.WIN_PROBABILITIES | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2508.20751", on_policy="required", normalised=True)

    def __post_init__(self) -> None:
        _spare_reference(self)

    def __call__(self, batch: Batch, state: State) -> Result:
        reward, here = win_fraction(required(batch.win_prob).to(batch.logp.dtype), there(batch))
        advantage = standardised(reward, here)
        loss, tokens, figures = _clipped_tokens(batch, advantage, here, self.clip, self.kl_weight)
        return _mean_answer(tokens.mean(loss), here), figures, state


@dataclass(frozen=True)
class PairwiseRl:
    """Pairwise-RL: grpo's clipped loss, praising an answer for beating an anchor of the reference model.

    A = P(y beats the anchor) - 1/2, the anchor being an answer of the reference model to the same prompt. `score` is that
    probability.

    Use it where a judge compares in pairs and the budget allows one comparison an answer: the anchor does not move with the
    policy, so even a single answer a prompt teaches, and |A| is at most 1/2. Not once the policy nearly always beats the anchor,
    since every answer is then praised: take a newer one.

    Reconstructed from the abstract: the paper runs PPO with a value network on this reward; the advantage is used directly here.
    """

    clip: float
    kl_weight: float
    name: ClassVar[str] = "pairwise_rl"
    needs: ClassVar[Need] = _SAMPLED | Need.SCORES | Need.REFERENCE
    spec: ClassVar[Spec] = Spec("2504.04950", on_policy="required", normalised=True, reconstructed=True)

    def __post_init__(self) -> None:
        _spare_reference(self)

    def __call__(self, batch: Batch, state: State) -> Result:
        won, here = _scored(batch)
        if bool((here & ((won < 0) | (won > 1))).any()):
            raise PlumblineError(
                "objective pairwise_rl takes as score the probability of beating the anchor, 0 to 1: judge pairs"
            )
        advantage = only(won.detach() - 0.5, here)
        loss, tokens, figures = _clipped_tokens(batch, advantage, here, self.clip, self.kl_weight)
        return _mean_answer(tokens.mean(loss), here), figures, state
