"""How a round's pairs are made: prompts, samples, revisions, and the method that puts two answers side by side."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat, PlainSerializer, PositiveFloat, PositiveInt, model_validator

from data_contracts.config_base import Share, Strict
from data_contracts.config_judge import JudgeConfig


class PromptsConfig(Strict):
    """JSON lines with `prompt` (text, or a list of role/content messages) and optionally `id`."""

    file: str
    per_round: PositiveInt


class SampleConfig(Strict):
    n: PositiveInt = 1
    temperature: NonNegativeFloat = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: PositiveInt = 1024


class ReviseConfig(Strict):
    """`rubric` is the text that the template rubric-1 is filled with, and no other."""

    template: str | None = None  # minimal-1, or what the pair method is made for: self-1, worsen-1
    rubric: str | None = None
    temperature: NonNegativeFloat = 0.7
    max_tokens: PositiveInt = 4096


class NamedSource(Strict):
    """Who answers the round's prompts: its policy, the model the run began with, the policy of the round before, the teacher.

    In round 1 `previous` is the model the run began with. Without a `temperature` it is the sample's.
    """

    kind: Literal["policy", "initial", "previous", "teacher"]
    temperature: NonNegativeFloat | None = None


class CheckpointSource(Strict):
    """A checkpoint folder or hub id, sampled on the run's own engine."""

    kind: Literal["checkpoint"]
    model: str
    temperature: NonNegativeFloat | None = None


class FileSource(Strict):
    """Answers that are there already: JSON lines, found by their prompt. A dot in the keys `prompt` and `answer` goes deeper."""

    kind: Literal["file"]
    file: str
    prompt: str = "prompt"
    answer: str = "response"


def _spelled_out(key: str) -> BeforeValidator:
    """`teacher` is short for `{kind: teacher}`."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


Source = Annotated[NamedSource | CheckpointSource | FileSource, Field(discriminator="kind"), _spelled_out("kind")]


class MethodBase(Strict):
    """`own` says how many answers of the policy to a prompt the method takes; some answers are judged, some revised."""

    own: ClassVar[Literal["none", "one", "several"]] = "one"
    judged: ClassVar[bool] = False
    revised: ClassVar[bool] = False

    @property
    def writers(self) -> "list[NamedSource | CheckpointSource | FileSource]":
        """Who else answers, in the order of the answers' index."""
        return []


class Clair(MethodBase):
    """CLAIR (arXiv 2408.06266, equation 1): the teacher's revision over the policy's own answer."""

    name: Literal["clair"]
    revised = True


class SelfRevision(MethodBase):
    """CLAIR with the policy as its own reviser."""

    name: Literal["self_revision"]
    revised = True


class WorstRevision(MethodBase):
    """The policy's own answer over the teacher's worsened copy of it."""

    name: Literal["worst_revision"]
    revised = True


class OnPolicyJudge(MethodBase):
    """Of the policy's answers the judge's winner over its loser (arXiv 2408.06266, equation 2)."""

    name: Literal["on_policy_judge"]
    own = "several"
    judged = True


class OffPolicyJudge(MethodBase):
    """Of other models' answers the judge's winner over its loser (arXiv 2408.06266, equation 3)."""

    name: Literal["off_policy_judge"]
    sources: Annotated[list[Source], Field(min_length=2)]
    own = "none"
    judged = True

    @property
    def writers(self) -> list[NamedSource | CheckpointSource | FileSource]:
        return self.sources


class StrongerPreferred(MethodBase):
    """The teacher's own answer over the policy's (arXiv 2408.06266, equation 4): CLAIR without its contrastiveness."""

    name: Literal["stronger_preferred"]
    temperature: NonNegativeFloat | None = None  # of the teacher; the sample's if not given

    @property
    def writers(self) -> list[NamedSource | CheckpointSource | FileSource]:
        return [NamedSource(kind="teacher", temperature=self.temperature)]


class Delta(MethodBase):
    """Delta learning (arXiv 2507.06187): the answer of a weak model over that of a weaker one; nobody judges."""

    name: Literal["delta"]
    stronger: Source
    weaker: Source
    own = "none"

    @property
    def writers(self) -> list[NamedSource | CheckpointSource | FileSource]:
        return [self.stronger, self.weaker]


class BestOfN(MethodBase):
    """The best-scored of the policy's answers over the worst, over any other, or over one that `threshold` parts it from."""

    name: Literal["best_of_n"]
    choice: Literal["max_min", "max_random", "threshold"] = "max_min"
    threshold: float | None = None  # on the judge's scale: at least this good is good
    own = "several"
    judged = True

    @model_validator(mode="after")
    def _one_threshold(self) -> "BestOfN":
        if (self.choice == "threshold") != (self.threshold is not None):
            raise ValueError("choice threshold needs a threshold, and no other choice takes one")
        return self


class Rso(MethodBase):
    """RSO (arXiv 2309.06657): `keep` of the policy's answers by rejection sampling on the judge's scores, paired two and two."""

    name: Literal["rso"]
    keep: Annotated[int, Field(ge=2)] = 8
    temperature: PositiveFloat = 0.5  # on the judge's scale: towards 0 the best are kept, towards infinity any
    own = "several"
    judged = True


class Recorded(MethodBase):
    """Pairs that are there already: `prompts.file` holds them, `prompts.per_round` lines a round; a key's dot goes one deeper.

    `probability` names the key of P(chosen beats rejected): below one half the pair is turned round, at one half there is none.
    A line with a `completion` and a `label` (true or false) in place of the two answers is one side of a pair alone.
    """

    name: Literal["recorded"]
    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"
    gold: str | None = None
    probability: str | None = None
    own = "none"


Method = (
    Clair | SelfRevision | WorstRevision | OnPolicyJudge | OffPolicyJudge | StrongerPreferred | Delta | BestOfN | Rso | Recorded
)


def _shortest(method: Method) -> str | dict[str, Any]:
    """What a method says beyond its name, or the name alone: a saved config reads as it was written."""
    said = method.model_dump(mode="json")
    return method.name if len(said) == 1 else said


MethodConfig = Annotated[Method, Field(discriminator="name"), _spelled_out("name"), PlainSerializer(_shortest)]


class PairsConfig(Strict):
    """What happens to a round's pairs before they are validated, whatever method made them."""

    second_view: JudgeConfig | None = None  # another judge that has to agree (UnifiedReward, arXiv 2503.05236)
    # share of the clean pairs of the round before, of the one before that, … (DNO, arXiv 2404.03715, takes 0.3 and 0.15)
    replay: Annotated[tuple[Share, ...], Field(strict=False)] = ()
