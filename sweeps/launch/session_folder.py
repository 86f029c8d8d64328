"""The folder in which Ray keeps logs and sockets of a cluster that a sweep started: removed at its end, or later."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import ray

from kdtrain.runtime.scratch import held, remove_abandoned

_MARK = "kdsweep"
"""A folder in the session's folder that says who started the cluster, and is held as long as its driver lives."""


@contextlib.contextmanager
def session_folder() -> Iterator[None]:
    """Mark the session of the cluster that was just started, and remove what killed drivers left.

    After the block, in which the cluster must end, its folder is removed, unless by an error: then logs are kept until
    the next start.
    """
    folder = _session()
    if folder is None:
        yield
        return
    for mark in folder.parent.glob(f"session_*/{_MARK}"):
        remove_abandoned(mark.parent, _MARK)
        if not mark.exists():
            shutil.rmtree(mark.parent, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            (folder / _MARK).mkdir()
            stack.enter_context(held(folder / _MARK))
        yield
    shutil.rmtree(folder, ignore_errors=True)


def _session() -> Path | None:
    """The folder of the connected cluster's session; none if this version of Ray does not tell."""
    try:
        folder = Path(ray._private.worker._global_node.get_session_dir_path())
    except AttributeError:
        return None
    return folder if folder.is_dir() else None
