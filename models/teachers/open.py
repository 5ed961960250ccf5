"""From a run's configuration to its teacher and its journal."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.config_teacher import BatchTeacher, LocalTeacher, OpenAITeacher, TeacherConfig, VllmTeacher
from data_contracts.store import write_json
from models.checkpoint import Checkpoint
from models.journal import Journal, find_journal
from models.teacher import Teacher, local_teacher

if TYPE_CHECKING:
    from models.engine import Engine


def open_teacher(
    config: TeacherConfig, run: Path, journal: Journal, checkpoint: Checkpoint | None, engine: Callable[[], "Engine"]
) -> Teacher:
    """`checkpoint` is the model of a local or vLLM teacher; others have none. `engine` is called at the first request.

    Raises PlumblineError if a key is missing.
    """
    if isinstance(config, OpenAITeacher):
        from models.teachers.server import openai_teacher

        return openai_teacher(config, journal)
    if isinstance(config, BatchTeacher):
        from models.teachers.batch import batch_teacher

        return batch_teacher(config, journal, run)
    assert checkpoint is not None
    if isinstance(config, VllmTeacher):
        from models.teachers.vllm import vllm_teacher

        return vllm_teacher(config, checkpoint, journal, run / "logs" / "teacher.log")
    return local_teacher(engine, checkpoint, journal)


def open_journal(config: TeacherConfig, run: Path) -> Journal:
    """The journal of the run in the folder `run`; new calls are paid by this run, which is known there by a random name."""
    path, name = journal_path(config, run), find_journal(run)[1] or secrets.token_hex(8)
    write_json(run / "teacher.json", {"run": name, "journal": os.path.relpath(path, run)})
    return Journal(path, name, getattr(config, "price", None), run)


def journal_path(config: TeacherConfig, run: Path) -> Path:
    """Replies that cost money lie beside the run folders, so that the next run finds them; the others in the run's own."""
    if config.journal is not None:
        return Path(config.journal)
    own = run / "journal.db"
    return own if own.exists() or isinstance(config, (LocalTeacher, VllmTeacher)) else run.parent / "journal.db"
