"""Ask what nobody else is asking: claims in a journal, kept alive while they are worked on."""

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from models import journal
from models.journal import Journal, Request


@contextmanager
def claimed(of: Journal, requests: Sequence[Request], most: int) -> Iterator[list[Request]]:
    """At most `most` of `requests`, in their order, that no other process or thread asks or has asked; theirs again at the end.

    A claim is renewed from a thread of its own: if this process is killed, the others take it over after `models.journal.LEASE`.
    """
    owner, over = secrets.token_hex(8), threading.Event()
    mine = of.claim([r.key for r in requests], owner, most)
    if not mine:
        yield []
        return

    def renew() -> None:
        while not over.wait(journal.LEASE / 5):
            of.renew(owner)

    thread = threading.Thread(target=renew, name="journal claims", daemon=True)
    thread.start()
    try:
        yield [r for r in requests if r.key in mine]
    finally:
        over.set()
        thread.join()
        of.release(owner)
