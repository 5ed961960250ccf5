"""A rubric from labelled pairs, in the manner of Inverse Constitutional AI (arXiv 2406.06560): propose, cluster, vote, keep.

The teacher proposes principles that may explain single pairs; similar ones are put together; each that remains judges other pairs
all by itself, both ways round; what predicts their labels better than chance, with an interval that allows for how many were
tried, is kept.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from data_contracts.config_judge import JudgeConfig
from data_contracts.config_rubric import DeriveConfig
from data_contracts.errors import PlumblineError
from data_contracts.rubric import Criterion, Evidence, Rubric
from models.chat import user
from models.engine import Progress, Sampling, quiet
from models.parse_judgement import parse_principles
from models.prompts import render, render_task
from models.teacher import Teacher
from tasks.comparison import Comparison
from tasks.criteria import Criteria
from tasks.judge_pairwise import by_generation

_NOWHERE = 1e-9  # a principle of stop words alone has no direction, and cosine distance needs one
_LEAST = 8  # pairs a side: fewer could not tell any principle from chance


@dataclass(frozen=True)
class Candidate:
    text: str
    proposed: int  # principles of its cluster
    evidence: Evidence

    @property
    def is_kept(self) -> bool:
        return self.evidence.low > 0.5

    @property
    def net(self) -> float:
        """Share of all pairs decided rightly minus share decided wrongly."""
        return (2 * self.evidence.accuracy - 1) * self.evidence.decided / self.evidence.pairs


def derive_rubric(
    labelled: Sequence[Comparison],
    config: DeriveConfig,
    judge: JudgeConfig,
    teacher: Teacher,
    seed: int,
    progress: Progress = quiet,
) -> tuple[Rubric | None, list[Candidate]]:
    """The rubric, None if no candidate predicts anything, and every candidate, the best first. Of each pair, the first answer is
    the preferred one.

    A criterion weighs its `net` agreement. Raises PlumblineError if the pairs are too few or the teacher proposed nothing.
    """
    suggesting, voting = _halves(labelled, seed)
    if min(len(suggesting), len(voting)) < _LEAST:
        raise PlumblineError(
            f"{len(suggesting)} and {len(voting)} pairs to propose and to vote on are too few to derive a rubric: "
            f"at least {_LEAST} each are needed, and no prompt serves both"
        )
    proposed = propose(suggesting, config.per_pair, judge, teacher, seed, progress)
    if not proposed:
        raise PlumblineError(f"the teacher {teacher.name} proposed no principle in the form that was asked for: use another")
    groups = cluster(proposed, config.candidates)
    confidence = 1 - (1 - config.confidence) / len(groups)  # Bonferroni: the best of many looks good by luck
    found = [Candidate(text, size, vote(text, voting, judge, teacher, seed, confidence, progress)) for text, size in groups]
    found.sort(key=lambda c: (-c.net, c.text))
    kept = [c for c in found if c.is_kept][: config.keep]
    if not kept:
        return None, found
    criteria = [Criterion(text=c.text, weight=round(c.net, 3), evidence=c.evidence) for c in kept]
    return Rubric(name=config.name, criteria=criteria), found


def propose(
    pairs: Sequence[Comparison], per_pair: int, judge: JudgeConfig, teacher: Teacher, seed: int, progress: Progress = quiet
) -> list[str]:
    """At most `per_pair` principles from each pair that explain why its first answer was preferred."""
    said = [{"task": render_task(c.prompt), "answer_a": c.first, "answer_b": c.second} for c in pairs]
    prompts = [render("principles-1", **values, count=str(per_pair)) for values in said]
    sampling = Sampling(judge.temperature, 1.0, judge.max_tokens)
    replies = teacher.complete([user(prompt) for prompt in prompts], sampling, seed, progress)
    return [text for reply in replies for text in parse_principles(reply.text)[:per_pair]]


def cluster(principles: Sequence[str], count: int) -> list[tuple[str, int]]:
    """At most `count` groups of like-worded principles: the most central one of each, and the group's size, largest first.

    TF-IDF over words, cosine distance, average linkage; what says the same in other words stays apart and is voted on twice.
    """
    from sklearn.cluster import AgglomerativeClustering
    from sklearn.feature_extraction.text import TfidfVectorizer

    distinct = sorted(set(principles))
    sizes = Counter(principles)
    if len(distinct) <= count:
        groups = [(text, sizes[text]) for text in distinct]
    else:
        points = TfidfVectorizer(stop_words="english", token_pattern=r"\w+").fit_transform(distinct).toarray()
        labels = AgglomerativeClustering(count, metric="cosine", linkage="average").fit_predict(points + _NOWHERE)
        groups = []
        for label in sorted(set(labels)):
            members = [i for i in range(len(distinct)) if labels[i] == label]
            near = points[members] @ points[members].sum(axis=0)
            centre = min(zip(members, near, strict=True), key=lambda m: (-round(float(m[1]), 9), len(distinct[m[0]]), m[0]))[0]
            groups.append((distinct[centre], sum(sizes[distinct[i]] for i in members)))
    return sorted(groups, key=lambda g: (-g[1], g[0]))


def vote(
    principle: str,
    pairs: Sequence[Comparison],
    judge: JudgeConfig,
    teacher: Teacher,
    seed: int,
    confidence: float,
    progress: Progress = quiet,
) -> Evidence:
    """How often the principle alone prefers the preferred answer, over the pairs that it decides the same in both orders.

    A prompt's pairs hang together, so each prompt is one observation, the share of its decided pairs that are right: the accuracy
    is their mean, and the interval Wilson's with this confidence over the prompts. With one pair a prompt that is the usual one;
    with more it is wide rather than narrow, since such a share varies less than a coin.
    """
    from statsmodels.stats.proportion import proportion_confint

    template = "pairwise-by-1" if judge.verdict == "text" else "pairwise-bare-1"
    criteria = Criteria(template, Rubric(name="one", criteria=[Criterion(text=principle)]))
    by_prompt: dict[str, list[bool]] = {}
    for pair, verdict in zip(pairs, by_generation(pairs, judge, teacher, seed, progress, criteria), strict=True):
        if verdict.outcome != "tie":
            by_prompt.setdefault(render_task(pair.prompt), []).append(verdict.outcome == "first")
    if not by_prompt:
        return Evidence(accuracy=0.5, low=0.0, high=1.0, decided=0, pairs=len(pairs))
    right, decided = sum(sum(said) / len(said) for said in by_prompt.values()), sum(map(len, by_prompt.values()))
    low, high = proportion_confint(right, len(by_prompt), alpha=1 - confidence, method="wilson")
    accuracy = right / len(by_prompt)
    return Evidence(accuracy=accuracy, low=float(low), high=float(high), decided=decided, pairs=len(pairs))


def _halves(labelled: Sequence[Comparison], seed: int) -> tuple[list[Comparison], list[Comparison]]:
    """Each prompt's pairs are on one side; identical answers say nothing and are left out."""
    usable = [c for c in labelled if not c.is_identical]
    prompts = sorted({render_task(c.prompt) for c in usable})
    random.Random(seed).shuffle(prompts)
    first = set(prompts[: len(prompts) // 2])
    return [c for c in usable if render_task(c.prompt) in first], [c for c in usable if render_task(c.prompt) not in first]
