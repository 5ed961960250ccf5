"""Benchmarks from the hub, by names such as `hub:MixEval/MixEval/MixEval_Hard` or `hub:org/name/folder@revision`."""

import re
from pathlib import Path

from data_contracts.errors import PlumblineError, in_short
from models.benchmark import split_files

PREFIX = "hub:"
_NAME = re.compile(r"hub:([\w.-]+/[\w.-]+)((?:/[\w.-]+)*)(?:@([\w./-]+))?")


def open_benchmark(reference: str) -> Path:
    """The folder with the benchmark's files: `reference` itself, or a copy of the dataset on the hub that it names.

    What was fetched once is used again without a network. Raises PlumblineError if the name is malformed, if the dataset can
    neither be fetched nor is here, or if it has no such folder.
    """
    if not reference.startswith(PREFIX):
        return Path(reference)
    named = _NAME.fullmatch(reference)
    if named is None:
        raise PlumblineError(
            f"{reference!r} is not the name of a benchmark on the hub: write hub:org/name/folder or hub:org/name/folder@revision"
        )
    repository, inside, revision = named[1], named[2].strip("/"), named[3]
    copy = _fetch(reference, repository, revision)
    if (folder := copy / inside).resolve().is_relative_to(copy.resolve()) and split_files(folder):
        return folder
    there = sorted({p.parent.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file() and split_files(p.parent)})
    raise PlumblineError(
        f"the dataset {repository} holds no benchmark in {inside or 'its top folder'!r}: it has {', '.join(there) or 'none'}"
    )


def _fetch(reference: str, repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.jsonl", "*.parquet"]
    try:
        return Path(snapshot_download(repository, repo_type="dataset", revision=revision, allow_patterns=patterns))
    except LocalEntryNotFoundError:
        raise PlumblineError(
            f"{reference} is not on this machine and the hub cannot be reached: connect once, or name a folder"
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise PlumblineError(f"{reference} could not be fetched from the hub ({in_short(error)}): correct the name") from None
