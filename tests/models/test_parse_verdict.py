"""Verdicts: read where the judge was clear, "unparsed" where it was not."""

import pytest

from models.parse_verdict import parse_verdict

SAID = {
    "{preferred}: A": "first",
    "{preferred}: B": "second",
    "{preferred}: tie": "tie",
    "Both are right, but the second is clear.\n\n{preferred}: B\n": "second",
    "**{preferred}**: A": "first",
    "**{preferred}: B**": "second",
    "**{preferred}:** tie": "tie",
    "`{preferred}`: A": "first",
    "{preferred}: **A**": "first",
    '{preferred}: "B".': "second",
    "{preferred}: (A)": "first",
    "{preferred}: [[B]]": "second",
    "{preferred}: {A}": "first",
    "{preferred}: Answer B is better.": "second",
    "{preferred}: the answer A": "first",
    "{preferred}: a": "first",
    "{preferred}: Tie.": "tie",
    "{preferred}: a tie": "tie",
    "{preferred}: It's a tie between A and B": "tie",
    "{preferred}:\nB": "second",
    "{preferred}\nB": "second",
    "{Preferred}: A": "first",
    "{{preferred}}: A": "first",
    "Preferred: A": "first",
    "### Preferred: B": "second",
    "{preferred}: A\n\nTo repeat, {preferred}: A": "first",
    "I must end with {preferred}: A|B|tie.\nB is right.\n{preferred}: B": "second",
    "The {preferred} answer is right.\n{preferred}: A": "first",
}


@pytest.mark.parametrize("raw", SAID)
def test_clear_verdicts_are_read(raw):
    assert parse_verdict(raw) == SAID[raw]


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "A",
        "A is better than B.",
        "{preferred}:",
        "{preferred}: A|B|tie",
        "{preferred}: A/B/tie",
        "{preferred}: A or B",
        "{preferred}: tie or A",
        "{preferred}: A and B are equally good",
        "{preferred}: neither",
        "{preferred}: both",
        "{preferred}: C",
        "{preferred}: Another one",
        "{preferred}: a better answer would be longer",
        "{preferred}: Because",
        "{preferred}: A\n{preferred}: B",
        "{preferred}: A\n{preferred}: tie",
        "I'm sorry, I can't judge that.",
    ],
)
def test_doubt_is_unparsed(raw):
    assert parse_verdict(raw) == "unparsed"
