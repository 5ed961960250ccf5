"""Options that name where a command writes: asked before it works whether that is possible."""

import os
from pathlib import Path
from typing import Any

import typer

from data_contracts.errors import PlumblineError


def to_file(help: str) -> Any:
    return typer.Option(help=help, callback=file_can_be)


def to_folder(help: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, callback=folder_can_be, **more)


def file_can_be(path: Path | None) -> Path | None:
    """Raises PlumblineError if no file can be made at `path`, whose folders need not be there yet."""
    if path is not None and path.is_dir():
        raise PlumblineError(f"{path} is a folder: name a file to write")
    return _below_a_folder(path)


def folder_can_be(path: Path | None) -> Path | None:
    """Raises PlumblineError if no folder can be made at `path`, or nothing be written to the one that is there."""
    if path is not None and path.exists() and not path.is_dir():
        raise PlumblineError(f"{path} is a file: name a folder to write to")
    return _below_a_folder(path)


def _below_a_folder(path: Path | None) -> Path | None:
    if path is not None:
        place = path.absolute()
        above = next(p for p in (place, *place.parents) if p.exists())
        if above.is_file() and above != place:
            raise PlumblineError(f"{path} cannot be written, since {above} is a file: name another place")
        if not os.access(above, os.W_OK):
            raise PlumblineError(f"{path} cannot be written, since {above} may not be changed: name another place")
    return path
