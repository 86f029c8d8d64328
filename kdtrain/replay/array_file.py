"""One array of one view on disk: written chunk by chunk, read memory-mapped, every chunk with its checksum.

`<name>.<digest>.bin` holds the rows one after the other, sparse where nothing is written yet, so that every chunk has
its fixed place. `<name>.<digest>.idx` holds a header, which describes the layout, and an entry per chunk: length,
CRC-32 of its bytes, CRC-32 of the entry. The digest in the names is that of the header: arrays of another shape or
type never share a file.

Nothing is flushed to the disk, on purpose. A killed process loses nothing that it has written; after a crash of the
machine a chunk is either whole, or its checksum shows that it is not.
"""

import hashlib
import json
import mmap
import os
import re
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from kdtrain.replay.locks import open_file
from kdtrain.runtime.checksum import crc32

FORMAT = 1
_HEADER = 1024
_FACTS = struct.Struct("<QI")  # length, CRC-32 of the data
_ENTRY = struct.Struct("<QII")  # these, and the CRC-32 of the entry
_LONGEST_WRITE = 1 << 28
_SETTLED_NS = 2 * 10**9
"""A file that was changed less than so long ago may change once more at what is, for its clock, the same time."""
_MOST_VERIFIED = 2000
"""Files in `_VERIFIED`."""
_VERIFIED: dict[Path, tuple[tuple[int, int, int], dict[int, bytes]]] = {}
"""By file of data, the one opened last at the end: which state of it, and the entries of the chunks of that state that
this process has compared with their checksums, so that it compares each once for all its trainings."""
_VERIFIED_LOCK = threading.Lock()
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class TensorSpec(NamedTuple):
    """Shape and type of one row of an array."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def bytes_of(rows: int, specs: Mapping[str, TensorSpec]) -> int:
    """Bytes on disk of `rows` rows of each of these arrays, indexes not counted."""
    return rows * sum(spec.row_bytes for spec in specs.values())


class ArrayFile:
    """One array on disk.

    Args:
        folder: Of the view; it exists.
        name: Of the array, such as "images" or "encoder.4".
        spec: Of a row.
        rows: In the whole view.
        chunk_rows: Rows of every chunk; the last may have fewer.
        stream: The digest of the stream that the array belongs to; it is in the header.
        on_refusal: Called with an error of the disk.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        spec: TensorSpec,
        rows: int,
        chunk_rows: int,
        stream: str,
        on_refusal: Callable[[OSError], None] = lambda error: None,
    ) -> None:
        """Prepare, but open no file: see `open`."""
        self.spec = spec
        self.rows = rows
        self.chunk_rows = chunk_rows
        self.chunks = -(-rows // chunk_rows)
        self.size = rows * spec.row_bytes
        self._header = _header(name, spec, rows, chunk_rows, stream)
        stem = f"{name}.{hashlib.sha256(self._header).hexdigest()[:8]}"
        self.data_path, self._index_path = folder / f"{stem}.bin", folder / f"{stem}.idx"
        self._verified_entries: dict[int, bytes] = {}
        """Entries of chunks whose bytes were compared with their checksum, or written here."""
        self._on_refusal = on_refusal
        self._readable: set[int] = set()
        """Chunks of which `has` was true; no other is read, so that a hole is never taken for a sample."""
        self._data = self._index = -1
        self.writable = False
        """Whether chunks can be added: not on a read-only disk, and not after the disk has refused one."""

    @property
    def missing_bytes(self) -> int:
        """Bytes that creating the array adds to the store: 0 if it exists."""
        try:
            return self.size - self.data_path.stat().st_size
        except OSError:
            return self.size

    def open(self, create: bool) -> bool:
        """Open the files; with `create`, create them if they are missing or damaged.

        Returns:
            Whether the array is open.

        Raises:
            OSError: If the disk refuses.
        """
        if not create and not (self.data_path.exists() and self._index_path.exists()):
            return False
        self._index, index_writable = open_file(self._index_path)
        self._data, data_writable = open_file(self.data_path)
        self.writable = index_writable and data_writable
        sound = self._sound()
        if not sound and create:
            self._reset()
            sound = True
        if not sound:
            self.close()
            return False
        self._verified_entries = _verified_entries(self.data_path, os.fstat(self._data))
        return True

    def close(self) -> None:
        """Close the files; tensors that have been read stay valid."""
        for file in (self._index, self._data):
            if file >= 0:
                os.close(file)
        self._index = self._data = -1
        self.writable = False
        self._readable.clear()

    def is_written(self, chunk: int) -> bool:
        """Whether a chunk is written, by its entry alone: its bytes may still be damaged, which `has` finds."""
        try:
            return self._entry_on_disk(chunk) is not None
        except OSError:
            return False

    def has(self, chunk: int) -> bool:
        """Whether a chunk is written, and its bytes are those that were written; if not, its entry is erased."""
        whole = self._is_whole(chunk)
        (self._readable.add if whole else self._readable.discard)(chunk)
        return whole

    def write(self, chunk: int, rows: Tensor) -> bool:
        """Write a chunk, which the caller has claimed.

        Args:
            chunk: Its number.
            rows: `(n, *shape)` of the dtype of the array, on any device.

        Returns:
            False if the disk has refused; nothing of the chunk is visible then.

        Raises:
            ValueError: If the rows are not those of the array.
        """
        start, length = self._place(chunk)
        expected = (length // self.spec.row_bytes, *self.spec.shape)
        if tuple(rows.shape) != expected or rows.dtype != self.spec.dtype:
            got = f"{tuple(rows.shape)} of {rows.dtype}"
            raise ValueError(f"chunk {chunk} of {self.data_path.name} is {expected} of {self.spec.dtype}, got {got}")
        data = rows.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
        entry = self._entry(chunk, length, crc32(data))
        try:
            _write_all(self._data, data, start)
            self._write_entry(chunk, entry)
        except OSError as error:
            self.writable = False
            self._on_refusal(error)
            return False
        self._verified_entries[chunk] = entry
        self._readable.add(chunk)
        return True

    def read(self, rows: Sequence[int] | slice) -> Tensor:
        """Rows, `(n, *shape)`, from chunks of which `has` was true.

        Adjacent rows are not copied but mapped, for this call alone: changes of the tensor do not reach the file.

        Raises:
            LookupError: If there are no such rows, or `has` was not called.
        """
        numbers = range(*rows.indices(self.rows)) if isinstance(rows, slice) else rows
        if len(numbers) == 0:
            return torch.empty((0, *self.spec.shape), dtype=self.spec.dtype)
        first, last = min(numbers), max(numbers)
        if first < 0 or last >= self.rows:
            raise IndexError(f"{self.data_path.name} has rows 0 to {self.rows - 1}, got {first} to {last}")
        if unread := {row // self.chunk_rows for row in numbers} - self._readable:
            raise LookupError(f"chunk {min(unread)} of {self.data_path.name} is missing, or `has` was not called")
        count = last - first + 1
        size = self.spec.row_bytes
        mapped, skip = self._map(first * size, count * size, mmap.ACCESS_COPY)
        values = count * size // self.spec.dtype.itemsize
        with suppress(OSError, AttributeError):
            mapped.madvise(mmap.MADV_WILLNEED)  # who reads ahead of a use does not wait for the disk at the use
        tensor = torch.frombuffer(mapped, dtype=self.spec.dtype, count=values, offset=skip)
        tensor = tensor.view(count, *self.spec.shape)
        if len(numbers) == count and all(row == first + i for i, row in enumerate(numbers)):
            return tensor
        return tensor[torch.tensor([row - first for row in numbers])]

    def _is_whole(self, chunk: int) -> bool:
        try:
            if os.fstat(self._data).st_size != self.size:
                if self.writable:
                    self._reset()
                return False
            if (entry := self._entry_on_disk(chunk)) is None:
                return False
            if entry == self._verified_entries.get(chunk):
                return True
            start, length = self._place(chunk)
            mapped, skip = self._map(start, length)
            with mapped, memoryview(mapped) as whole, whole[skip:] as data:
                is_sound = entry == self._entry(chunk, length, crc32(data))
            if not is_sound and self.writable:
                self._write_entry(chunk, bytes(_ENTRY.size))
        except (OSError, ValueError):
            return False
        if is_sound:
            self._verified_entries[chunk] = entry
        return is_sound

    def _entry_on_disk(self, chunk: int) -> bytes | None:
        """The entry of a chunk; None if there is none, or not a whole one of this chunk."""
        entry = os.pread(self._index, _ENTRY.size, _HEADER + chunk * _ENTRY.size)
        if len(entry) < _ENTRY.size:
            return None
        length, checksum, _ = _ENTRY.unpack(entry)
        is_whole = length == self._place(chunk)[1] and entry == self._entry(chunk, length, checksum)
        return entry if is_whole else None

    def _write_entry(self, chunk: int, entry: bytes) -> None:
        _write_all(self._index, memoryview(entry), _HEADER + chunk * _ENTRY.size)

    def _sound(self) -> bool:
        """Whether header and sizes are right."""
        return (
            os.pread(self._index, _HEADER, 0) == self._header
            and os.fstat(self._index).st_size == _HEADER + self.chunks * _ENTRY.size
            and os.fstat(self._data).st_size == self.size
        )

    def _reset(self) -> None:
        # First the entries go, then the file gets its size, so that an old entry never describes a hole.
        _write_all(self._index, memoryview(self._header + bytes(self.chunks * _ENTRY.size)), 0)
        os.ftruncate(self._index, _HEADER + self.chunks * _ENTRY.size)
        os.ftruncate(self._data, self.size)

    def _place(self, chunk: int) -> tuple[int, int]:
        """Offset and length of a chunk, in bytes."""
        if not 0 <= chunk < self.chunks:
            raise IndexError(f"{self.data_path.name} has chunks 0 to {self.chunks - 1}, got {chunk}")
        first = chunk * self.chunk_rows
        return first * self.spec.row_bytes, min(self.chunk_rows, self.rows - first) * self.spec.row_bytes

    def _map(self, start: int, length: int, access: int = mmap.ACCESS_READ) -> tuple[mmap.mmap, int]:
        """A map of these bytes, and how many other bytes precede them in it: maps begin at a page."""
        skip = start % mmap.ALLOCATIONGRANULARITY
        return mmap.mmap(self._data, length + skip, access=access, offset=start - skip), skip

    def _entry(self, chunk: int, length: int, checksum: int) -> bytes:
        """The entry of a chunk whose bytes have this length and this CRC-32."""
        facts = _FACTS.pack(length, checksum)
        return facts + struct.pack("<I", crc32(facts, crc32(struct.pack("<Q", chunk) + self._header)))


def _verified_entries(path: Path, state: os.stat_result) -> dict[int, bytes]:
    """The entries of a file's chunks that this process has verified since the file was last changed, to be added to."""
    if abs(time.time_ns() - state.st_mtime_ns) < _SETTLED_NS:
        return {}
    identity = (state.st_dev, state.st_ino, state.st_mtime_ns)
    with _VERIFIED_LOCK:
        known, entries = _VERIFIED.pop(path, (identity, {}))
        if known != identity:
            entries = {}
        _VERIFIED[path] = identity, entries
        if len(_VERIFIED) > _MOST_VERIFIED:
            del _VERIFIED[next(iter(_VERIFIED))]
        return entries


def _header(name: str, spec: TensorSpec, rows: int, chunk_rows: int, stream: str) -> bytes:
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name of an array must be up to 100 letters, digits, '_', '.' and '-', got {name!r}")
    facts = {
        "format": FORMAT,
        "stream": stream,
        "track": name,
        "rows": rows,
        "rows_per_chunk": chunk_rows,
        "shape": spec.shape,
        "dtype": str(spec.dtype).removeprefix("torch."),
    }
    return json.dumps(facts).encode().ljust(_HEADER - 1) + b"\n"


def _write_all(file: int, data: memoryview, offset: int) -> None:
    # Never through a map: there a full disk is not an error but a signal that ends the process.
    while data.nbytes:
        written = os.pwrite(file, data[:_LONGEST_WRITE], offset)
        data, offset = data[written:], offset + written
