"""Server processes: started in a group of their own, recognised by more than a number, ended with everything they started."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from models.parent import die_with_parent

_STOP_SECONDS = 10
_NICE = 10  # the stages come first


@dataclass(frozen=True)
class Process:
    """A process group by its leader's number, when that began (clock ticks since boot) and which boot: numbers are used again."""

    pid: int
    began: int
    boot: str


def start(
    command: Sequence[str], environment: Mapping[str, str], log: Path, cwd: Path | None = None
) -> "subprocess.Popen[bytes]":
    """Start `command` in its own session, its output appended to `log`."""
    with log.open("ab") as sink:
        return subprocess.Popen(
            command, env=environment, cwd=cwd, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        )


def start_bound(command: Sequence[str], environment: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    """Like `start`, for a server that must not outlive this process, nor hold it up where cores are few.

    A group, and no session: Linux shares processors out among sessions first, and niceness counts only within one (autogroups,
    sched(7)).
    """
    with log.open("ab") as sink:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            process_group=0,
            preexec_fn=_serve_parent,
        )


def identify(pid: int) -> Process:
    return Process(pid, int(_stat(pid)[19]), Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())


def members(process: Process) -> list[int]:
    """Live processes of the group; none if its number belongs to somebody else by now."""
    if process.boot != Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip():
        return []
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(entry.name))
        if len(fields) > 19 and fields[2] == str(process.pid) and fields[0] != "Z":
            if entry.name == str(process.pid) and int(fields[19]) != process.began:
                return []
            found.append(int(entry.name))
    return found


def stop(process: Process) -> None:
    """End the whole group: politely, then surely. Returns when nothing of it is left."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _STOP_SECONDS
        if members(process):
            with suppress(ProcessLookupError):  # it has just ended
                os.killpg(process.pid, sign)
        while members(process) and time.monotonic() < deadline:
            time.sleep(0.05)


def listens(process: Process, port: int) -> bool:
    """Whether a process of the group, and not somebody else, has `port` of loopback."""
    table = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    ours = {f"socket:[{row[9]}]" for row in table if row[1] == f"0100007F:{port:04X}" and row[3] == "0A"}  # 0A: it listens
    return any(_target(handle) in ours for pid in members(process) for handle in Path(f"/proc/{pid}/fd").glob("*"))


def answers(url: str) -> bool:
    """Whether a GET of `url` gives 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except (OSError, ValueError):  # no answer, or no address at all
        return False


def free_port(wanted: int = 0) -> int:
    """`wanted` if nobody listens there on loopback, else a port that is free."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was closed a second ago is free
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on loopback")


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on (proc(5) counts it as the third); empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _target(handle: Path) -> str:
    with suppress(OSError):  # it has just been closed
        return os.readlink(handle)
    return ""


def _serve_parent() -> None:
    die_with_parent()
    os.nice(_NICE)
