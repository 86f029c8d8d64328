"""Files that a user names: nothing that is there already is replaced without a word."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdtrain.errors import InputError, StorageError, refused
from kdtrain.runtime.atomic_files import check_writable, write_atomically
from kdtrain.runtime.scratch import scratch_folder

if TYPE_CHECKING:
    from sweeps.store.store import Store

Force = Annotated[bool, typer.Option("--force", help="Replace what is there already and differs.")]


def write_output(path: Path, content: str, force: bool) -> None:
    """Write a file that the user named; its folder is made if it is missing.

    Raises:
        InputError: If another file is there, unless `force`.
        StorageError: If it cannot be written.
    """
    new = content.encode()
    try:
        if path.is_dir():
            raise InputError(f"--out: {path} is a folder; give a file")
        if not force and path.exists() and path.read_bytes() != new:
            raise InputError(
                f"--out: {path} exists and differs from what would be written; give another file, or --force to "
                "replace it"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, new)
    except OSError as error:
        raise refused(path, error) from error


def check_absent(path: Path, force: bool) -> None:
    """Check, before a long computation, that a file which the user named is not there yet.

    Raises:
        InputError: If it is, unless `force`.
    """
    if path.exists() and not force:
        raise InputError(f"--out: {path} exists; give another file, or --force to replace it")


def require_writable(sweep: "Store", out: str) -> None:
    """Check that a sweep on a disk takes the files of a command.

    Args:
        sweep: The sweep.
        out: The value of --out that the error suggests.

    Raises:
        InputError: If it does not, for instance because it belongs to another user.
    """
    if sweep.local is None or not sweep.local.is_dir():
        return
    try:
        check_writable(sweep.local)
    except StorageError as error:
        why = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
        raise InputError(
            f"{sweep} takes no files ({why}): give --out {out} to write elsewhere, or ask its owner for the permission"
        ) from error


@contextmanager
def teacher_output(folder: Path, force: bool) -> Iterator[Path]:
    """A new folder to make a teacher in, which takes the place of `folder` at the end.

    Raises:
        InputError: If another teacher is there, unless `force`.
    """
    from kdtrain.teacher import CARD, read_card

    with ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            scratch = stack.enter_context(scratch_folder(folder.parent))
        except OSError as error:
            raise refused(folder, error) from error
        yield scratch
        check_teacher(folder, read_card(scratch).digest, force)
        folder.mkdir(exist_ok=True)
        for file in sorted(scratch.iterdir(), key=lambda file: file.name == CARD):  # the card last
            shutil.move(file, folder / file.name)


def check_teacher(folder: Path, digest: str | None, force: bool) -> None:
    """Check that no other teacher is in a folder.

    Raises:
        InputError: If one is there, unless `force`.
    """
    from kdtrain.teacher import CARD, read_card

    if force or not (folder / CARD).exists():
        return
    there = read_card(folder).digest
    if there != digest:
        raise InputError(
            f"--dir: {folder} holds the teacher {there} already; give another folder, or --force to replace it"
        )
