"""`model-1`: a teacher reads each answer, with prompts of our own wording (models/prompts/read-*-1.jinja).

As upstream does, a reply without a verdict is asked for again, ten times in all. What is unparsed then stays unparsed and scores
0; only `official-model-1` goes on as upstream does and draws: an option, or a score from 0.0 to 1.0 (0.0 if the server's content
filter refused), with upstream's seed. Each distinct question, with its answer, is asked about once.
"""

import random
import re
from collections.abc import Sequence

from models.benchmark import LETTERS, Question
from models.chat import user
from models.engine import Progress, Sampling
from models.journal import Reply
from models.parsers.official import SEED
from models.parsers.parsed import Parsed
from models.prompts import render
from models.teacher import Teacher

_ROUNDS = 10
_MAX_TOKENS = 999  # both as upstream
_NONE = "none"  # the reply says that no option was chosen


def model(
    questions: Sequence[Question], responses: Sequence[str], teacher: Teacher, guess: bool, progress: Progress
) -> list[Parsed]:
    """Free-form answers get the teacher's score, a multiple of 0.1; multiple-choice answers the option they were read as.

    `guess` makes it `official-model-1`. `raw` of each is the last reply, or the letter or score drawn.
    """
    prompts = [_prompt(question, response) for question, response in zip(questions, responses, strict=True)]
    asked = dict(zip(prompts, questions, strict=True))
    verdicts: dict[str, str] = {}
    replies: dict[str, Reply] = {}
    for attempt in range(_ROUNDS):
        left = [prompt for prompt in asked if prompt not in verdicts]
        if not left:
            break
        # greedy first, so that it can be repeated; asked again greedily, a model would say the same
        sampling = Sampling(temperature=0.0 if attempt == 0 else 1.0, top_p=1.0, max_tokens=_MAX_TOKENS)
        made = teacher.complete([user(prompt) for prompt in left], sampling, attempt, progress)
        for prompt, reply in zip(left, made, strict=True):
            replies[prompt] = reply
            if (verdict := _verdict(asked[prompt], reply.text)) is not None:
                verdicts[prompt] = verdict
    guesses = random.Random(SEED)
    return [
        _parsed(question, verdicts.get(prompt), replies[prompt], guesses if guess else None)
        for question, prompt in zip(questions, prompts, strict=True)
    ]


def _prompt(question: Question, response: str) -> str:
    answer = _no_verdicts(response)
    if question.split == "free-form":
        targets = "\n".join(f"- {_no_verdicts(target)}" for target in dict.fromkeys(question.target))
        return render("read-free-form-1", question=_no_verdicts(question.prompt), targets=targets, answer=answer)
    options = "\n".join(f"{letter}. {_no_verdicts(o)}" for letter, o in zip(LETTERS, question.options, strict=False))
    return render("read-choice-1", question=_no_verdicts(question.prompt), options=options, answer=answer)


def _no_verdicts(text: str) -> str:
    """What a teacher quotes of the material must not be taken for its verdict."""
    return text.replace("[[", "[ [").replace("]]", "] ]")


def _verdict(question: Question, reply: str) -> str | None:
    """The one verdict of a reply: a score, a letter among the options, or `none`; None where there is none or several."""
    said = set(re.findall(r"\[\[\s*([^\[\]\s]{1,8})\s*\]\]", reply)) or set(re.findall(r"\[([A-Z]|\d\.?\d*)\]", reply))
    if len(said) != 1:
        return None
    verdict = said.pop()
    if question.split == "free-form":
        return verdict if re.fullmatch(r"\d(\.\d+)?", verdict) and float(verdict) <= 1 else None
    if verdict.lower() == _NONE:
        return _NONE
    return verdict if len(verdict) == 1 and verdict in LETTERS[: len(question.options)] else None


def _parsed(question: Question, verdict: str | None, reply: Reply, guesses: random.Random | None) -> Parsed:
    if question.split == "free-form":
        if verdict is not None:
            return Parsed(verdict, float(verdict), reply.text)
        if guesses is None:
            return Parsed(None, 0.0, reply.text)
        score = 0.0 if reply.finish_reason == "content_filter" else round(guesses.random(), 1)
        return Parsed(None, score, f"[[{score}]]")
    if verdict is not None and verdict != _NONE:
        index = LETTERS.index(verdict)
        return Parsed(question.options[index], float(index == question.right), reply.text)
    if guesses is None:
        return Parsed(None, 0.0, reply.text)
    letter = guesses.choice(LETTERS[: len(question.options)])
    return Parsed(None, float(LETTERS.index(letter) == question.right), f"[[{letter}]]")
