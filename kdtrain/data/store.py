"""A memory-mapped store of decoded images: built once per data set and machine, shared by all trials.

Every image has a checksum, which a process compares when it reads the image for the first time: a byte that a disk has
changed is never trained on. The store is then built anew.
"""

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from kdtrain.data.apart import HasFiles
from kdtrain.data.decode import DECODING
from kdtrain.data.digest_notes import note_digest, noted_digest
from kdtrain.data.source import FORMER_NAMES, DataSource, Palette, Pixels, check_labels, written_name
from kdtrain.data.store_index import (
    IMAGES,
    LABELS,
    StoreIndex,
    checksums_of,
    has_sizes,
    is_as_written,
    read_index,
    times_of,
    write_index,
)
from kdtrain.errors import DamagedError, InputError, StorageError, refused, unreadable
from kdtrain.runtime import file_locks

_log = logging.getLogger(__name__)


class Images:
    """The decoded images of one role, mapped read-only from a store folder. Pickles as its path."""

    def __init__(self, folder: Path, rebuilt: Callable[[], "Images"] | None = None) -> None:
        """Map a store that `open_store` has checked.

        Args:
            folder: The store.
            rebuilt: Checks the whole store, builds it anew if it is damaged, and opens it.

        Raises:
            DamagedError: If the index is not as it was written.
        """
        index = read_index(folder)
        if index is None:
            raise DamagedError(f"the index of the image cache {folder} is damaged; run the same command again")
        self.folder = folder
        self.ids: tuple[str, ...] = index.ids
        self.groups: tuple[str, ...] = index.groups
        self.classes: tuple[str, ...] = index.classes
        self.palette: Palette = index.palette
        self.ignore_index: int = index.ignore_index
        self.digest: str = index.digest
        self.role: str = FORMER_NAMES.get(index.role, index.role)
        self.sizes: tuple[tuple[int, int], ...] = index.sizes
        self.decoding: int | None = index.decoding
        self._rebuilt = rebuilt
        self._checksums = index.checksums
        self._is_checked = bytearray(len(index.ids))
        self._starts = index.starts
        self._images = np.asarray(np.memmap(folder / IMAGES, dtype=np.uint8, mode="r"))
        self._labels = np.asarray(np.memmap(folder / LABELS, dtype=np.uint8, mode="r"))

    def __reduce__(self) -> tuple[Any, ...]:
        return Images, (self.folder,)

    def __len__(self) -> int:
        return len(self.ids)

    def get(self, index: int) -> tuple[Pixels, Pixels]:
        """Views of RGB `(H, W, 3)` and train ids `(H, W)`, both uint8 and read-only.

        Raises:
            DamagedError: If the store does not hold the bytes that were written, and this process cannot build it.
        """
        height, width = self.sizes[index]
        start, end = self._starts[index], self._starts[index + 1]
        image = self._images[3 * start : 3 * end].reshape(height, width, 3)
        labels = self._labels[start:end].reshape(height, width)
        if not self._is_checked[index]:
            if checksums_of(image, labels) != self._checksums[index]:
                return self._get_rebuilt(index)
            self._is_checked[index] = True
        return image, labels

    def _get_rebuilt(self, index: int) -> tuple[Pixels, Pixels]:
        damage = f"the image cache {self.folder} does not hold the bytes that were written for {self.ids[index]}"
        if self._rebuilt is None:
            with contextlib.suppress(OSError):
                os.utime(self.folder / IMAGES)  # so that the next process to open the store reads all of it
            raise DamagedError(f"{damage}; check the disk and run the same command again, which builds the cache anew")
        _log.warning("%s: it is built anew; check the disk", damage)
        fresh = self._rebuilt()
        fresh._rebuilt = None
        content = fresh.get(index)
        self.__dict__.update(fresh.__dict__, _rebuilt=self._rebuilt)
        return content


def open_store(source: DataSource, role: str, cache: Path, verify: bool = False) -> Images:
    """The store of a role, built if it is not in `cache` yet or is damaged there.

    Args:
        source: The data.
        role: Which images of them.
        cache: The folder for decoded data.
        verify: Whether all bytes of the store are read and compared with their checksums.

    Raises:
        InputError: If an image or label map is wrong, or files change while they are read.
        StorageError: If `cache` cannot be written.
    """
    with _writing_to(cache):
        cache.mkdir(parents=True, exist_ok=True)
        noted = noted_digest(source, role, cache)
        digest = noted or note_digest(source, role, cache)
        if not _is_usable(_folder_of(cache, role, digest), digest, verify):
            if noted is not None:  # all files are read now: a file that changed without a trace is noticed
                digest = note_digest(source, role, cache)
            folder = _folder_of(cache, role, digest)
            with _lock(cache / f".{folder.name}.lock") as alone:
                if not _is_usable(folder, digest, verify):
                    if alone:
                        _clear_leftovers(cache, folder.name)
                    _build(source, role, digest, folder)
    return Images(_folder_of(cache, role, digest), lambda: open_store(source, role, cache, verify=True))


