"""A private PostgreSQL cluster for one test: Debian's binaries, an own data folder, a free loopback port, a password to lose."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from flows.processes import free_port

PASSWORD = "p@ss/w:rd%41"  # characters that an address, an ini file and a shell each read in their own way


@contextmanager
def cluster() -> Iterator[str]:
    """Yields postgresql://USER:PASSWORD@127.0.0.1:PORT/postgres. Skips where PostgreSQL or a user that may run it is missing."""
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path(shutil.which("initdb") or "/").parent]
    binaries = next((folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    home, port = Path(tempfile.mkdtemp(prefix="plumbline-pg-")), free_port()
    secret = home / "secret"
    secret.write_text(PASSWORD)
    if user:
        for path in (home, secret):
            shutil.chown(path, user)

    def run(*command: str) -> None:
        with (home / "log").open("ab") as log:
            subprocess.run(command, cwd=home, user=user, env={"PATH": os.environ["PATH"]}, stdout=log, stderr=log, check=True)

    try:
        data = str(home / "data")
        access = ["-U", "owner", "-A", "scram-sha-256", "--pwfile", str(secret)]
        run(str(binaries / "initdb"), "-D", data, *access, "-E", "UTF8", "--locale", "C", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={home} -c fsync=off"
        run(str(binaries / "pg_ctl"), "-D", data, "-w", "-o", options, "start")
        try:
            yield f"postgresql://owner:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres"
        finally:
            run(str(binaries / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(home)
