"""Judge: which of two answers to a prompt is better? One interface for every kind of judge in data_contracts/config_judge.py.

A judge that is shown two answers is asked both ways round, and two orders that disagree are a tie: one that always says "first"
prefers nobody (design, decision 6). Judges that score each answer by itself know no order.
"""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from data_contracts.config_judge import SCORING, WRITING, JudgeConfig, check_judge
from data_contracts.store import Dataset, Rows, build, digest
from models.engine import Progress, quiet
from models.preference.store import open_preference
from models.teacher import Teacher, metered
from tasks.comparison import SWAPPED, TIE, Comparison, Verdict, answer_id, by_prompt, scored
from tasks.criteria import find_criteria, rubric_of, template_of
from tasks.judge_pairwise import by_generation
from tasks.judge_preference import by_preference_model
from tasks.judge_ranking import by_ranking
from tasks.judge_scores import Answer, Votes, by_checklist, by_likelihood, by_score


def compare(
    comparisons: Sequence[Comparison], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress = quiet
) -> list[Verdict]:
    """One verdict a comparison, in order.

    Raises PlumblineError if the settings contradict each other, the template does not fit or the teacher cannot do what they ask.
    """
    check_judge(config)
    asked = [c for c in comparisons if not c.is_identical]
    verdicts = iter(_ask(asked, config, teacher, seed, progress) if asked else [])
    return [TIE if c.is_identical else next(verdicts) for c in comparisons]


def score_answers(
    answers: Sequence[Answer], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress = quiet
) -> list[Votes]:
    """Every answer's scores, one a vote, from a judge that scores answers by themselves; each distinct answer is judged once.

    Raises PlumblineError as `compare` does.
    """
    check_judge(config)
    distinct = list({answer_id(prompt, text): (prompt, text) for prompt, text in answers}.values())
    if config.kind == "likelihood":
        votes = by_likelihood(distinct, teacher, progress)
    else:
        criteria = find_criteria([prompt for prompt, _ in distinct], config, teacher, seed, progress)
        by = by_score if config.kind == "pointwise" else by_checklist
        votes = by(distinct, config, teacher, seed, progress, criteria)
    votes_of = {answer_id(*answer): given for answer, given in zip(distinct, votes, strict=True)}
    return [votes_of[answer_id(*answer)] for answer in answers]


