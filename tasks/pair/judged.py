"""Pairs of answers that a judge compared or scored."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from data_contracts.config_pairs import BestOfN, Rso
from data_contracts.store import Row
from tasks.comparison import by_prompt, chance
from tasks.pair.rows import Given, Made, pair_row

Scores = dict[str, float]  # by sample id


@dataclass(frozen=True)
class _Group:
    """The scored answers to one prompt, and the verdicts that compared them."""

    prompt_id: str
    answers: list[Row]
    scores: Scores
    verdicts: list[Row]

    def score(self, answer: Row) -> float:
        return self.scores[answer["sample_id"]]


def judged(given: Given) -> Made:
    """The judge's winner is chosen, its loser rejected: of the policy's own answers or of other models'.

    On-policy and off-policy judge, arXiv 2408.06266, equations 2 and 3. One pair a prompt: the comparison with the widest margin
    or the surest verdict; of equals, the first. Facts: prompts without a decision (`undecided`) and with one answer (`single`).
    """
    samples, verdicts = given.rows
    groups = by_prompt(verdicts)
    answers = {group[0]["prompt_id"]: {s["sample_id"]: s for s in group} for group in by_prompt(samples)}
    decided = [[v for v in group if v["outcome"] != "tie"] for group in groups]
    best = [max(group, key=_clearness) for group in decided if group]  # max keeps the first of equals
    facts = {"pairs": len(best), "undecided": len(groups) - len(best), "single": _single(samples, groups)}
    return [_judged(given, verdict, answers[verdict["prompt_id"]]) for verdict in best], facts


def best_of_n(given: Given) -> Made:
    """Of N answers one good and one bad by the judge's scores: best and worst, best and any other, or apart by a threshold.

    Facts: prompts whose answers all score alike (`undecided`); for the threshold, prompts with only good or only bad answers, and
    of how many the best or the worst one makes a row alone (`one_sided`).
    """
    assert isinstance(given.method, BestOfN)
    choice, threshold = given.method.choice, given.method.threshold
    facts = {"pairs": 0, "undecided": 0, "single": 0}
    if threshold is not None:
        facts |= {"only_good": 0, "only_bad": 0}
    pairs, alone = [], list[Row]()
    for group in _scored(given, facts):
        best = max(group.answers, key=group.score)  # of equals the first
        bar = group.score(best) if threshold is None else threshold
        lesser = [a for a in group.answers if group.score(a) < bar]
        if threshold is not None and (not lesser or group.score(best) < threshold):
            facts["only_bad" if lesser else "only_good"] += 1
            if ("rejected" if lesser else "chosen") in given.alone:
                alone.append(_alone(given, group, best=not lesser))
        elif not lesser:
            facts["undecided"] += 1
        else:
            draw = random.Random(f"{given.seed}/{group.prompt_id}")
            other = draw.choice(lesser) if choice == "max_random" else min(lesser, key=group.score)
            pairs.append(_of_scores(given, group.prompt_id, group, best, other))
    return pairs + alone, facts | {"pairs": len(pairs)} | ({"one_sided": len(alone)} if alone else {})


def rso(given: Given) -> Made:
    """Statistical rejection sampling (arXiv 2309.06657, algorithm 1): answers as if drawn from the reward-tilted policy.

    The accepted answers of a prompt are paired in the order of their acceptance, each pair ranked by its scores (the paper's
    first-round ranking). Facts: prompts with too few answers to reject any (`too_few`), pairs of equal scores (`undecided`).
    """
    from models.objectives.rso import rejection_sample

    assert isinstance(given.method, Rso)
    keep, facts = given.method.keep, {"pairs": 0, "undecided": 0, "single": 0, "too_few": 0}
    pairs = []
    for group in _scored(given, facts):
        if len(group.answers) <= keep:
            facts["too_few"] += 1
            continue
        seed = random.Random(f"{given.seed}/{group.prompt_id}").getrandbits(32)
        kept = rejection_sample([group.score(a) for a in group.answers], keep, given.method.temperature, seed)
        for place, couple in enumerate(list(pairwise(kept))[::2]):
            rejected, chosen = sorted((group.answers[i] for i in couple), key=group.score)
            if group.score(chosen) == group.score(rejected):
                facts["undecided"] += 1
            else:
                pairs.append(_of_scores(given, f"{group.prompt_id}/{place}", group, chosen, rejected))
    return pairs, facts | {"pairs": len(pairs)}


def score_answers(verdicts: Sequence[Row], by_judge: bool) -> Scores:
    """A score for each answer that one prompt's verdicts compare: the judge's own, or the mean of its chances to win.

    With the judge's own, an answer that it gave none has none here. The mean is over the comparisons that were made; without a
    probability a win counts 1, a tie 1/2.
    """
    if by_judge:
        given = {v[f"{side}_id"]: v[f"{side}_score"] for v in verdicts for side in ("first", "second")}
        return {id_: float(score) for id_, score in given.items() if score is not None}
    chances: dict[str, list[float]] = {}
    for verdict in verdicts:
        first = chance(verdict)
        chances.setdefault(verdict["first_id"], []).append(first)
        chances.setdefault(verdict["second_id"], []).append(1 - first)
    return {id_: sum(values) / len(values) for id_, values in chances.items()}


def _scored(given: Given, facts: Row) -> list[_Group]:
    """Each prompt with two scored answers or more; the others are counted."""
    samples, verdicts = given.rows
    answer, groups = {s["sample_id"]: s for s in samples}, by_prompt(verdicts)
    facts["single"] = _single(samples, groups)
    by_judge = any(v[f"{side}_score"] is not None for v in verdicts for side in ("first", "second"))
    scores = [score_answers(group, by_judge) for group in groups]
    facts["undecided"] += sum(len(found) < 2 for found in scores)
    both = [(group, found) for group, found in zip(groups, scores, strict=True) if len(found) > 1]
    return [_Group(group[0]["prompt_id"], [answer[id_] for id_ in found], found, group) for group, found in both]


def _single(samples: Sequence[Row], groups: Sequence[Sequence[Row]]) -> int:
    return len({s["prompt_id"] for s in samples}) - len(groups)


def _judged(given: Given, verdict: Row, answers: Row) -> Row:
    winner, loser = ("first", "second") if verdict["outcome"] == "first" else ("second", "first")
    chosen, rejected = answers[verdict[f"{winner}_id"]], answers[verdict[f"{loser}_id"]]
    scores = {"chosen_score": verdict[f"{winner}_score"], "rejected_score": verdict[f"{loser}_score"]}
    known = scores | _chances(verdict, winner == "first")
    return pair_row(
        given, verdict["prompt_id"], chosen, rejected, **known, base_ids=_base(given, answers.values(), chosen, rejected)
    )


def _of_scores(given: Given, name: str, group: _Group, chosen: Row, rejected: Row) -> Row:
    ids = (chosen["sample_id"], rejected["sample_id"])
    compared = {(v["first_id"], v["second_id"]): v for v in group.verdicts}
    told = next((_chances(compared[pair], pair == ids) for pair in (ids, ids[::-1]) if pair in compared), {})
    known = told | {"chosen_score": group.score(chosen), "rejected_score": group.score(rejected)}
    return pair_row(given, name, chosen, rejected, **known, base_ids=_base(given, group.answers, chosen, rejected))


def _alone(given: Given, group: _Group, best: bool) -> Row:
    """The best of answers that are all good, or the worst of answers that are all bad."""
    answer = (max if best else min)(group.answers, key=group.score)
    score = group.score(answer)
    if best:
        return pair_row(given, group.prompt_id, answer, None, chosen_score=score)
    return pair_row(given, group.prompt_id, None, answer, rejected_score=score)


def _chances(verdict: Row, is_chosen_first: bool) -> Row:
    """What the judge says of the pair itself: P(chosen beats rejected), and how unsure it is of that."""
    first = verdict.get("win_probability")
    turned = first if first is None or is_chosen_first else 1 - first
    return {"win_probability": turned, "uncertainty": verdict.get("uncertainty")}


def _base(given: Given, answers: Iterable[Row], chosen: Row, rejected: Row) -> list[int] | None:
    """An answer of the model that the run began with, if there is one beside the pair."""
    ids = (chosen["sample_id"], rejected["sample_id"])
    return next((a["token_ids"] for a in answers if a["policy"] == given.initial and a["sample_id"] not in ids), None)


def _clearness(verdict: Row) -> tuple[float, float]:
    """How clear a decided verdict is: the scores' distance where there are scores, else the probability's from one half."""
    scores = (verdict["first_score"], verdict["second_score"])
    return (0.0 if None in scores else abs(scores[0] - scores[1]), abs(chance(verdict) - 0.5))
