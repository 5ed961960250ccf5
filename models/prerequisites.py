"""What the machine itself must have, asked before anything is installed or started.

vLLM compiles kernels when it first starts, and its wheel for CPUs takes a library from the system: without them it works for a
minute and fails in riddles. `python -m models.prerequisites cpu|cuda` is the Makefile's first question, so nothing beyond the
standard library is imported here.
"""

import os
import sys
from ctypes import CDLL
from pathlib import Path
from shutil import which
from sysconfig import get_path

from data_contracts.errors import PlumblineError

COMPILERS = {"cpu": ("CXX", "g++"), "cuda": ("CC", "gcc", "clang")}  # a variable of the environment, or what is found by itself
LIBRARIES = {"cpu": {"libnuma.so.1": "libnuma1"}, "cuda": {}}


def check_machine(backend: str) -> None:
    """`backend` is "cpu" or "cuda", as in the Makefile. Raises PlumblineError for what the machine lacks, all of it at once."""
    if lacking := missing(backend):
        raise PlumblineError(
            f"vLLM needs {', '.join(lacking)}, which this machine does not have: install what is missing "
            f"(on Debian and Ubuntu: apt install {' '.join(lacking.values())})"
        )


def missing(backend: str) -> dict[str, str]:
    """What is not there, and Debian's package that has it."""
    variable, *compilers = COMPILERS[backend]
    lacking = {} if any(map(which, [os.environ.get(variable, ""), *compilers])) else {compilers[0]: compilers[0]}
    if not Path(get_path("include"), "Python.h").exists():
        lacking["Python.h"] = f"python3.{sys.version_info.minor}-dev"
    return lacking | {library: package for library, package in LIBRARIES[backend].items() if not _loads(library)}


def _loads(library: str) -> bool:
    try:
        CDLL(library)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    try:
        check_machine(sys.argv[1])
    except PlumblineError as error:
        sys.exit(f"error: {error}")
