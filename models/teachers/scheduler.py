"""Ask a server many things at a pace it bears: as many at once as it takes, again what it put off, and no more than the budget.

Knows nothing of HTTP: an attempt answers a request, or says that it should be made again.
"""

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from data_contracts.errors import PlumblineError
from models.journal import Reply, Request
from models.teacher import Keep
from models.teachers.budget import Allowance

TRIES = 6  # of one request that meets timeouts, lost connections or HTTP 5xx
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds: doubled from try to try
PATIENCE = 600.0  # seconds without any answer from a server that puts everything off (HTTP 429)
LONGEST_PAUSE = 300.0  # seconds: a server that wants more is asked another day
_spread = random.Random()  # its own: vLLM seeds the common one, so that runs side by side would come back in step


@dataclass(frozen=True)
class Again:
    """The server may answer later: after `wait` seconds where it said so. `error` is what to raise when patience ends."""

    error: PlumblineError
    wait: float | None = None
    throttled: bool = False


@dataclass(frozen=True, order=True)
class _Job:
    at: float  # seconds on the loop's clock: not before
    number: int  # first come, first served
    tries: int
    request: Request


class Pace:
    """How many requests may be under way, between 1 and `most`: one more for each round of answers, half for a refusal.

    Additive increase, multiplicative decrease (Chiu and Jain 1989). Refusals of requests that were sent before the last cut say
    nothing new and cut nothing. `resumes_at`: nothing is sent before, in seconds on the loop's clock; a server that says a short
    time again and again without an answer in between is left alone longer each time.
    """

    def __init__(self, most: int) -> None:
        self._most, self._limit, self._cut_at, self._cuts = most, float(most), -1.0, 0
        self.resumes_at = 0.0

    @property
    def limit(self) -> int:
        return int(self._limit)

    def answered(self) -> None:
        self._limit, self._cuts = min(self._most, self._limit + 1 / self._limit), 0

    def refused(self, sent: float, now: float, wait: float | None) -> None:
        """`wait`: the seconds that the server asked for, if it did."""
        if sent > self._cut_at:
            self._limit, self._cut_at, self._cuts = max(1.0, self._limit / 2), now, self._cuts + 1
        first = wait is not None and self._cuts == 1
        self.resumes_at = max(self.resumes_at, now + (wait or 0.0), 0.0 if first else now + backoff(self._cuts - 1))


async def ask_all(
    requests: Sequence[Request],
    attempt: Callable[[Request], Awaitable[Reply | Again]],
    concurrency: int,
    allowance: Allowance,
    keep: Keep,
) -> None:
    """`keep` gets the reply to every request the moment it is there.

    Raises PlumblineError if an attempt does, if the server puts off too long, or if the budget ends. Whatever ends it, Ctrl-C
    too, the requests under way are paid for: their replies are waited for and kept, and nothing new is started.
    """
    clock, pace = asyncio.get_running_loop().time, Pace(concurrency)
    waiting = [_Job(0.0, number, 0, request) for number, request in enumerate(requests)]  # a heap
    running: dict[asyncio.Future[Reply | Again], tuple[_Job, float]] = {}
    last_answer = clock()
    try:
        while waiting or running:
            now, broke = clock(), False
            while waiting and max(waiting[0].at, pace.resumes_at) <= now and len(running) < pace.limit and not broke:
                if broke := not allowance.reserve(waiting[0].request):
                    break
                job = heapq.heappop(waiting)
                running[asyncio.ensure_future(attempt(job.request))] = (job, now)
            if broke and not running:
                raise allowance.refusal(len(waiting))
            idle = waiting and not broke and len(running) < pace.limit
            timeout = max(waiting[0].at, pace.resumes_at) - now if idle else None
            if not running:
                await asyncio.sleep(timeout or 0)
                continue
            done, _ = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            now = clock()
            for future in done:
                answer = future.result()
                job, sent = running.pop(future)
                if isinstance(answer, Reply):
                    keep([(job.request, answer)])
                    allowance.settle(job.request, answer)
                    pace.answered()
                    last_answer = now
                else:
                    allowance.settle(job.request, None)
                    heapq.heappush(waiting, _again(job, answer, now, now - last_answer))
                    if answer.throttled:
                        pace.refused(sent, now, answer.wait)
    finally:
        if running:
            await asyncio.wait(running)
            late = [(job.request, f.result()) for f, (job, _) in running.items() if not f.cancelled() and not f.exception()]
            keep([(request, answer) for request, answer in late if isinstance(answer, Reply)])


def backoff(tries: int) -> float:
    """Seconds, doubling from try to try, spread so that not all come back at once."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(tries, 20)) * _spread.uniform(0.5, 1.0)


def _again(job: _Job, answer: Again, now: float, silence: float) -> _Job:
    """The job put off, or its error raised. A server that puts off but answers others in between is worth waiting for."""
    hopeless = silence > PATIENCE if answer.throttled else job.tries + 1 >= TRIES
    if hopeless or (answer.wait or 0.0) > LONGEST_PAUSE:
        raise answer.error
    wait = answer.wait or 0.0 if answer.throttled else max(answer.wait or 0.0, backoff(job.tries))  # Pace has the rest
    return _Job(now + wait, job.number, job.tries + 1, job.request)
