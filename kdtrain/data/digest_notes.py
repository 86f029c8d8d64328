"""Notes of digests, so that the files of a role are read again only when they may have changed."""

import contextlib
import hashlib
import time
from pathlib import Path

from kdtrain.data.source import DataSource
from kdtrain.errors import StorageError
from kdtrain.runtime.atomic_files import write_atomically

_LEFTOVER_S = 3600.0
"""Age of a half-written note whose writer was killed."""


def noted_digest(source: DataSource, role: str, cache: Path) -> str | None:
    """The digest that was noted for the files as they are now; None if there is no note, or it is damaged."""
    listing = source.listing(role)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        digest, _, seal = _note(cache, listing).read_text().strip().partition(" ")
        if len(digest) == 32 and seal == _seal(listing, digest):
            return digest
    return None


def note_digest(source: DataSource, role: str, cache: Path) -> str:
    """Compute the digest of a role from all its files, and note it unless they change meanwhile."""
    listing = source.listing(role)
    digest = source.digest(role)
    if source.listing(role) == listing:
        note = _note(cache, listing)
        with contextlib.suppress(StorageError):  # without a note, the digest is computed again
            write_atomically(note, f"{digest} {_seal(listing, digest)}".encode())
        for leftover in note.parent.glob(".*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - leftover.stat().st_mtime > _LEFTOVER_S:
                    leftover.unlink()
    return digest


def _note(cache: Path, listing: str) -> Path:
    return cache / "digests" / listing


def _seal(listing: str, digest: str) -> str:
    return hashlib.blake2b(f"{listing} {digest}".encode(), digest_size=16).hexdigest()
