"""Weight files that whoever may read the files beside them may read, too."""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def save_weights(tensors: "Mapping[str, Tensor]", path: Path) -> None:
    """As safetensors, with the mode that any new file gets there."""
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode
    save_file(dict(tensors), path, {"format": "pt"})
    set_mode(path, mode)


def set_mode(path: Path, mode: int) -> None:
    """safetensors writes for the owner alone, whatever the umask: a colleague, or who serves the model, could not read it."""
    if path.stat().st_mode != mode:  # where all files have one mode, changing it may be refused
        path.chmod(stat.S_IMODE(mode))
