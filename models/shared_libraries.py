"""Shared libraries that vLLM's wheel for CPUs takes from the system: without them it starts for a minute, and fails in riddles."""

from ctypes import CDLL

from data_contracts.errors import PlumblineError
from models.gpus import visible

NEEDED = {"libnuma.so.1": "libnuma1 on Debian and Ubuntu, numactl-libs on Fedora"}


def check_libraries() -> None:
    """Raises PlumblineError where the machine lacks one; imports no vLLM."""
    for library, package in {} if visible() else NEEDED.items():
        try:
            CDLL(library)
        except OSError:
            raise PlumblineError(f"vLLM needs {library}, which this machine does not have: install it ({package})") from None
