"""What a folder is: a sweep, a training or a teacher. No command writes into a folder of another kind than it makes."""

from enum import StrEnum

from kdtrain.errors import InputError
from sweeps.store.store import Store

TRIALS = "trials"
"""The folder of a sweep in which its trainings lie, each in a folder of its own."""


class FolderKind(StrEnum):
    """The kinds of folders, in words."""

    SWEEP = "a sweep"
    TRAINING = "a training"
    TEACHER = "a teacher"


_MARKS = {
    FolderKind.SWEEP: ("ledger/",),
    FolderKind.TRAINING: ("config.json", "result.json"),
    FolderKind.TEACHER: ("model.json", "fit/"),
}
"""Files and folders of which a folder of the kind has at least one."""


def kinds_of(store: Store) -> list[FolderKind]:
    """What a folder holds; nothing if it is new or holds none of our files."""
    return [kind for kind, marks in _MARKS.items() if any(_has(store, mark) for mark in marks)]


def require_kind(store: Store, kind: FolderKind) -> None:
    """Check that a folder is new, or of a kind.

    Raises:
        InputError: If it is of another kind.
    """
    if (kinds := kinds_of(store)) and kind not in kinds:
        raise InputError(f"--dir: {store} holds {kinds[0]} and cannot become {kind}; give another folder")


def _has(store: Store, mark: str) -> bool:
    return bool(store.names(mark.rstrip("/"))) if mark.endswith("/") else store.exists(mark)
