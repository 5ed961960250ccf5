"""What an objective is trained on: the round's pairs as they are, with more known about them, or lists. Wiring only."""

from collections.abc import Callable, Mapping

from data_contracts.config_pairs import NamedSource
from data_contracts.store import Dataset
from flows.session import Session
from models.objectives.batch import Need
from tasks.complete import complete
from tasks.lineage import Standing
from tasks.lists import lists_of_pairs, lists_of_samples
from tasks.sample_others import sample_others
from tasks.score_pairs import score_pairs
from tasks.serving import Plan, further_writers

Run = Callable[..., Dataset]


def lists_from_samples(
    s: Session, plan: Plan, run: Run, gate: Callable[..., Dataset], made: Mapping[str, Dataset], policy: str, number: int
) -> Dataset:
    """The round's lists of the policy's own judged answers, through their gate."""
    verdicts, how = made["validate_verdicts"], (s.rounds.judge.kind, s.rounds.method.name)
    lists = run("lists", lists_of_samples, made["validate_samples"], verdicts, *how, policy, number, plan.anchored)
    return gate(lists, "validate_lists", policy=None)


def serve(
    s: Session,
    plan: Plan,
    run: Run,
    gate: Callable[..., Dataset],
    pairs: Dataset,
    champion: Standing,
    number: int,
    seed: int,
) -> Dataset:
    """`pairs`, with whatever the objective needs to know of them beside; or the lists of two that they make."""
    if "score_pairs" in plan.stages:
        pairs = run("score_pairs", score_pairs, pairs, s.rounds.judge, s.judge(s.rounds.judge), seed, retries=s.retries)
    if "complete" in plan.stages:
        further, writers = None, further_writers(plan.needs) if "further" in plan.stages else {}
        if "further" in plan.stages:
            sources = {Need.GOLD: "teacher", Need.BASE: "initial"}
            named = [NamedSource(kind=sources[need]) for need in writers]  # type: ignore[arg-type]
            who = [s.writer(source, champion, number, seed) for source in named]
            # the pairs' own prompts and not the round's: replayed pairs have others, and some prompts got no pair
            further = run("further", sample_others, pairs, s.rounds.sample, who, champion.model, seed, retries=s.retries)
        pairs = run("complete", complete, pairs, plan.needs, further, writers, champion.model, seed)
    if "lists" in plan.stages:
        return gate(run("lists", lists_of_pairs, pairs, champion.model.hash, number), "validate_lists", policy=None)
    return pairs
