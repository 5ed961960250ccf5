"""What an objective is given and what it may ask for (`reference/objectives.md` §6).

Everything is a sum of log-probabilities over the tokens of a whole answer, in nats and at least float32. A batch holds B prompts
with K answers each, the best first: a preference pair is K = 2. Fields that few objectives need are None unless `Need` asks.
Nothing here imports torch, so that a configuration can be refused before anything heavy is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Need(Flag):
    """What an objective needs beyond the log-probability and the length of the first answer."""

    PAIR = auto()  # K = 2, the chosen answer first
    LIST = auto()  # K >= 3, ranked
    REFERENCE = auto()  # ref_logp
    REFERENCES = auto()  # ref_logp of two or more reference models
    LABELS = auto()  # label
    SCORES = auto()  # score
    WIN_PROBABILITIES = auto()  # win_prob
    OVERLAP = auto()  # self_overlap
    GOLD = auto()  # aux["gold"]
    BASE = auto()  # aux["base"]
    RATIONALE = auto()  # aux["rationale"]
    MISMATCH = auto()  # aux["mismatch"]
    WHOLE_BATCH = auto()  # compares examples of one batch, so that a batch may not be split into micro batches
    STATE = auto()  # carries State from one step to the next


@dataclass(frozen=True)
class Answers:
    """Further answers that only some objectives look at; detached. All tensors [M, K]."""

    logp: "Tensor"
    ref_logp: "Tensor"
    lengths: "Tensor"


@dataclass(frozen=True)
class Batch:
    """Tensors over B prompts and K answers. Only `logp` carries a gradient.

    Raises TypeError for half-precision log-probabilities: a sum of hundreds of nats has lost whole nats by then.
    """

    logp: "Tensor"  # [B, K] the policy's
    lengths: "Tensor"  # [B, K] tokens of each answer
    ref_logp: "Tensor | None" = None  # [R, B, K] of R references, the main one first
    label: "Tensor | None" = None  # [B, K] +1 desirable, -1 undesirable
    score: "Tensor | None" = None  # [B, K] a judge's, NaN where unknown
    win_prob: "Tensor | None" = None  # [B, K, K] P(answer i beats answer j)
    self_overlap: "Tensor | None" = None  # [B, K] sum over tokens of log sum_v p(v)^2 (WPO)
    aux: Mapping[str, Answers] = field(default_factory=dict)  # "mismatch" is of the whole batch, also in a micro batch

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
    name: ClassVar[str]
    needs: ClassVar[Need]

    def __call__(self, batch: Batch, state: State) -> Result: ...


def softplus(x: "Tensor") -> "Tensor":
    """log(1 + exp(x)), also far out; -log sigmoid(x) is softplus(-x)."""
    return x.logaddexp(x.new_zeros(()))
