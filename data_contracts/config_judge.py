"""Judges."""

from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt

from data_contracts.config_base import Strict
from data_contracts.errors import PlumblineError

WRITING = ("generation", "pointwise", "checklist", "listwise")  # kinds that put a question to the teacher
SCORING = ("likelihood", "pointwise", "checklist")  # kinds that score each answer by itself, rather than compare or rank several


class JudgeConfig(Strict):
    """Who is asked what, and how the answer is read.

    - `generation` compares two answers, both ways round, and disagreement is a tie; `listwise` ranks all answers to a prompt,
      once as they stand and once reversed.
    - `pointwise` gives each answer a score from 1 to 10, `checklist` the share of a rubric's points that it meets.
    - `likelihood` compares a local teacher's log-probabilities; `preference_model` asks one trained by `plumbline preference`.

    `verdict` says how a reply is read: from `text` that ends with it, as a `choice` that the local engine constrains, or as the
    `probability` of each possible verdict by the teacher's token log-probabilities.
    """

    kind: Literal["generation", "pointwise", "checklist", "listwise", "likelihood", "preference_model"] = "generation"
    verdict: Literal["text", "choice", "probability"] = "text"
    template: str | None = None  # None: the one made for this kind and verdict
    reasoning: bool = False  # choice and probability: reasons are written first, then the bare verdict is asked for
    criterion_first: bool = False  # the judge first chooses, without seeing the answers, what to judge this prompt by
    rubric: str | None = None  # a YAML file with criteria, or the name of one of models/rubrics
    model: str | None = None  # preference_model: the folder of a trained one
    votes: PositiveInt = 1
    temperature: NonNegativeFloat = 0.0
    max_tokens: PositiveInt = 1024


def check_judge(config: JudgeConfig, key: str = "judge", teacher_writes_only: bool = False) -> None:
    """Raises PlumblineError for settings that do not go together, or that a teacher which only writes cannot serve.

    `key` is their place in the configuration.
    """
    kind, asked = config.kind, config.kind in WRITING
    if kind == "likelihood" and teacher_writes_only:
        raise PlumblineError(f"{key}.kind likelihood needs a local teacher (this one only writes): use generation")
    if config.verdict == "choice" and teacher_writes_only:
        raise PlumblineError(
            f"{key}.verdict choice needs a local teacher, whose engine constrains replies: use text or probability"
        )
    if (kind == "preference_model") != (config.model is not None):
        raise PlumblineError(
            f"{key}.kind is {kind}: {key}.model, the folder of a preference model, goes with preference_model only"
        )
    unasked = {"verdict": config.verdict != "text", "template": config.template is not None, "rubric": config.rubric is not None}
    unasked |= {"reasoning": config.reasoning, "criterion_first": config.criterion_first, "votes": config.votes > 1}
    wrong = [] if asked else [name for name, given in unasked.items() if given]
    if wrong:
        raise PlumblineError(f"{key}.kind {kind} asks no question, so {key}.{wrong[0]} has no effect: remove it")
    if kind == "listwise" and config.verdict != "text":
        raise PlumblineError(f"{key}.kind listwise is read from text: {key}.verdict {config.verdict} is for the other kinds")
    if config.reasoning and config.verdict == "text":
        raise PlumblineError(
            f"{key}.reasoning goes with the verdicts choice and probability: a text verdict has its reasons in it"
        )
    if config.criterion_first and (config.rubric is not None or kind == "checklist"):
        raise PlumblineError(
            f"{key}.criterion_first chooses the criterion anew for each prompt: take away the rubric or checklist"
        )
    if config.votes > 1 and config.temperature == 0:
        raise PlumblineError(f"{key}.temperature 0 gives {config.votes} equal votes: raise it or set {key}.votes to 1")
    if config.votes > 1 and config.verdict == "probability" and not config.reasoning:
        raise PlumblineError(
            f"the probability of a bare verdict is the same at every vote: set {key}.reasoning or {key}.votes to 1"
        )
