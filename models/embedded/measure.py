"""What the finished models can do, by the exact checker: the figures of the card."""

from collections import Counter, defaultdict

from transformers import PreTrainedTokenizerFast

from models.embedded.facts import FAMILIES
from models.embedded.inference import generate, log_likelihoods
from models.embedded.llama import Llama
from models.embedded.world import Task, check, parse_revision, revision_prompt


def accuracy(tasks: list[Task], right: list[bool]) -> dict[str, float]:
    """Share of right answers in all and by family, with the standard error and number of the whole."""
    by_family = defaultdict(list)
    for task, ok in zip(tasks, right, strict=True):
        by_family[task.family].append(ok)
    p, n = sum(right) / len(right), len(right)
    families = {f: round(sum(by_family[f]) / len(by_family[f]), 4) for f in FAMILIES if by_family[f]}
    return {"all": round(p, 4), "se": round((p * (1 - p) / n) ** 0.5, 4), "n": n, **families}


def answered(model: Llama, tokenizer: PreTrainedTokenizerFast, tasks: list[Task], temperature: float = 0.0) -> dict[str, float]:
    answers = generate(model, tokenizer, [t.prompt for t in tasks], temperature, seed=1)
    return accuracy(tasks, [check(t, a) for t, a in zip(tasks, answers, strict=True)])


def revised(teacher: Llama, student: Llama, tokenizer: PreTrainedTokenizerFast, tasks: list[Task]) -> dict:
    """The teacher's revisions of the student's own samples (temperature 1), as a round will ask for them."""
    drafts = generate(student, tokenizer, [t.prompt for t in tasks], 1.0, seed=2)
    asked = [revision_prompt(t.prompt, d) for t, d in zip(tasks, drafts, strict=True)]
    revisions = [parse_revision(reply) for reply in generate(teacher, tokenizer, asked, max_new=64)]
    before = [check(t, d) for t, d in zip(tasks, drafts, strict=True)]
    after = [r is not None and check(t, r) for t, r in zip(tasks, revisions, strict=True)]
    edits = [(t, d, r) for t, d, r in zip(tasks, drafts, revisions, strict=True) if r is not None and r != d]
    return {
        "parsed": sum(r is not None for r in revisions) / len(tasks),
        "before": accuracy(tasks, before),
        "after": accuracy(tasks, after),
        "pairs": len(edits),
        "pairs_won_by_a_right_answer": sum(check(t, new) for t, _, new in edits),
        "right_answers_spoiled": sum(b and not a for b, a in zip(before, after, strict=True)),
        "shared_words": round(sum(_shared(draft, new) for _, draft, new in edits) / max(1, len(edits)), 4),
        "examples": [{"prompt": t.prompt, "draft": draft, "revision": new} for t, draft, new in edits[:5]],
    }


def _shared(one: str, other: str) -> float:
    """Jaccard index of the words of two answers: how small an edit the revision is."""
    a, b = set(one.split()), set(other.split())
    return len(a & b) / max(1, len(a | b))


def judged(teacher: Llama, student: Llama, tokenizer: PreTrainedTokenizerFast, tasks: list[Task]) -> dict:
    """Of two samples a prompt, does the likelier one under the teacher win where exactly one is right?"""
    prompts = [t.prompt for t in tasks]
    first, second = (generate(student, tokenizer, prompts, 1.0, seed=seed) for seed in (3, 4))
    decidable = [(t, a, b) for t, a, b in zip(tasks, first, second, strict=True) if check(t, a) != check(t, b)]
    scores = log_likelihoods(teacher, tokenizer, [(t.prompt, x) for t, a, b in decidable for x in (a, b)])
    right = [(u > v) == check(t, a) for (t, a, _), u, v in zip(decidable, scores[::2], scores[1::2], strict=True)]
    return {
        "decidable": len(decidable),
        "right": sum(right),
        "families": dict(Counter(t.family for t, _, _ in decidable)),
    }
