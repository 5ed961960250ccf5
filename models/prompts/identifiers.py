"""What gives prompts and replies their structure, and how it is disarmed in text that goes into a prompt.

Structure is identifiers in braces, e.g. `{corrected_student_solution}`, rulers around the material, and chat templates' control
tokens, which a server may read as turns wherever they stand. One pattern serves prompts and parsers: whatever a parser would take
for an identifier is disarmed.
"""

import re

IDENTIFIERS = (
    *("task", "student_solution", "teacher_reasoning", "corrected_student_solution", "rubric"),
    *("answer_a", "answer_b", "preferred"),
    *("judging_criteria", "given_answer", "final_score", "list_of_points", "point_to_check", "point_[0-9]{1,3}"),
    *("answer_[0-9]{1,3}", "final_ranking", "chosen_criterion", "new_principle"),
)
FLAGS = re.IGNORECASE | re.ASCII  # ASCII: no look-alike letter folds into one of ours


def spelled(name: str) -> str:
    """Pattern of an identifier's words however they are joined: `Corrected Student Solution`, `corrected-student-solution`.

    A worsened solution stands in the same place of a reply as a corrected one, so one name serves both.
    """
    return name.replace("_", "[ _-]?").replace("corrected", "(?:corrected|worsened)")


def braced(name: str) -> str:
    """Pattern of an identifier in braces, as teachers write it: inner spaces and doubled braces occur."""
    return r"\{{1,2}[ \t]*" + spelled(name) + r"[ \t]*\}{1,2}"


# `{task}` and `{rubric}` are everyday placeholders in code and open a section only before a colon: disarmed only there
_PLACEHOLDERS = ("task", "rubric")
_ARMED = re.compile("|".join(braced(n) + (r"(?=[ \t*_`]*:)" if n in _PLACEHOLDERS else "") for n in IDENTIFIERS), FLAGS)
_BREAK = r"\n\r\x0b\x0c\x85\u2028\u2029"  # whatever somebody may take for the end of a line
_RULER = re.compile(rf"(?<![^{_BREAK}])[ \t]*-{{10,}}[ \t]*(?![^{_BREAK}])")
# ChatML, Llama 3, Phi, Qwen, DeepSeek (full-width bars): <|name|>; Gemma, Llama 2 and Mistral: the rest
_CONTROL = re.compile(
    r"<(?=[|｜][^|｜<>\n]{1,60}[|｜]>|/?s>|(?:start|end)_of_turn>|(?:bos|eos|pad|unk)>|</?SYS>>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS)\])"
)


def disarm(text: str) -> str:
    """The text with everything in it that could forge the structure of a prompt made harmless, and still readable.

    Identifiers get parentheses instead of braces, rulers three dashes, and control tokens a space after their first bracket.
    """
    text = _ARMED.sub(lambda m: "(" + m[0].strip("{} \t") + ")", text)
    return _CONTROL.sub(lambda m: m[0] + " ", _RULER.sub("---", text))
