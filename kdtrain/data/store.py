"""A memory-mapped store of decoded images: built once per data set and machine, shared by all trials."""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from kdtrain.data.source import FORMER_NAMES, DataSource, Palette, Pixels, check_labels, written_name
from kdtrain.errors import refused, unreadable

FORMAT = 2
"""Counts up whenever files are decoded otherwise; stores of another format are built anew."""
_INDEX, _IMAGES, _LABELS = "index.json", "images.bin", "labels.bin"


class Images:
    """The decoded images of one role, mapped read-only from a store folder. Pickles as its path."""

    def __init__(self, folder: Path) -> None:
        """Map a store that `open_store` has checked."""
        index = json.loads((folder / _INDEX).read_text())
        self.folder = folder
        self.ids: tuple[str, ...] = tuple(index["ids"])
        self.groups: tuple[str, ...] = tuple(index["groups"])
        self.classes: tuple[str, ...] = tuple(index["classes"])
        self.palette: Palette = tuple((r, g, b) for r, g, b in index["palette"])
        self.ignore_index: int = index["ignore_index"]
        self.digest: str = index["digest"]
        self.role: str = FORMER_NAMES.get(index["role"], index["role"])
        self.sizes: tuple[tuple[int, int], ...] = tuple((h, w) for h, w in index["sizes"])
        self._starts = [0, *np.cumsum([h * w for h, w in self.sizes]).tolist()]
        self._images = np.asarray(np.memmap(folder / _IMAGES, dtype=np.uint8, mode="r"))
        self._labels = np.asarray(np.memmap(folder / _LABELS, dtype=np.uint8, mode="r"))

    def __reduce__(self) -> tuple[Any, ...]:
        return Images, (self.folder,)

    def __len__(self) -> int:
        return len(self.ids)

    def get(self, index: int) -> tuple[Pixels, Pixels]:
        """Views of RGB `(H, W, 3)` and train ids `(H, W)`, both uint8 and read-only."""
        height, width = self.sizes[index]
        start, end = self._starts[index], self._starts[index + 1]
        image = self._images[3 * start : 3 * end].reshape(height, width, 3)
        return image, self._labels[start:end].reshape(height, width)


def open_store(source: DataSource, role: str, cache: Path) -> Images:
    """The store of a role, built if it is not in `cache` yet or is damaged there.

    Raises:
        InputError: If an image or label map is wrong.
        StorageError: If `cache` cannot be written.
    """
    with _writing_to(cache):
        cache.mkdir(parents=True, exist_ok=True)
        digest = remembered_digest(source, role, cache)
        folder = cache / f"{written_name(role)}-{digest}"
        if not is_sound(folder, digest):
            with _lock(cache / f".{folder.name}.lock") as alone:
                if not is_sound(folder, digest):
                    if alone:
                        _clear_leftovers(folder)
                    _build(source, role, digest, folder)
    return Images(folder)


def remembered_digest(source: DataSource, role: str, cache: Path) -> str:
    """The digest of a role, computed again only when names, sizes or times of its files have changed."""
    note = cache / "digests" / source.listing(role)
    with contextlib.suppress(OSError):
        if len(text := note.read_text()) == 32:
            return text
    digest = source.digest(role)
    note.parent.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=note.parent, delete=False) as file:
        file.write(digest)
    Path(file.name).replace(note)
    return digest


def is_sound(folder: Path, digest: str) -> bool:
    """Whether the folder holds the whole store of this digest, bytes as written.

    The bytes are summed up again only if a file's time is not the one it was written at.
    """
    try:
        index = json.loads((folder / _INDEX).read_text())
        if index["format"] != FORMAT or index["digest"] != digest:
            return False
        pixels = sum(h * w for h, w in index["sizes"])
        for name, size in ((_IMAGES, 3 * pixels), (_LABELS, pixels)):
            stat, written = (folder / name).stat(), index["files"][name]
            if stat.st_size != size:
                return False
            if stat.st_mtime_ns != written["mtime_ns"] and _checksum(folder / name) != written["crc32"]:
                return False
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def _clear_leftovers(folder: Path) -> None:
    """Remove the folders of processes that were killed while they built the store."""
    for left in folder.parent.glob(f".{folder.name}-*"):
        shutil.rmtree(left, ignore_errors=True)


def _build(source: DataSource, role: str, digest: str, folder: Path) -> None:
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        building.chmod(0o755)
        ids = source.ids(role)
        sizes: list[tuple[int, int]] = []
        files: dict[str, dict[str, int]] = {_IMAGES: {"crc32": 0}, _LABELS: {"crc32": 0}}
        with (building / _IMAGES).open("wb") as images, (building / _LABELS).open("wb") as labels:
            for pair in _decoded(source, role, ids):
                check_labels(pair[1], source, ids[len(sizes)])
                sizes.append(pair[1].shape[:2])
                for out, name, array in zip((images, labels), files, pair, strict=True):
                    raw = np.ascontiguousarray(array).data
                    out.write(raw)
                    files[name]["crc32"] = zlib.crc32(raw, files[name]["crc32"])
            for out in (images, labels):
                out.flush()
                os.fsync(out.fileno())
        for name in files:
            files[name]["mtime_ns"] = (building / name).stat().st_mtime_ns
        index = {
            "format": FORMAT,
            "role": written_name(role),
            "digest": digest,
            "classes": source.classes,
            "palette": source.palette,
            "ignore_index": source.ignore_index,
            "ids": ids,
            "groups": [source.group(i) for i in ids],
            "sizes": sizes,
            "files": files,
        }
        (building / _INDEX).write_text(json.dumps(index))
        _publish(building, folder, digest)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _publish(building: Path, folder: Path, digest: str) -> None:
    if folder.exists() and not is_sound(folder, digest):
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


def _checksum(file: Path) -> int:
    value = 0
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            value = zlib.crc32(chunk, value)
    return value


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
def _lock(file: Path) -> Iterator[bool]:
    """Let one process build at a time; where locks do not work (False), all build and the first to finish wins."""
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            alone = True
        except OSError:
            alone = False
        yield alone
