"""Checkpoints and other files that are either whole or not there."""

import io
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from kdtrain.errors import InputError

KEPT = 2
_NAME = re.compile(r"epoch-(\d+)\.pt$")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old content or the new, no part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def check_writable(folder: Path) -> None:
    """Make a folder and prove that it takes a file.

    Raises:
        InputError: If it does not.
    """
    probe = folder / f".probe.{os.getpid()}"
    try:
        write_atomically(probe, b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror or error}; make room or choose another folder"
        ) from error


def save_checkpoint(folder: Path, epoch: int, state: dict[str, Any]) -> None:
    """Save the state after `epoch` epochs, and keep the last two."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(_path(folder, epoch), buffer.getvalue())
    for old in _epochs(folder)[:-KEPT]:
        _path(folder, old).unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest state in a folder, on the CPU; none where there is none. Removes half-written files.

    Raises:
        InputError: If the newest checkpoint is damaged.
    """
    for left in folder.glob(".*.tmp"):
        left.unlink(missing_ok=True)
    epochs = _epochs(folder)
    if not epochs:
        return None
    path = _path(folder, epochs[-1])
    try:
        with zipfile.ZipFile(path) as archive:
            if (part := archive.testzip()) is not None:  # torch.load does not look at the checksums
                raise zipfile.BadZipFile(part)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        before = f"go on from epoch {epochs[-2]}" if len(epochs) > 1 else "start this run again"
        raise InputError(f"checkpoint {path} is damaged ({type(error).__name__}); delete it to {before}") from error
    return state


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:05d}.pt"


def _epochs(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return sorted(int(match[1]) for path in folder.iterdir() if (match := _NAME.match(path.name)))