def agreement(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """How far the judge can be trusted, over the comparisons it was asked.

    `orders_agree` is the share in which both orders said the same; `first_position` the share of replies preferring one answer
    that preferred the one shown first (.5 for a judge without position bias); `unparsed` counts replies. The first two are
    None for judges that score each answer by itself, which are shown no order.
    """
    asked = [v for c, v in zip(comparisons, verdicts, strict=True) if not c.is_identical]
    side_by_side = [v for v in asked if v.side_by_side]
    shown = [v.forward for v in side_by_side] + [SWAPPED[v.backward] for v in side_by_side]
    named = [s for s in shown if s in ("first", "second")]
    agreed = [v for v in side_by_side if v.forward == v.backward != "unparsed"]
    return {
        "comparisons": len(verdicts),
        "asked": len(asked),
        "ties": sum(v.outcome == "tie" for v in verdicts),
        "unparsed": shown.count("unparsed") + sum(v.forward == "unparsed" for v in asked if not v.side_by_side),
        "orders_agree": len(agreed) / len(side_by_side) if side_by_side else None,
        "first_position": named.count("first") / len(named) if named else None,
    }


def judge(
    folder: Path, samples: Dataset, config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress = quiet
) -> Dataset:
    """The "verdicts" dataset: one row per unordered pair of answers to one prompt.

    Facts as in `agreement`; `teacher` as models.teacher.metered says it.
    """

    def make(_workdir: Path) -> tuple[Rows, dict[str, Any]]:
        groups, name = by_prompt(samples.records()), judge_name(config, teacher)
        asked, usage = metered(teacher)
        judged = judge_groups(groups, config, asked, seed, progress)
        pairs = [pair for group in groups for pair in combinations(group, 2)]
        verdicts = [verdict for group in judged for verdict in group]
        made = [_row(a, b, v, name) for (a, b), v in zip(pairs, verdicts, strict=True)]
        return made, agreement([_comparison(a, b) for a, b in pairs], verdicts) | {"teacher": usage(folder)}

    return build(folder, "verdicts", judge_slice(config, seed), make, [samples], {"teacher": teacher.name})


def judge_groups(groups: list[Rows], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress) -> list[list[Verdict]]:
    """Of each group of answers to one prompt, the verdicts on all its unordered pairs, in the order of itertools.combinations.

    A listwise judge sees a group whole; a single answer is nobody's question.
    """
    pairs = [[_comparison(a, b) for a, b in combinations(group, 2)] for group in groups]
    if config.kind != "listwise":
        verdicts = iter(compare([c for group in pairs for c in group], config, teacher, seed, progress))
        return [[next(verdicts) for _ in group] for group in pairs]
    check_judge(config)
    lists = [(group[0]["prompt"], [row["text"] for row in group]) for group in groups if len(group) > 1]
    criteria = find_criteria([prompt for prompt, _ in lists], config, teacher, seed, progress)
    ranked = iter(by_ranking(lists, config, teacher, seed, progress, criteria))
    judged = [next(ranked) if len(group) > 1 else [] for group in groups]
    return [
        [TIE if c.is_identical else v for c, v in zip(group, verdicts, strict=True)]
        for group, verdicts in zip(pairs, judged, strict=True)
    ]


def judge_slice(config: JudgeConfig, seed: int) -> dict[str, Any]:
    """What decides a judge's verdicts, for the key of a dataset that holds them: files by their content, not their name."""
    rubric = rubric_of(config) if config.kind in WRITING else None
    content = {"rubric_content": digest(rubric.model_dump(mode="json"))} if rubric else {}
    content |= {"preference_model": open_preference(Path(config.model)).name} if config.model else {}
    settings = config.model_dump(mode="json", exclude={"template", "rubric", "model"})
    template = {"template": template_of(config)} if config.kind in WRITING else {}
    return {**settings, **template, **content, "seed": seed}


def judge_name(config: JudgeConfig, teacher: Teacher) -> str:
    """What a figure that this judge decided must carry in its name (design, decision 10)."""
    if config.kind == "likelihood":
        return f"likelihood/{teacher.name}"
    if config.model is not None:
        return open_preference(Path(config.model)).name
    rubric = rubric_of(config)
    parts = [template_of(config), *([rubric.name] if rubric else []), *(["criterion-first"] if config.criterion_first else [])]
    parts += [config.verdict] if config.verdict != "text" else []
    parts += ["reasoning"] if config.reasoning else []
    parts += [f"{config.votes} votes"] if config.votes > 1 else []
    return f"{', '.join(parts)}/{teacher.name}"


def _ask(
    comparisons: Sequence[Comparison], config: JudgeConfig, teacher: Teacher, seed: int, progress: Progress
) -> list[Verdict]:
    if config.kind == "preference_model":
        return by_preference_model(comparisons, config, progress)
    if config.kind in SCORING:
        answers = [(c.prompt, text) for c in comparisons for text in (c.first, c.second)]
        votes = score_answers(answers, config, teacher, seed, progress)
        return [scored(first, second) for first, second in zip(votes[::2], votes[1::2], strict=True)]
    criteria = find_criteria([c.prompt for c in comparisons], config, teacher, seed, progress)
    if config.kind == "listwise":
        groups = [(c.prompt, [c.first, c.second]) for c in comparisons]
        return [verdict for (verdict,) in by_ranking(groups, config, teacher, seed, progress, criteria)]
    return by_generation(comparisons, config, teacher, seed, progress, criteria)


def _comparison(a: dict[str, Any], b: dict[str, Any]) -> Comparison:
    return Comparison(a["prompt"], a["text"], b["text"])


def _row(first: dict[str, Any], second: dict[str, Any], verdict: Verdict, judge_: str) -> dict[str, Any]:
    return {
        "prompt_id": first["prompt_id"],
        "first_id": first["sample_id"],
        "second_id": second["sample_id"],
        "forward": verdict.forward,
        "backward": verdict.backward,
        "outcome": verdict.outcome,
        "first_score": verdict.first_score,
        "second_score": verdict.second_score,
        "win_probability": verdict.win_probability,
        "uncertainty": verdict.uncertainty,
        "criterion": verdict.criterion,
        "judge": judge_,
    }
