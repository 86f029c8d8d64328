"""Checkpoints of a training: the last two are kept, and a damaged one is passed over."""

import contextlib
import io
import logging
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from kdtrain.errors import DamagedError, StorageError, is_away
from kdtrain.explain import first_line
from kdtrain.runtime.atomic_files import write_atomically

KEPT = 2
"""How many checkpoints a folder keeps."""
StateDict = dict[str, Any]
"""What a checkpoint holds: tensors and plain values, as `torch.save` takes them."""
_NAME = re.compile(r"epoch-(\d+)(?:-step-(\d+))?\.pt$")
_log = logging.getLogger(__name__)


def save_checkpoint(folder: Path, epoch: int, state: StateDict, step: int = 0) -> None:
    """Save the state after `epoch` whole epochs and `step` steps of the next, and keep the last two.

    `epoch-00003.pt` is older than `epoch-00003-step-00012.pt`, and that is older than `epoch-00004.pt`.

    Raises:
        StorageError: If the disk refuses; the older checkpoints stay.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    middle = f"-step-{step:05d}" if step else ""
    write_atomically(folder / f"epoch-{epoch:05d}{middle}.pt", buffer.getvalue())
    for old in _oldest_first(folder)[:-KEPT]:
        with contextlib.suppress(OSError):
            old.unlink()


def load_checkpoint(folder: Path) -> StateDict | None:
    """The newest undamaged state in a folder, on the CPU; None if there is no checkpoint.

    Removes half-written files. Damaged checkpoints that are newer than the returned one are renamed, with a warning in
    the log.

    Raises:
        DamagedError: If there are checkpoints, but all of them are damaged.
    """
    for half_written in folder.glob(".*.tmp"):
        half_written.unlink(missing_ok=True)
    damaged: dict[Path, str] = {}
    for path in reversed(_oldest_first(folder)):
        try:
            state = _load(path)
        except Exception as error:
            if is_away(error):  # the file may be whole
                raise StorageError(f"cannot read {path}: {first_line(error)}; run the same command again") from error
            damaged[path] = type(error).__name__
            continue
        for bad, kind in damaged.items():
            _log.warning("checkpoint %s is damaged (%s); resuming from %s", bad, kind, path.name)
            with contextlib.suppress(OSError):
                bad.rename(bad.with_name(f"{bad.name}.damaged"))
        return state
    if damaged:
        path, kind = next(iter(damaged.items()))
        todo = "it" if len(damaged) == 1 else "this and the older one, which is damaged, too,"
        raise DamagedError(f"checkpoint {path} is damaged ({kind}); delete {todo} to start this run again")
    return None


def _load(path: Path) -> StateDict:
    with zipfile.ZipFile(path) as archive:
        if (part := archive.testzip()) is not None:  # torch.load ignores the checksums
            raise zipfile.BadZipFile(part)
    state: StateDict = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _oldest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    matches = [(match, path) for path in folder.iterdir() if (match := _NAME.match(path.name))]
    return [path for match, path in sorted(matches, key=lambda pair: (int(pair[0][1]), int(pair[0][2] or 0)))]
