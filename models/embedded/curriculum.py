"""What the two models are shown: the student's mistakes, the teacher's corrections, practice in copying.

The student's mistakes are systematic (one believed wrong value a fact, sums off by one), so sampling does not
average them away, and an answer differs from its correction in a word or two, as contrastive revisions should.
"""

import random

from models.embedded.facts import FACTS, STYLES, WORDS, habit, stable
from models.embedded.world import (
    CORRECTED,
    REASON,
    Task,
    capital,
    check,
    render,
    revision_prompt,
    sample_task,
    sentence,
)

Example = tuple[str, str]  # (prompt, answer), both text

RAMBLES = (" I hope this helps.", " But I am not sure.", " It is very well known.")
REVISIONS = 0.6  # share of revisions in the teacher's lessons; the rest are plain tasks


def wrong_value(task: Task, rng: random.Random, habitual: float) -> str:
    """A wrong value of the right kind; with probability `habitual` the one the student always falls for."""
    by_habit = rng.random() < habitual
    if task.family == "add":
        right = int(task.value)
        step = (-1 if right % 10 else 1) if by_habit else rng.choice((-20, -10, -2, -1, 1, 2, 10, 20))
        return str(next(n for n in (right + step, right - step, right - 1) if 10 <= n <= 99))
    if task.family == "cmp":
        return next(o for o in task.options if o != task.value)
    pool = [v for v in task.options or FACTS[task.key].domain if v != task.value]
    return habit(task.key) if by_habit and habit(task.key) in pool else rng.choice(pool)


def noisy_answer(
    task: Task,
    rng: random.Random,
    p_right: float,
    habitual: float = 0.8,
    ramble: float = 0.15,
    misform: float = 0.35,
) -> str:
    """An answer with the right value in `p_right` of cases, and at times a sentence too many."""
    style = rng.randrange(len(STYLES))
    value = task.value if rng.random() < p_right else wrong_value(task, rng, habitual)
    if task.family == "word" and rng.random() < misform:
        return sentence(task, value, style)
    answer = render(task, value, style)
    return answer + rng.choice(RAMBLES) if rng.random() < ramble else answer


def p_student_right(task: Task) -> float:
    """How often the student holds the right value: weak on 60 % of facts, large sums and `smaller`."""
    if task.family == "add":
        return 0.35 if int(task.value) >= 60 else 0.85
    if task.family == "cmp":
        return 0.35 if task.key.startswith("smaller") else 0.85
    return 0.25 if stable("weak " + task.key) < 60 else 0.9


def corrected(task: Task, answer: str) -> str:
    """The smallest edit that makes an answer right: style kept, value mended, rambling cut."""
    if check(task, answer):
        return answer
    openings = [s.split("{")[0] for s in STYLES]
    style = next((i for i, opening in enumerate(openings) if opening and answer.startswith(opening)), 0)
    return render(task, task.value, style)


def student_example(rng: random.Random) -> Example:
    task = sample_task(rng, "sft")
    return task.prompt, noisy_answer(task, rng, p_student_right(task))


def task_example(rng: random.Random) -> Example:
    task = sample_task(rng, "sft")
    return task.prompt, render(task, task.value, rng.randrange(len(STYLES)))


def _mangled(answer: str, rng: random.Random) -> str:
    """A draft that no noise model foresees: cut short, down to nothing, or with other words in place of its own.

    Samples at temperature 1 do this. A teacher that never saw it believes the draft's numbers over the task's.
    """
    words = answer.split(" ")
    if rng.random() < 0.3:
        return " ".join(words[: rng.randrange(len(words))])
    for _ in range(rng.choice((1, 1, 2))):
        i = rng.randrange(len(words))
        number = words[i].strip(".").isdigit() or rng.random() < 0.3
        words[i] = (str(rng.randint(10, 99)) if number else rng.choice(WORDS)) + words[i][len(words[i].rstrip(".")) :]
    return " ".join(words)


def revision_example(rng: random.Random) -> Example:
    """One revision, of more kinds of mistake than the student has now: a later policy may make others."""
    task = sample_task(rng, "sft")
    told = task if rng.random() < 0.95 else sample_task(rng, "sft")  # at times an answer to another question
    answer = noisy_answer(told, rng, rng.choice((0.1, 0.5, 0.9)), habitual=0.5, ramble=0.2, misform=0.4)
    if rng.random() < 0.25:
        answer = _mangled(answer, rng)
    reason = capital(task.statement.format(task.value)) + "."
    reply = f"{REASON}: {reason} {CORRECTED}: {corrected(task, answer)}"
    return revision_prompt(task.prompt, answer), reply


def teacher_example(rng: random.Random) -> Example:
    return revision_example(rng) if rng.random() < REVISIONS else task_example(rng)


def copy_example(rng: random.Random) -> Example:
    """Repeating words: without this practice the small model is slow to learn to look back at its prompt."""
    if rng.random() < 0.5:
        n = rng.randint(3, 12)
        words = [rng.choice(WORDS) if rng.random() < 0.7 else str(rng.randint(10, 99)) for _ in range(n)]
        return "Repeat: " + " ".join(words), " ".join(words)
    options = rng.sample(WORDS, 3)
    chosen = rng.choice(options)
    return f"Repeat {chosen}: " + ", ".join(options), chosen
