"""By what a judge judges: nothing in particular, a rubric, or a criterion chosen for each prompt before its answers are seen."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_contracts.config_judge import WRITING, JudgeConfig
from data_contracts.errors import PlumblineError
from data_contracts.rubric import Rubric
from models.chat import Message, user
from models.engine import Progress, Sampling
from models.parse_judgement import parse_criterion
from models.preference.store import open_preference
from models.prompts import render, render_task, slots
from models.rubrics import open_rubric
from models.teacher import Teacher

_TEMPLATES = {  # (kind, verdict is read from text, there are criteria) -> template
    ("generation", True, False): "pairwise-1",
    ("generation", True, True): "pairwise-by-1",
    ("generation", False, False): "pairwise-bare-1",
    ("generation", False, True): "pairwise-bare-1",
    ("pointwise", True, True): "score-1",
    ("pointwise", False, True): "score-bare-1",
    ("checklist", True, True): "checklist-1",
    ("checklist", False, True): "point-bare-1",
    ("listwise", True, False): "ranking-1",
    ("listwise", True, True): "ranking-1",
}


@dataclass(frozen=True)
class Criteria:
    template: str
    rubric: Rubric | None = None
    chosen: dict[str, str | None] = field(default_factory=dict)  # a prompt's text -> the criterion chosen for it

    def of(self, prompt: Sequence[Message]) -> str | None:
        """What to judge answers to `prompt` by, or None."""
        return self.rubric.as_text() if self.rubric else self.chosen.get(render_task(prompt))

    def slot(self, text: str | None) -> dict[str, str]:
        return {"criteria": text or ""} if "criteria" in slots(self.template) else {}


def template_of(config: JudgeConfig) -> str:
    """The configured template, or the one made for this kind and verdict."""
    has_criteria = config.rubric is not None or config.criterion_first or config.kind in ("pointwise", "checklist")
    return config.template or _TEMPLATES[config.kind, config.verdict == "text", has_criteria]


def rubric_of(config: JudgeConfig) -> Rubric | None:
    """Pointwise and checklist judges need one and have a default; a criterion-first judge makes its own."""
    if config.criterion_first or (config.rubric is None and config.kind not in ("pointwise", "checklist")):
        return None
    return open_rubric(config.rubric)


def check_templates(config: JudgeConfig) -> None:
    """Raises PlumblineError if the judge's template, rubric or model cannot be read or does not fit its kind."""
    if config.model is not None:
        open_preference(Path(config.model))
    if config.kind not in WRITING:
        return
    rubric, template = rubric_of(config), template_of(config)
    shape = {"generation": {"answer_a", "answer_b"}, "listwise": {"answers"}}.get(config.kind, {"answer"})
    extra = {"points"} if "points" in slots(template) else {"point"} if config.kind == "checklist" else set()
    fits = slots(template) - {"criteria"} == {"task"} | shape | extra
    if not fits or (config.kind == "checklist" and (extra == {"points"}) != (config.verdict == "text")):
        wants = ", ".join(sorted(slots(template)))
        raise PlumblineError(
            f"the prompt template {template!r} is filled from {wants}, which is not for judge.kind {config.kind}"
        )
    if (rubric is not None or config.criterion_first) and not {"criteria", "points", "point"} & slots(template):
        raise PlumblineError(f"the prompt template {template!r} has no place for criteria: leave judge.template out")


def find_criteria(
    prompts: Sequence[Sequence[Message]], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress
) -> Criteria:
    """Each distinct prompt's criterion is asked for once, greedily (context-aware preference modelling, arXiv 2407.14916:
    choose the context z given x, then judge given x and z). A reply that names none leaves the prompt without.

    Raises PlumblineError as `check_templates` does.
    """
    check_templates(config)
    template, rubric = template_of(config), rubric_of(config)
    if not config.criterion_first:
        return Criteria(template, rubric)
    texts = list(dict.fromkeys(render_task(p) for p in prompts))
    asked = [user(render("criterion-1", task=text)) for text in texts]
    replies = teacher.complete(asked, Sampling(0.0, 1.0, config.max_tokens), seed, progress)
    return Criteria(template, None, {text: parse_criterion(r.text) for text, r in zip(texts, replies, strict=True)})
