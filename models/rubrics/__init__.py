"""Rubrics that come along, by name; never edited once used (a test pins their hashes)."""

import os
from pathlib import Path

from data_contracts.rubric import Rubric, load_rubric

DEFAULT = "helpful-1"
_FOLDER = Path(__file__).parent


def open_rubric(reference: str | None) -> Rubric:
    """The rubric in a file, or one of those here by name; None is the default. Raises PlumblineError if there is none such."""
    named = _FOLDER / f"{reference or DEFAULT}.yaml"
    return load_rubric(named if named.parent == _FOLDER and os.path.isfile(named) else Path(reference or DEFAULT))
