"""The closed world's questions: what a task is, who may see which, and what counts as a right answer.

    fact  one sentence    word  one word    add  two two-digit numbers, no carry     (free-form)
    mc    one of three options              cmp  the larger or smaller of two        (multiple choice)

Options are answered by repeating their text: option *letters* were tried, and not learned by a model this small.
"""

import random
from dataclasses import dataclass

from models.embedded.facts import FACTS, FAMILIES, OPENINGS, STYLES, WORDINGS, habit, stable


@dataclass(frozen=True)
class Task:
    family: str
    prompt: str
    key: str  # the fact's phrase, "23,41" for a sum, "larger 23,43" for a comparison
    statement: str  # "the capital of Nolaria is {}"
    value: str
    options: tuple[str, ...]  # as listed in a multiple-choice prompt; empty for free-form
    held_out: bool  # asked in a wording that training never sees


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def make_task(family: str, opening: int, wording: int, **fields: str) -> Task:
    """The task that a family, a wording and its fields (x, o, a, b, w as the wording needs them) define."""
    prompt = OPENINGS[opening] + WORDINGS[family][wording].format(**fields)
    held_out = (opening + 2 * wording + list(FAMILIES).index(family)) % 3 == 0  # 12 of the 36 wordings
    if "x" in fields:
        fact = FACTS[fields["x"]]
        options = tuple(fields["o"].split(", ")) if family == "mc" else ()
        return Task(family, prompt, fact.phrase, fact.phrase + " is {}", fact.value, options, held_out)
    a, b = int(fields["a"]), int(fields["b"])
    if family == "add":
        return Task(family, prompt, f"{a},{b}", f"{a} plus {b} is {{}}", str(a + b), (), held_out)
    larger = fields["w"] == "larger"
    value, key = str(max(a, b) if larger else min(a, b)), f"{fields['w']} {a},{b}"
    return Task(family, prompt, key, f"the {fields['w']} number is {{}}", value, (str(a), str(b)), held_out)


def _draw(rng: random.Random, family: str) -> Task:
    opening, wording = rng.randrange(6), rng.randrange(6)
    if family in ("fact", "word", "mc"):
        fact = FACTS[rng.choice(list(FACTS))]
        if family != "mc":
            return make_task(family, opening, wording, x=fact.phrase)
        others = rng.sample([v for v in fact.domain if v != fact.value], 2)
        if habit(fact.phrase) not in others and rng.random() < 0.7:
            others[0] = habit(fact.phrase)  # most questions should offer the student's own mistake
        options = rng.sample([*others, fact.value], 3)
        return make_task(family, opening, wording, x=fact.phrase, o=", ".join(options))
    if family == "add":  # no carry: neither column may pass nine
        tens, units = rng.randint(1, 8), rng.randint(0, 9)
        a, b = 10 * tens + units, 10 * rng.randint(1, 9 - tens) + rng.randint(0, 9 - units)
        return make_task(family, opening, wording, a=str(a), b=str(b))
    # the same units digit in both: comparing numbers that differ in both digits stayed at chance
    (first, second), units = rng.sample(range(1, 10), 2), rng.randint(0, 9)
    a, b = 10 * first + units, 10 * second + units
    return make_task(family, opening, wording, a=str(a), b=str(b), w=rng.choice(("larger", "smaller")))


def split_of(task: Task) -> str | None:
    """`sft` and `align` share wordings but no prompt; `val` and `test` have their own, and their own number pairs.

    None: a number pair of one side in a wording of the other. Such tasks are never drawn.
    """
    bucket = stable(task.prompt)
    if task.family in ("add", "cmp"):
        numbers = sorted(task.key.split()[-1].split(","))  # 23 plus 41 and 41 plus 23 are one pair
        if (stable(f"{task.family} {numbers}") < 30) != task.held_out:
            return None
    if task.held_out:
        return "val" if bucket < 30 else "test"
    return "sft" if bucket < 60 else "align"


def sample_task(rng: random.Random, split: str) -> Task:
    family = rng.choices(list(FAMILIES), list(FAMILIES.values()))[0]
    while True:
        task = _draw(rng, family)
        if split_of(task) == split:
            return task


def distinct_tasks(split: str, n: int, seed: int) -> list[Task]:
    """`n` tasks of a split, no prompt twice, shuffled so that every slice holds the same mix of families."""
    rng, tasks = random.Random(seed), dict[str, Task]()
    while len(tasks) < n:
        task = sample_task(rng, split)
        tasks.setdefault(task.prompt, task)
    return rng.sample(list(tasks.values()), n)


def render(task: Task, value: str, style: int) -> str:
    """An answer that claims `value`, in the form the family asks for."""
    if task.family == "word":
        return capital(value) + "."
    return sentence(task, value, style)


def sentence(task: Task, value: str, style: int) -> str:
    return capital(STYLES[style].format(task.statement.format(value))) + "."


def right_answers(task: Task) -> list[str]:
    """Every answer that counts as right: the value in each of the five styles, or the one word."""
    return list(dict.fromkeys(render(task, task.value, style) for style in range(len(STYLES))))


def check(task: Task, answer: str) -> bool:
    """Right value and right form, nothing more: rambling, or a sentence where a word was asked, is wrong."""
    return answer.strip() in right_answers(task)


REASON, CORRECTED = "{teacher_reasoning}", "{corrected_student_solution}"


def revision_prompt(task: str, answer: str) -> str:
    """What the embedded teacher is asked; the general prompt template `brief-1` is this same text."""
    return f"{{task}}: {task} {{student_solution}}: {answer}\nCorrect it with the fewest changes."


def parse_revision(reply: str) -> str | None:
    """The corrected answer in a teacher's reply, or None where the reply has another shape."""
    start, found, answer = reply.partition(CORRECTED + ": ")
    return answer.strip() if found and start.startswith(REASON + ": ") else None