def is_sound(folder: Path, digest: str) -> bool:
    """Whether the folder holds the whole store of this digest.

    The bytes are compared with their checksums only if a file's time is not the one it was written at; each image is
    compared once more when it is read.
    """
    index = read_index(folder)
    try:
        if index is None or index.digest != digest or not has_sizes(folder, index):
            return False
        times = times_of(folder)
        if times != index.times:
            if not is_as_written(folder, index):
                return False
            with contextlib.suppress(StorageError):
                write_index(folder, index.model_copy(update={"times": times}))
    except OSError:
        return False
    return True


def _is_usable(folder: Path, digest: str, verify: bool) -> bool:
    if not is_sound(folder, digest):
        return False
    index = read_index(folder) if verify else None
    try:
        return not verify or (index is not None and is_as_written(folder, index))
    except OSError:
        return False


def _folder_of(cache: Path, role: str, digest: str) -> Path:
    return cache / f"{written_name(role)}-{digest}"


def _clear_leftovers(cache: Path, own: str) -> None:
    """Remove the folders of processes that were killed while they built a store; the caller holds the lock of `own`."""
    for left in cache.glob(".*-*"):
        name = left.name[1:].rpartition("-")[0]
        lock = cache / f".{name}.lock"
        if left.is_dir() and lock.is_file():
            with contextlib.nullcontext(True) if name == own else _lock(lock, wait=False) as free:
                if free:
                    shutil.rmtree(left, ignore_errors=True)


def _build(source: DataSource, role: str, digest: str, folder: Path) -> None:
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        building.chmod(0o755)
        ids, listing = source.ids(role), source.listing(role)
        sizes: list[tuple[int, int]] = []
        checksums: list[tuple[int, int]] = []
        with (building / IMAGES).open("wb") as images, (building / LABELS).open("wb") as labels:
            for pair in _decoded(source, role, ids):
                check_labels(pair[1], source, ids[len(sizes)])
                height, width = pair[1].shape
                sizes.append((height, width))
                checksums.append(checksums_of(*pair))
                for out, array in zip((images, labels), pair, strict=True):
                    out.write(np.ascontiguousarray(array).data)
            for out in (images, labels):
                out.flush()
                os.fsync(out.fileno())
        if source.listing(role) != listing:
            raise InputError(f"files of the role {role} changed while they were read; run the same command again")
        index = StoreIndex(
            role=written_name(role),
            digest=digest,
            classes=tuple(source.classes),
            palette=source.palette,
            ignore_index=source.ignore_index,
            ids=ids,
            groups=tuple(source.group(i) for i in ids),
            sizes=tuple(sizes),
            checksums=tuple(checksums),
            decoding=DECODING if isinstance(source, HasFiles) else None,
            times=times_of(building),
        )
        write_index(building, index)
        _publish(building, folder, digest)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _publish(building: Path, folder: Path, digest: str) -> None:
    if folder.exists() and not _is_usable(folder, digest, verify=True):
        damaged = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        folder.rename(damaged / "damaged")
        shutil.rmtree(damaged, ignore_errors=True)
    try:
        building.rename(folder)
    except OSError:
        # Where locks do not work, another process may have been faster.
        if not is_sound(folder, digest):
            raise


def _decoded(source: DataSource, role: str, ids: tuple[str, ...]) -> Iterator[tuple[Pixels, Pixels]]:
    workers = min(8, os.cpu_count() or 1)
    window = 8 * workers
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(ids), window):
            yield from pool.map(lambda i: source.read(role, i), ids[start : start + window])


@contextlib.contextmanager
def _writing_to(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        file = Path(error.filename) if isinstance(error.filename, str | os.PathLike) else cache
        if cache not in (file, *file.parents):
            raise unreadable(file, error) from error
        raise refused(f"the image cache {cache}", error) from error


@contextlib.contextmanager
def _lock(file: Path, wait: bool = True) -> Iterator[bool]:
    """Let one process build at a time; where locks do not work (False), all build and the first to finish wins."""
    with file.open("w") as lock:
        try:
            file_locks.take(lock, wait=wait)
            alone = True
        except OSError:
            alone = False
        yield alone
