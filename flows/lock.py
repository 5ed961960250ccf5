"""One process at a time works on a folder of a run or of the servers, by a lock of the file system: it ends with its process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_contracts.errors import BusyError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Raises BusyError if another process has the lock."""
    with (folder / ".lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise BusyError(
                f"another process ({lock.read().strip() or 'unknown'}) is working on {folder}: wait for it or stop it"
            ) from None
        lock.truncate(0)
        lock.write(f"pid {os.getpid()}")
        lock.flush()
        yield


def holder(folder: Path) -> str | None:
    """Who works on `folder` now, if anybody does. It looks the lock up: trying it could be in the way of who just wants it."""
    path = folder / ".lock"
    if not path.exists():
        return None
    inode = str(path.stat().st_ino)
    held = [line.split() for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines() if "FLOCK" in line]
    if not any(field.rpartition(":")[2] == inode for fields in held for field in fields if field.count(":") == 2):
        return None
    return path.read_text(encoding="utf-8").strip() or "another process"
