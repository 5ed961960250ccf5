"""Does a revision say that it is one? Then the policy would learn to talk about a student and a correction nobody mentioned.

Each family of phrases has an excuse: words which, when the task or the original answer has them, make the phrase ordinary (a
task that asks for a correction may be answered by "the corrected sentence"). Three of twenty real GPT-4 revisions leak.
"""

import re

_WORK = (
    r"(?:version|solution|answer|response|approach|explanation|reply|calculation|reasoning|program|code|text|sentence|paragraph)"
)
_DONE = r"(?:revised|corrected|rewritten|improved|amended|edited|reworked|worsened|degraded)"
_HERE = r"(?:this|my|here['’]s (?:a|the|my)|here is (?:a|the|my)|below is (?:a|the))"
_ASKED = (
    r"\b(?:correct(?:ed|ions?|ing)\b|correct (?:the|this|my|any|all)\b"
    r"|revis|rewrit|proofread|edit|fix|debug|improv|rephras|paraphras)"
)
_SCHOOL = r"student|pupil|learner|school|class|college|universit|teach|lesson|course|exam"
_EARLIER = r"\b(?:original|previous|initial|earlier)\b"
_IDENTIFIERS = r"student[ _]solution|teacher[ _]reasoning|\{task\}"

# (phrase, excuse)
_FAMILIES = tuple(
    (re.compile(phrase, re.IGNORECASE), re.compile(excuse, re.IGNORECASE))
    for phrase, excuse in (
        (_IDENTIFIERS, _IDENTIFIERS),
        (r"\bthe (?:original )?students?\b", _SCHOOL),
        (r"\bstudents?['’]s? (?:original )?(?:answer|solution|response|work|attempt|mistake)", _SCHOOL),
        (rf"\bcorrected (?:(?:and|but|yet) \w+ |student )?{_WORK}\b", _ASKED),
        # "a revised version of the treaty" is ordinary prose; "this revised version" and "Revised answer:" are not
        (rf"\b{_HERE} {_DONE} (?:(?:and|but) \w+ )?{_WORK}\b", _ASKED),
        (rf"(?:^|\n)\W*{_DONE} {_WORK}\W*[:\n]", _ASKED),
        (r"\b(?:this|my|the above) (?:revision|correction)\b|\bin (?:this|the) revision\b", _ASKED),
        (rf"\bI(?:['’]ve| have)? (?:also )?{_DONE} (?:the|your|this) {_WORK}\b", _ASKED),
        (rf"\b(?:the|this) {_WORK} (?:has been|was) {_DONE}\b", _ASKED),
        (r"\bthe (?:original|previous|initial|earlier) (?:answer|solution|response|attempt)\b", _EARLIER),
    )
)


def leaks(revision: str, task: str, original: str) -> bool:
    """Whether `revision` betrays that it revises something, in words that neither the task nor the original answer explains."""
    return any(
        phrase.search(revision) and not excuse.search(task) and not excuse.search(original) for phrase, excuse in _FAMILIES
    )
