"""The worker waits for its server as long as it takes: Prefect's own gives up after a quarter of an hour."""

import subprocess
import sys

import pytest

from tests.end_to_end.command import ROOT

SCRIPT = """
import asyncio, sys
import httpx
from prefect.workers import process
from prefect._internal import observers
from flows.worker import be_patient

class Back(Exception):
    "Neither a refused connection nor an error of the server: what ends the loop here."

async def ask():
    asked.append(1)
    if len(asked) > 40:
        raise Back
    raise httpx.ConnectError("away")

if "patient" in sys.argv:
    be_patient()
for module in (process, observers):
    asked = []
    try:
        asyncio.run(module.critical_service_loop(workload=ask, interval=0.001, jitter_range=0.3, backoff=4, printer=str))
    except (Back, RuntimeError) as error:
        print(type(error).__name__)
"""


@pytest.mark.parametrize(("how", "ended"), [("patient", "Back"), ("as it is", "RuntimeError")])
def test_a_worker_does_not_give_up_a_server_that_is_away(how: str, ended: str) -> None:
    told = subprocess.run([sys.executable, "-c", SCRIPT, how], cwd=ROOT, capture_output=True, text=True)
    assert told.stdout.split() == [ended] * 2, told.stderr
