"""What servers tell of a first token's candidates becomes the probabilities of a judge's words, and nothing else does."""

import json
import math
from pathlib import Path

import pytest

from data_contracts.errors import PlumblineError
from models.engine import quiet
from models.journal import Reply
from models.teacher import Teacher, metered
from models.teachers.http import reply_in
from models.teachers.weigh import read_weights, weigh

ASKED = [[{"role": "user", "content": "A or B?"}]]


def body(choice):
    return {"choices": [{"message": {"content": "A"}, "finish_reason": "length", **choice}]}


def chat(candidates, tokens=1):
    top = [{"token": token, "logprob": logp, "bytes": None} for token, logp in candidates]
    return {"logprobs": {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": top}] * tokens}}


def test_spellings_of_one_choice_add_up_and_the_rest_is_passed_over():
    candidates = [("A", math.log(0.5)), (" a", math.log(0.1)), ("B", math.log(0.25)), ("Answer", math.log(0.1))]
    weights = read_weights(reply_in(body(chat(candidates))).text, ("A", "B", "tie"))
    assert weights == pytest.approx([math.log(0.6), math.log(0.25), -math.inf])


def test_the_older_interface_says_the_same():
    reply = reply_in(
        {"choices": [{"text": "A", "logprobs": {"top_logprobs": [{"A": -0.5, "B": -1.0}]}, "finish_reason": "length"}]}
    )
    assert read_weights(reply.text, ("B", "A")) == pytest.approx([-1.0, -0.5])


@pytest.mark.parametrize(
    "choice",
    [
        *({}, {"logprobs": None}, {"logprobs": []}, {"logprobs": {"content": None}}, {"logprobs": {"content": [3]}}),
        *(chat([("A", 0)], 2), chat([("A", "x"), (4, 0.0)]), {"logprobs": {"content": [{"top_logprobs": "A"}]}}),
        chat([("A", -(10**400))]),
    ],
)
def test_what_is_no_single_token_with_candidates_is_a_reply_like_any_other(choice):
    assert reply_in(body(choice)).text == "A"


@pytest.mark.parametrize(
    "text", ["", "A", "[1]", "{", '{"B": -1}', '{"A": "x"}', json.dumps({"a b": 0.0}), json.dumps({"A": -(10**400)})]
)
def test_a_choice_that_nobody_named_has_no_probability(text):
    assert read_weights(text, ("A",)) == [-math.inf]


def test_a_peek_is_metered_like_any_call_and_a_teacher_without_is_told():
    def peek(conversations, sampling, seed, progress):
        assert sampling.max_tokens == 1
        return [Reply('{"A": -0.7}', "length", 10, 1, 0.5) for _ in conversations]

    asked, usage = metered(Teacher("server", lambda *_: [], peek=peek))
    assert weigh(asked, ASKED, ("A",), quiet) == [[pytest.approx(-0.7)]]
    assert usage(Path("stage"))["calls"] == 1
    with pytest.raises(PlumblineError, match="gives none: use text"):
        weigh(Teacher("server", lambda *_: []), ASKED, ("A",), quiet)
