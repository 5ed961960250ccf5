"""What the terminal shows while a run works: a live bar on a terminal, plain lines elsewhere.

Everything that the libraries print goes to the run's log: `quiet_libraries` points file descriptors 1 and 2 there, below Python,
because engines and servers also write from native code.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

from flows.pace import Pace, speed
from models.training.progress import Progress as Report

_BROAD = 100  # columns from which on a bar has room
_WIDE = 120  # columns where nobody's terminal says: in a log a table should not wrap


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Nobody reads any more (a worker that was killed, say): no reason to stop a round, as Rich would."""
        self.quiet = True


def _make_console(stream: IO[str] | None = None) -> Console:
    """On `stream`, or on whatever standard output is at the time of printing."""
    return _Console(file=stream, highlight=False, width=None if (stream or sys.stdout).isatty() else _WIDE)


_console = _make_console()


def console() -> Console:
    return _console


@contextmanager
def quiet_libraries(log: Path) -> Iterator[None]:
    """Inside, only `console()` reaches the terminal; all other output is appended to `log`."""
    global _console
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    terminal: IO[str] = os.fdopen(os.dup(1), "w", buffering=1, encoding=sys.stdout.encoding, errors="replace")
    before, _console = _console, _make_console(terminal)
    with log.open("a", encoding="utf-8") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])
            _console = before
            with suppress(BrokenPipeError):  # what nobody read is still to be written
                terminal.close()


@contextmanager
def working(label: str) -> Iterator[Report]:
    """Show that `label` is being worked on. Yields the function that takes what is done, all there is, and training's speed."""
    out = _console
    begin = time.monotonic()
    if not out.is_terminal:
        yield _lines(out, label)
        out.print(f"{label}  {time.monotonic() - begin:.1f} s")
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        *([BarColumn(24)] if out.width >= _BROAD else []),  # numbers say more than a bar where not both have room
        TextColumn("{task.fields[done]}"),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        Remaining(),
    )
    # what a library prints meanwhile goes to the log: Rich would show it above the bar
    with Progress(*columns, console=out, transient=True, redirect_stdout=False, redirect_stderr=False) as bars:
        bar: TaskID = bars.add_task(label, total=None, done="", speed="")

        def report(done: int, total: int, tokens_per_second: float | None = None, /) -> None:
            count, rate = f"{done:,} of {total:,}", "".join(speed(tokens_per_second))
            bars.update(bar, completed=done, total=total, done=count, speed=rate)

        yield report
    out.print(f"[green]✓[/] {label}  [dim]{time.monotonic() - begin:.1f} s[/]")


def _lines(out: Console, label: str) -> Report:
    last, pace = time.monotonic(), Pace()

    def report(done: int, total: int, tokens_per_second: float | None = None, /) -> None:
        nonlocal last
        words = pace.words(done, total, tokens_per_second)
        if time.monotonic() - last > 5:
            last = time.monotonic()
            out.print(f"{label}  {words}")

    return report
