"""Checkpoints and other files that are either whole or not there."""

import contextlib
import io
import logging
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from kdtrain.errors import DamagedError, StorageError, refused

KEPT = 2
_NAME = re.compile(r"epoch-(\d+)(?:-step-(\d+))?\.pt$")
_log = logging.getLogger(__name__)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old content or the new, no part.

    Raises:
        StorageError: If the disk does not take it; the old content stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise refused(path, error) from error


def check_writable(folder: Path) -> None:
    """Make a folder and prove that it takes a file.

    Raises:
        StorageError: If it does not.
    """
    probe = folder / f".probe.{os.getpid()}"
    try:
        write_atomically(probe, b"\0" * 4096)
        probe.unlink()
    except (StorageError, OSError) as error:
        cause = error.__cause__ if isinstance(error, StorageError) else error
        reason = getattr(cause, "strerror", None) or cause
        raise StorageError(f"cannot write to {folder}: {reason}; make room or choose another folder") from error


def save_checkpoint(folder: Path, epoch: int, state: dict[str, Any], step: int = 0) -> None:
    """Save the state after `epoch` whole epochs and `step` steps of the next, and keep the last two.

    `epoch-00003.pt` is older than `epoch-00003-step-00012.pt`, and that is older than `epoch-00004.pt`.

    Raises:
        StorageError: If the disk does not take it; the older checkpoints stay.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    middle = f"-step-{step:05d}" if step else ""
    write_atomically(folder / f"epoch-{epoch:05d}{middle}.pt", buffer.getvalue())
    for old in _oldest_first(folder)[:-KEPT]:
        with contextlib.suppress(OSError):
            old.unlink()


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest whole state in a folder, on the CPU; none where there is no checkpoint.

    Removes half-written files. A damaged checkpoint that is newer than the one returned is put aside under another
    name, with a warning in the log.

    Raises:
        DamagedError: If there are checkpoints, but all of them are damaged.
    """
    for left in folder.glob(".*.tmp"):
        left.unlink(missing_ok=True)
    damaged: dict[Path, str] = {}
    for path in reversed(_oldest_first(folder)):
        try:
            state = _load(path)
        except Exception as error:
            damaged[path] = type(error).__name__
            continue
        for bad, kind in damaged.items():
            _log.warning("checkpoint %s is damaged (%s); going on from %s", bad, kind, path.name)
            with contextlib.suppress(OSError):
                bad.rename(bad.with_name(f"{bad.name}.damaged"))
        return state
    if damaged:
        path, kind = next(iter(damaged.items()))
        what = "it" if len(damaged) == 1 else "this and the older one, which is damaged, too,"
        raise DamagedError(f"checkpoint {path} is damaged ({kind}); delete {what} to start this run again")
    return None


def _load(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        if (part := archive.testzip()) is not None:  # torch.load does not look at the checksums
            raise zipfile.BadZipFile(part)
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _oldest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [(match, path) for path in folder.iterdir() if (match := _NAME.match(path.name))]
    return [path for match, path in sorted(found, key=lambda pair: (int(pair[0][1]), int(pair[0][2] or 0)))]
