"""A teacher's server is tried once, unpaid: who is away or refuses the key is told, and nothing else is held against anybody."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from data_contracts.config_teacher import OpenAITeacher
from data_contracts.errors import PlumblineError
from models.teachers import reach as module
from models.teachers.reach import reach
from tests.models.chat_server import dripping, refuses, serving

SECRET = "sk-very-secret-0123456789"
Answer = tuple[int, Any]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", SECRET)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def at(address: str) -> OpenAITeacher:
    return OpenAITeacher(kind="openai", base_url=address, model="big", api_key_env="TEACHER_KEY")


def lists(*names: str) -> Answer:
    return 200, {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}


def tried(listing: Answer, empty: Answer = (400, {})) -> tuple[str | None, list[Any], list[Any]]:
    with serving(lambda request: empty, lambda: listing) as (address, requests, headers):
        return reach(at(address)), requests, headers


def test_a_server_that_lists_the_model_is_asked_once_and_pays_nothing() -> None:
    for names in (("small", "big"), ("models/big",), ()):
        doubt, requests, headers = tried(lists(*names))
        assert (doubt, requests, headers) == (None, [], [("/v1/models", f"Bearer {SECRET}")])


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_told_by_its_variable_and_not_repeated(status: int) -> None:
    with pytest.raises(PlumblineError) as told:
        tried(refuses(status, f"Incorrect API key: {SECRET}"), refuses(status, f"Incorrect API key: {SECRET}"))
    said = str(told.value)
    assert "TEACHER_KEY" in said and "teacher.api_key_env" in said and str(status) in said
    assert SECRET not in said and "\n" not in said


def test_a_key_that_may_only_not_list_models_passes() -> None:
    doubt, requests, _ = tried(refuses(403, "Missing scopes: api.model.read"), refuses(400, "model is missing"))
    assert doubt is None and requests == [{}]  # an empty request: nothing that could be answered, or billed


def test_a_key_that_is_refused_where_there_is_no_list_is_told() -> None:
    with pytest.raises(PlumblineError, match="TEACHER_KEY"):
        tried(refuses(404, "no such place"), refuses(401, "who are you?"))


@pytest.mark.parametrize(
    "listing", [refuses(429, "slow down"), refuses(500, "oops"), (200, "<html>hello</html>"), (200, {"data": "?"}), (204, "")]
)
def test_what_else_a_server_answers_is_no_proof(listing: Answer) -> None:
    doubt, requests, headers = tried(listing)
    assert doubt is None and requests == [] and len(headers) == 1  # and nothing is tried again


def test_a_server_without_a_list_passes() -> None:
    assert tried(refuses(404, "no such place"))[0] is None


def test_an_address_below_which_there_is_nothing_is_doubted() -> None:
    doubt = tried(refuses(404, "no such place"), refuses(404, "no such place"))[0]
    assert doubt is not None and "teacher.base_url" in doubt and "/v1" in doubt


def test_a_model_that_is_not_listed_is_doubted_with_what_is_there() -> None:
    doubt = tried(lists("bigger", "other", "\x1b[2Jbig-2"))[0]
    assert doubt is not None and "'big'" in doubt and "'bigger'" in doubt and "\x1b" not in doubt


def test_nobody_there_is_told_by_the_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    with pytest.raises(PlumblineError, match=r"cannot be reached .*teacher\.base_url"):
        reach(at(address))


@contextmanager
def listener(then: Callable[[socket.socket], None]) -> Iterator[str]:
    """Takes one connection, whatever is asked there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = threading.Thread(target=lambda: then(server.accept()[0]), daemon=True)
        taken.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"


def test_somebody_who_is_slow_or_breaks_off_is_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    held = []
    with listener(held.append) as address:
        assert reach(at(address)) is None
    with listener(lambda connection: connection.close()) as address:
        assert reach(at(address)) is None
    with dripping() as address:
        assert reach(at(address)) is None


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_server_that_sends_elsewhere_is_told_and_not_followed(status: int) -> None:
    with serving(lambda _: (200, {}), lambda: lists("big")) as (other, _, headers):
        moved = (status, "", ("location", f"{other}/models"))
        with serving(lambda _: (400, {}), lambda: moved) as (address, _, _), pytest.raises(PlumblineError) as told:
            reach(at(address))
    assert "sends to another address (http://127.0.0.1" in str(told.value) and headers == []


@pytest.mark.parametrize("secret", ["sk-smart”quote", "sk-one\nsk-two"])
def test_a_key_that_no_request_can_carry_is_told_without_it(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("TEACHER_KEY", secret)
    with pytest.raises(PlumblineError, match="TEACHER_KEY") as told:
        reach(at("http://127.0.0.1:9/v1"))
    assert "sk-" not in str(told.value)
