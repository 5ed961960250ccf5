"""The identifiers in braces that give prompts and replies their structure, e.g. `{corrected_student_solution}`.

One pattern serves both sides: whatever a parser would take for an identifier is disarmed in text that goes into a prompt.
"""

import re

IDENTIFIERS = (
    *("task", "student_solution", "teacher_reasoning", "corrected_student_solution", "answer_a", "answer_b", "preferred"),
    *("judging_criteria", "given_answer", "final_score", "list_of_points", "point_to_check", "point_[0-9]{1,3}"),
    *("answer_[0-9]{1,3}", "final_ranking", "chosen_criterion", "new_principle"),
)
FLAGS = re.IGNORECASE | re.ASCII  # ASCII: no look-alike letter folds into one of ours


def spelled(name: str) -> str:
    """Pattern of an identifier's words however they are joined: `Corrected Student Solution`, `corrected-student-solution`."""
    return name.replace("_", "[ _-]?")


def braced(name: str) -> str:
    """Pattern of an identifier in braces, as teachers write it: inner spaces and doubled braces occur."""
    return r"\{{1,2}[ \t]*" + spelled(name) + r"[ \t]*\}{1,2}"


# `{task}` is an everyday placeholder in code and opens a section only before a colon, so it is disarmed only there
_ARMED = re.compile("|".join(braced(n) + (r"(?=[ \t*_`]*:)" if n == "task" else "") for n in IDENTIFIERS), FLAGS)


def disarm(text: str) -> str:
    """The text with identifiers in parentheses instead of braces, so that it cannot forge the structure of a prompt."""
    return _ARMED.sub(lambda m: "(" + m[0].strip("{} \t") + ")", text)
