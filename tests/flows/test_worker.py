"""The worker waits for its server as long as it takes: Prefect's own gives up after a quarter of an hour."""

import subprocess
import sys

from tests.end_to_end.command import ROOT

SCRIPT = """
import asyncio, sys
import httpx
from prefect.workers import process
from prefect._internal import observers
from flows.worker import be_patient

class Gone(Exception):
    "Neither a refused connection nor an error of the server: what ends the loop here."

async def ask():
    asked.append(1)
    if len(asked) == 3200:  # at the worker's pace more than half a day
        return
    if len(asked) > 3200:
        raise Gone
    raise httpx.ConnectError("away")

if "patient" in sys.argv:
    be_patient()
for module in (process, observers):
    asked, told = [], []
    try:
        options = {"jitter_range": 0.3, "backoff": 4, "printer": lambda text="": told.append(text)}
        asyncio.run(module.critical_service_loop(workload=ask, interval=0.0001, **options))
    except (Gone, RuntimeError, OverflowError) as error:
        print(type(error).__name__)
print(told[0])
print(told[-1])
print(max(len(text.splitlines()) for text in told))
"""


def _told(how: str) -> list[str]:
    ran = subprocess.run([sys.executable, "-c", SCRIPT, how], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_a_worker_does_not_give_up_a_server_that_is_away_and_says_so_in_lines() -> None:
    why = "Prefect's server does not answer as it should (httpx.ConnectError: away): it is asked until it does"
    assert _told("patient") == ["Gone", "Gone", why, "Prefect's server answers again", "1"]


def test_one_that_is_not_patient_does() -> None:
    assert _told("as it is")[:2] == ["RuntimeError", "RuntimeError"]
