"""Read a teacher's revision: reasoning, then the corrected answer, each behind its identifier.

Pure, so that it can be repeated on the journal. Teachers write the identifiers bare, with a colon, inline, in bold or as a
heading; a reply in which the place of the answer is in doubt is a named failure, never a guess. Dataset kept from it:
CLAIR (arXiv 2408.06266, section 3); the reply forms are those of its authors' published GPT-4 replies.
"""

import re
from dataclasses import dataclass

from models.prompts.identifiers import FLAGS, braced, spelled

FAILURES = {
    "cut": "the reply hit the token limit",
    "refused": "the teacher or its content filter declined",
    "empty_reply": "the reply holds no text",
    "too_long": "the request did not fit into the teacher's context",
    "missing_identifier": "no {corrected_student_solution} (or {worsened_student_solution})",
    "identifier_twice": "more than one {corrected_student_solution}: which one opens the answer is in doubt",
    "wrong_order": "the answer came before the reasoning",
    "template_echo": "the prompt's own structure was repeated",
    "empty_revision": "nothing follows the identifier",
}


@dataclass(frozen=True)
class Revision:
    """`text` is None exactly where `failure` names the reason; `reasoning` is "" where there is none."""

    reasoning: str
    text: str | None
    failure: str | None


# "### ", "2. " or "- " before an identifier; "**", "_" or "`" around it, the colon inside or outside
_LEAD = r"^[ \t]*(?:\#{1,6}[ \t]*|(?:[-*]|\d{1,2}[.)])[ \t]+)?"
_DRESS = r"(?P<dress>\*{1,3}|_{1,2}|`)?"


def _dressed(name: str) -> str:
    return _DRESS + braced(name) + r"[ \t]*(?(dress)(?P<in>:)?(?P=dress)[ \t]*(?P<out>:)?|(?P<bare>:)?)"


def _opener(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?P<lead>{_LEAD})?" + _dressed(name), FLAGS | re.MULTILINE)


def _heading(name: str) -> re.Pattern[str]:
    """The identifier's words as a heading: marked as one, or closed by a colon at the start of a line."""
    words = spelled(name)
    marked = rf"^[ \t]*(?:\#{{1,6}}[ \t]*)(?:\*\*)?{words}[ \t]*:?(?:\*\*)?[ \t]*:?[ \t]*$"
    bold = rf"^[ \t]*(?:\*\*|__){words}(?:[ \t]*:(?:\*\*|__)|(?:\*\*|__)[ \t]*:|(?:\*\*|__)[ \t]*$)"
    plain = rf"^[ \t]*{words}[ \t]*:"
    return re.compile(f"{marked}|{bold}|{plain}", FLAGS | re.MULTILINE)


_BRACED = {
    n: re.compile(braced(n), FLAGS) for n in ("teacher_reasoning", "corrected_student_solution", "student_solution", "task")
}
_OPENERS = {n: _opener(n) for n in _BRACED}
_HEADINGS = {n: _heading(n) for n in ("teacher_reasoning", "corrected_student_solution")}
# what a reasoning model thinks aloud before it replies; a thought without an end has used up the reply
_THOUGHT = re.compile(r"\A<think(?:ing)?>.*?(?:</think(?:ing)?>\s*|\Z)", FLAGS | re.DOTALL)
_REFUSAL = re.compile(r"\W*(?:(?:i['’]?m |i am )?(?:very )?sorry|i can(?:not|['’]t)|i won['’]t|i(?:['’]m| am) unable)\b", FLAGS)


def parse_revision(raw: str, finish_reason: str = "stop", keep_fence: bool = False) -> Revision:
    """The revision in a teacher's reply.

    `keep_fence`: the policy's own answer is one fenced block, so a fence around the revised one belongs to it.
    """
    if finish_reason == "length":
        return Revision("", None, "cut")
    if finish_reason in ("content_filter", "refusal"):
        return Revision("", None, "refused")
    if finish_reason == "too_long":
        return Revision("", None, "too_long")
    reply = _unfence(_THOUGHT.sub("", raw.strip(), count=1))
    if not reply:
        return Revision("", None, "empty_reply")
    if _sections(reply, "task") and _sections(reply, "student_solution"):
        return Revision("", None, "template_echo")
    found = _sections(reply, "corrected_student_solution")
    if len(found) != 1:
        return Revision("", None, "identifier_twice" if found else "refused" if _REFUSAL.match(reply) else "missing_identifier")
    start, end = found[0]
    reasoning, text = _reasoning(reply[:start]), reply[end:].strip()
    if _BRACED["corrected_student_solution"].search(text):
        return Revision(reasoning, None, "identifier_twice")
    if _sections(text, "teacher_reasoning"):
        return Revision(reasoning, None, "template_echo" if reasoning else "wrong_order")
    text = text if keep_fence else _unfence(text)
    return Revision(reasoning, text or None, None if text else "empty_revision")


def _sections(text: str, name: str) -> list[tuple[int, int]]:
    """Start and end of every place where the identifier opens a section, as against being mentioned.

    It opens one at the start of a line or before a colon. If there is no such place in braces, headings are looked for.
    """
    strong, weak = [], []
    for m in _OPENERS[name].finditer(text):
        colon = m["in"] or m["out"] or m["bare"]
        alone = text[m.end() :].split("\n", 1)[0].strip() == ""
        if colon or (alone and m["lead"] is not None):
            strong.append(m.span())
        elif m["lead"] is not None:
            weak.append(m.span())
    if strong or weak:
        return strong or weak
    return [m.span() for m in _HEADINGS[name].finditer(text)] if name in _HEADINGS else []


def _reasoning(before: str) -> str:
    found = _sections(before, "teacher_reasoning")
    return before[found[0][1] if found else 0 :].strip()


def _unfence(text: str) -> str:
    """The inside of a text that is wholly one fenced block of no language, or of plain text or Markdown; else the text.

    A fence of a programming language is part of the answer. Blocks inside are known by the language after their opening fence.
    """
    lines = text.split("\n")
    opening = re.fullmatch(r"(`{3,}|~{3,})[ \t]*(?:text|txt|plaintext|markdown|md)?[ \t]*", lines[0], re.IGNORECASE)
    if not opening or len(lines) < 2:
        return text
    depth = 1
    for i, line in enumerate(lines[1:], 1):
        bare = line.strip()
        if bare.startswith(opening[1]):
            depth += 1 if bare.strip(opening[1][0]) else -1
        if depth == 0:
            return "\n".join(lines[1:i]).strip() if i == len(lines) - 1 else text
    return text
