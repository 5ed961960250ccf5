"""Lists: all of a prompt's answers, the best first, for objectives that rank more than two or follow the policy's own samples.

Scores are on one scale, 0..1: of a judge that scores answers by themselves its own, brought there (of the likelihood judge the
teacher's mean probability of a token), else the share of the other answers that an answer beats (Borda). Pure selection; what is
left out is counted.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from data_contracts.store import Dataset, Row, Rows, build
from models.objectives.aggregate import win_rates
from tasks.comparison import by_prompt, chance, sigmoid

TO_SHARE: dict[str, Callable[[float, int], float]] = {  # by kind of judge: its score, and the answer's tokens
    "likelihood": lambda score, tokens: min(1.0, math.exp(score / tokens)),
    "pointwise": lambda score, _tokens: (score - 1) / 9,
    "checklist": lambda score, _tokens: score,
}


def lists_of_samples(
    folder: Path,
    samples: Dataset,
    verdicts: Dataset,
    kind: str,
    method: str,
    policy: str,
    number: int,
    anchored: bool = False,
) -> Dataset:
    """One list a prompt from the policy's own answers, as the verdicts of a judge of that `kind` order them.

    `method` is the run's, `policy` the hash of the checkpoint that is aligned on them. `anchored`: a prompt's last answer is left
    out of its list, and every other one's score is its probability of beating it (pairwise_rl).

    Facts: `lists`, prompts whose answers all score alike (`undecided`), those with fewer than two (`single`), and those of whose
    verdicts none has come through the gate (`unjudged`).
    """

    def make(_work: Path) -> tuple[Rows, Row]:
        judged = {group[0]["prompt_id"]: group for group in by_prompt(verdicts.records())}
        made, facts = [], {"lists": 0, "undecided": 0, "single": 0, "unjudged": 0}
        for answers in by_prompt(samples.records()):
            if len(answers) < (3 if anchored else 2):
                facts["single"] += 1
                continue
            said = judged.get(answers[0]["prompt_id"], [])
            if not said:
                facts["unjudged"] += 1
                continue
            wins, scores = _wins(answers, said, kind), _scores(answers, said, kind)
            if anchored:
                scores = [row[-1] for row in wins[:-1]]
                answers, wins = answers[:-1], [row[:-1] for row in wins[:-1]]
            row = _row(answers, scores or win_rates(wins), wins)
            if row["scores"][0] == row["scores"][-1]:
                facts["undecided"] += 1
                continue
            own = all(a["policy"] == policy for a in answers)
            made.append(row | {"method": method, "on_policy": own, "policy": policy, "round": number})
        return made, facts | {"lists": len(made)}

    slice_ = {"kind": kind, "method": method, "anchored": anchored, "round": number}
    return build(folder, "lists", slice_, make, [samples, verdicts], {"policy": policy})


def lists_of_pairs(folder: Path, pairs: Dataset, policy: str, number: int) -> Dataset:
    """Each scored pair as a list of two, its scores the judge's probability that either beats the other.

    A pair's order stands even where the judge sees it the other way round: the scores are then turned. Fact: `lists`, and how
    many were `turned`.
    """

    def make(_work: Path) -> tuple[Rows, Row]:
        made, turned = [], 0
        for row in pairs.records():
            p = max(row["win_probability"], 1 - row["win_probability"])
            turned += p != row["win_probability"]
            sides = [
                {"text": row[side], "token_ids": row[f"{side}_ids"], "stopped": row[f"{side}_stopped"], "policy": row[who] or ""}
                for side, who in (("chosen", "chosen_policy"), ("rejected", "policy"))
            ]
            common = {name: row[name] for name in ("prompt_id", "prompt", "prompt_ids")}
            made.append(
                _row([common | side for side in sides], [p, 1 - p], [[0.5, p], [1 - p, 0.5]])
                | {"list_id": f"{row['pair_id']}/list", "method": row["method"], "on_policy": row["on_policy"]}
                | {"policy": policy, "round": number}
            )
        return made, {"lists": len(made), "turned": turned}

    return build(folder, "lists", {"round": number}, make, [pairs], {"policy": policy})


def _row(answers: Sequence[Row], scores: Sequence[float], wins: Sequence[Sequence[float]]) -> Row:
    order = sorted(range(len(answers)), key=lambda i: -scores[i])
    ranked = [answers[i] for i in order]
    return {
        "list_id": f"{ranked[0]['prompt_id']}/list",
        "prompt_id": ranked[0]["prompt_id"],
        "prompt": ranked[0]["prompt"],
        "prompt_ids": ranked[0]["prompt_ids"],
        "answers": [a["text"] for a in ranked],
        "answer_ids": [a["token_ids"] for a in ranked],
        "stopped": [a["stopped"] for a in ranked],
        "scores": [float(scores[i]) for i in order],
        "wins": [[float(wins[i][j]) for j in order] for i in order],
        "old_logps": None,  # the trainer computes them by its own forward
        "sources": [a["policy"] for a in ranked],
    }


def _wins(answers: Sequence[Row], verdicts: Sequence[Row], kind: str) -> list[list[float]]:
    """P(answer i beats answer j) by the verdicts; one half for a pair whose verdict the gate has set aside."""
    place = {a["sample_id"]: i for i, a in enumerate(answers)}
    wins = [[0.5] * len(answers) for _ in answers]
    for verdict in verdicts:
        if verdict["first_id"] in place and verdict["second_id"] in place:
            i, j = place[verdict["first_id"]], place[verdict["second_id"]]
            wins[i][j] = _chance(verdict, kind)
            wins[j][i] = 1 - wins[i][j]
    return wins


def _chance(verdict: Row, kind: str) -> float:
    """P(first beats second); to the likelihood judge, that the teacher, made to write one of the two, writes the first."""
    if kind == "likelihood" and verdict["first_score"] is not None:
        return sigmoid(verdict["first_score"] - verdict["second_score"])
    return chance(verdict)


def _scores(answers: Sequence[Row], verdicts: Sequence[Row], kind: str) -> list[float]:
    """The scores of a judge that gives each answer one, in 0..1; nothing where it does not, or one could not be read."""
    text, found = {a["sample_id"]: a["text"].strip() for a in answers}, dict[str, float]()
    for verdict in verdicts:
        for side in ("first", "second"):
            if verdict[f"{side}_score"] is not None and verdict[f"{side}_id"] in text:  # equal answers were not asked about
                found[text[verdict[f"{side}_id"]]] = verdict[f"{side}_score"]
    if kind not in TO_SHARE or not all(t in found for t in text.values()):
        return []
    return [TO_SHARE[kind](found[text[a["sample_id"]]], len(a["token_ids"])) for a in answers]
