"""What a model is asked: MixEval's prompts to the character (its `evaluation_prompts.py`), or the question as it stands.

Chat models are asked zero-shot in a user message. Base models continue a text: five answered examples, then the question and a
line break. Upstream's own examples can be given as files; ours stand in models/shots/.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from data_contracts.errors import PlumblineError
from models.benchmark import LETTERS, SPLITS, Question

OUR_SHOTS = Path(__file__).parent / "shots"
_STEP_BY_STEP = ("BBH", "GSM8k", "MATH")  # the names as MixEval spells them


def mixeval_prompt(question: Question) -> str:
    """The model input that MixEval builds for chat models, zero-shot."""
    context = question.context
    nothing = context is None or context.lower() in ("none", "null") or context.replace(" ", "") == ""
    context = "" if nothing else f"{context}\n"
    if question.split == "multiple-choice":
        options = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, question.options, strict=False))
        return f"{context}{question.prompt}\n{options}\nAnswer with the option letter from the given choices directly."
    if question.benchmark in _STEP_BY_STEP:
        how = "Answer the question. \nLet's think step by step."  # the blank before the line break is MixEval's
    else:
        how = "Answer the question shortly."
    return f"Question: {context}{question.prompt}\n{how}"


def plain_prompt(question: Question) -> str:
    """The question as it stands: its options, if any, are part of its text."""
    return question.prompt


def base_prompt(shots: dict[str, str], question: Question) -> str:
    """The text that MixEval has a base model continue; `shots` is what stands before the question, by split."""
    return f"{shots[question.split]}{mixeval_prompt(question)}\n"


def read_shots(folder: Path) -> dict[str, str]:
    """The examples in `free-form.txt` and `multiple-choice.txt`, to the character, line breaks at the end included.

    Raises PlumblineError if a file is missing or is not UTF-8 text.
    """
    shots: dict[str, str] = {}
    for split in SPLITS:
        path = folder / f"{split}.txt"
        try:
            shots[split] = path.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PlumblineError(f"{path} with the answered examples for base models cannot be read ({error}): add it") from None
    return shots


def prompt_builder(style: str, shots: Path | None = None) -> Callable[[Question], str]:
    """How `style` (`mixeval`, `mixeval-base` or `plain`) words a question."""
    if style == "mixeval-base":
        return partial(base_prompt, read_shots(shots or OUR_SHOTS))
    return {"mixeval": mixeval_prompt, "plain": plain_prompt}[style]


def heard(questions: Sequence[Question], prompts: Sequence[str], responses: Sequence[str]) -> list[str]:
    """The part of each response that answers: base models, known by their prompts, go on with questions of their own."""
    return [
        _first_answer(question, response)
        if prompt != (asked := mixeval_prompt(question)) and prompt.endswith(f"{asked}\n")
        else response
        for question, prompt, response in zip(questions, prompts, responses, strict=True)
    ]


def _first_answer(question: Question, response: str) -> str:
    """Up to the next question that the model invented, as upstream cuts; all of it where that leaves nothing to read."""
    end = "\n\n\nQuestion" if question.split == "free-form" else "\n\n"
    answer = response.split(end)[0]
    return answer if any(c.isalnum() for c in answer) else response
