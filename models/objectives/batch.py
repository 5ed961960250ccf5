"""What an objective is given, what it may ask for and what it says of itself (`reference/objectives.md` §6).

Everything is a sum of log-probabilities over the tokens of a whole answer, in nats and at least float32. A batch holds B prompts
with K answers each, the best first: a preference pair is K = 2. Fields that few objectives need are None unless `Need` asks.
Nothing here imports torch, so that a configuration can be refused before anything heavy is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Need(Flag):
    """What an objective needs beyond the log-probability and the length of the first answer."""

    PAIR = auto()  # K = 2, the chosen answer first
    LIST = auto()  # K >= 2 answers, ranked; score where there is one, mask in lists of unequal length
    REFERENCE = auto()  # ref_logp
    REFERENCES = auto()  # ref_logp of two or more reference models
    LABELS = auto()  # label, and mask where a pair lacks a side: each answer counts by itself
    SCORES = auto()  # score
    WIN_PROBABILITIES = auto()  # win_prob
    CONFIDENCE = auto()  # confidence
    UNCERTAINTY = auto()  # uncertainty
    WEIGHT = auto()  # weight
    PROMPT_EMBEDDING = auto()  # prompt_emb
    TOKENS = auto()  # token_logp, token_mask, and token_ref where there is a reference
    OLD_TOKENS = auto()  # token_old
    STEPS = auto()  # step_id
    DEGRADATIONS = auto()  # after the pair, the chosen answer with growing parts removed
    SHARED_PREFIX = auto()  # shared
    OVERLAP = auto()  # self_overlap
    GOLD = auto()  # aux["gold"]
    BASE = auto()  # aux["base"]
    RATIONALE = auto()  # aux["rationale"]
    REPROMPT = auto()  # aux["reprompt"]
    MISMATCH = auto()  # aux["mismatch"]
    TWO_PROMPTS = auto()  # each answer of a pair has a prompt of its own
    ON_POLICY = auto()  # the answers are the present policy's own samples
    WHOLE_BATCH = auto()  # compares examples of one batch, so that a batch may not be split into micro batches
    STATE = auto()  # carries State from one step to the next


@dataclass(frozen=True)
class Spec:
    """What the table of objectives says besides name, needs and the first line of the docstring."""

    paper: str  # arXiv id and equation; where there is none, whose code
    on_policy: Literal["no", "recommended", "required"] = "no"
    from_previous: bool = False  # the paper measures from the policy that each round begins with
    normalised: bool = False  # scores answers by means over their tokens, so that length is taken out already
    reconstructed: bool = False  # the paper's form could not be verified; the docstring says what was assumed


@dataclass(frozen=True)
class Answers:
    """Further answers that only some objectives look at. All tensors [M, K].

    "mismatch" is detached and of the whole batch, also in a micro batch. The others have one row for each prompt of the batch and
    carry a gradient: "gold", "rationale" and "base" have K = 1; "reprompt" is the batch's own answers under the changed prompt.
    """

    logp: "Tensor"
    ref_logp: "Tensor"
    lengths: "Tensor"


@dataclass(frozen=True)
class Batch:
    """Tensors over B prompts and K answers. Only `logp`, `token_logp` and most of `aux` carry a gradient.

    Raises TypeError for half-precision log-probabilities: a sum of hundreds of nats has lost whole nats by then.
    """

    logp: "Tensor"  # [B, K] the policy's
    lengths: "Tensor"  # [B, K] tokens of each answer
    ref_logp: "Tensor | None" = None  # [R, B, K] of R references, the main one first
    label: "Tensor | None" = None  # [B, K] +1 desirable, -1 undesirable
    score: "Tensor | None" = None  # [B, K] a judge's, NaN where unknown
    win_prob: "Tensor | None" = None  # [B, K, K] P(answer i beats answer j), 0.5 on the diagonal
    self_overlap: "Tensor | None" = None  # [B, K] sum over tokens of log sum_v p(v)^2 (WPO)
    confidence: "Tensor | None" = None  # [B] probability that the first answer is really the better one
    uncertainty: "Tensor | None" = None  # [B] mutual information of judge and label (BALD), nats, 0 to ln 2
    weight: "Tensor | None" = None  # [B] of the example, 1 where nothing is known
    prompt_emb: "Tensor | None" = None  # [B, D] embedding of the prompt
    aux_adv: "Tensor | None" = None  # [B, K] advantage in an auxiliary reward
    token_logp: "Tensor | None" = None  # [B, K, T] the policy's by token, answers only
    token_ref: "Tensor | None" = None  # [B, K, T] the main reference's
    token_old: "Tensor | None" = None  # [B, K, T] the sampling policy's
    token_mask: "Tensor | None" = None  # [B, K, T] true on tokens; padding is on the right
    step_id: "Tensor | None" = None  # [B, K, T] reasoning step of each token, from 0
    step_weight: "Tensor | None" = None  # [B, K, T] weight of each token's step, 1 where None
    shared: "Tensor | None" = None  # [B] tokens at the beginning that all answers share
    mask: "Tensor | None" = None  # [B, K] true where there is an answer: lists differ in length, pairs may lack a side; None: all
    aux: Mapping[str, Answers] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.logp.dtype.itemsize < 4:
            raise TypeError(f"log-probabilities must be float32 or float64, not {self.logp.dtype}")

    @property
    def log_ratio(self) -> "Tensor":
        """log pi(y|x) - log ref(y|x), [B, K]: the implicit reward before beta (DPO, arXiv 2305.18290, section 4)."""
        assert self.ref_logp is not None, "the objective must declare Need.REFERENCE"
        return self.logp - self.ref_logp[0]


@dataclass(frozen=True)
class State:
    """Running statistics of the objectives that declare Need.STATE: one goes in, a new one comes out."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0


Result = tuple["Tensor", dict[str, float], State]  # loss per example [B], figures only the objective knows, next state


class Objective(Protocol):
    """`needs` may depend on an instance's parameters; the class's are then those of its defaults."""

    name: ClassVar[str]
    needs: ClassVar[Need]
    spec: ClassVar[Spec]

    def __call__(self, batch: Batch, state: State) -> Result: ...


def softplus(x: "Tensor") -> "Tensor":
    """log(1 + exp(x)), also far out; -log sigmoid(x) is softplus(-x)."""
    return x.logaddexp(x.new_zeros(()))
