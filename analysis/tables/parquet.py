"""The file of one table: Parquet whose pages carry checksums, which is sealed, and which names its source.

Parquet has checksums for its pages only, and not every reader verifies them. Two seals stand right before the footer,
where readers of Parquet do not look: the SHA-256 of all pages, for a reader that takes the file as a whole, and that of
the footer, which holds schema, sizes and statistics.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_SOURCE = b"kdsweep.source"
_PAGES, _FOOTER = b"KDPAGES1", b"KDSWEEP1"
"""How the seals begin, in this order; the seal of the pages was added later."""
_SEAL_LENGTH = len(_FOOTER) + hashlib.sha256().digest_size
_END = 8
"""Bytes behind the footer: its length, and `PAR1`."""
_ROWS = 2**20
"""Rows of a row group."""
_CHUNK = 2**22
"""Bytes of a file that are read at once."""


def to_bytes(table: pa.Table, source: str | None = None) -> bytes:
    """The file of a table (zstd): the same rows and source give the same bytes.

    Args:
        table: The rows.
        source: What they were made from, for `source_of`.
    """
    return parts_to_bytes(table.schema, [table], source)


def parts_to_bytes(schema: pa.Schema, parts: Iterable[pa.Table], source: str | None = None) -> bytes:
    """The file of a table that comes in parts, which are never in memory together; the same bytes as in one part.

    Args:
        schema: Of every part.
        parts: The rows.
        source: As in `to_bytes`.
    """
    if source is not None:
        schema = schema.with_metadata({_SOURCE: source})
    file = io.BytesIO()
    options = {"compression": "zstd", "write_page_checksum": True, "write_page_index": False}
    with pq.ParquetWriter(file, schema, **options) as writer:
        for group in _row_groups(schema, parts):
            writer.write_table(group, _ROWS)
    content = file.getvalue()
    start = len(content) - _END - int.from_bytes(content[-_END:-4], "little")
    pages, footer = content[:start], content[start:]
    return pages + _PAGES + hashlib.sha256(pages).digest() + _FOOTER + hashlib.sha256(footer).digest() + footer


def _row_groups(schema: pa.Schema, parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows in groups of `_ROWS`, the last one shorter; one without a row if there are none."""
    rest, is_begun = schema.empty_table(), False
    for part in parts:
        rest = pa.concat_tables([rest, part.replace_schema_metadata(schema.metadata)])
        while rest.num_rows >= _ROWS:
            yield rest.slice(0, _ROWS)
            rest, is_begun = rest.slice(_ROWS), True
    if rest.num_rows or not is_begun:
        yield rest


def open_file(file: Any) -> pq.ParquetFile:
    """Open the file of a table for reading; its pages are verified when they are read.

    Args:
        file: An open file of pyarrow. The file of an earlier version has no seal and is taken as it is.

    Raises:
        ValueError: If the footer is not the one that was written.
    """
    check_footer(file)
    return pq.ParquetFile(file, page_checksum_verification=True)


def check_footer(file: Any) -> None:
    """Make sure that a footer is the one that was written.

    Raises:
        ValueError: If it is not.
    """
    _pages_seal(file)


def checked_content(file: Any) -> Iterator[bytes]:
    """The content of the file of a table in pieces; an error, at the latest at their end, if a byte is wrong.

    Args:
        file: An open file of pyarrow. In that of an earlier version, which has no seal of its pages, the checksum of
            each page is verified.

    Raises:
        ValueError: If the content is not the one that was written.
        pa.ArrowException: If it is no Parquet.
        OSError: If it cannot be read.
    """
    size, seal = file.size(), _pages_seal(file)
    if seal is None:
        stored = pq.ParquetFile(file, page_checksum_verification=True)
        for group in range(stored.num_row_groups):
            stored.read_row_group(group)
    end, digest = (0, None) if seal is None else seal
    actual = hashlib.sha256()
    for at in range(0, size, _CHUNK):
        chunk = file.read_at(min(_CHUNK, size - at), at)
        actual.update(chunk[: max(0, end - at)])
        yield chunk
    if digest not in (None, actual.digest()):
        raise ValueError("its content does not match its checksum")


def _pages_seal(file: Any) -> tuple[int, bytes] | None:
    """Where the pages of a file end, and their SHA-256; none in the file of an earlier version.

    Raises:
        ValueError: If the footer is not the one that was written.
    """
    size = file.size()
    if size < _END + 4:
        raise ValueError(f"it has {size} bytes")
    length = int.from_bytes(file.read_at(4, size - _END), "little")
    start = size - _END - length
    if start - _SEAL_LENGTH < 0:
        return None  # too short for a seal: a file of an earlier version, or one that pyarrow refuses
    begin = max(0, start - 2 * _SEAL_LENGTH)
    tail = file.read_at(size - begin, begin)
    seals, footer = tail[: start - begin], tail[start - begin :]
    seal = seals[-_SEAL_LENGTH:]
    if not seal.startswith(_FOOTER):
        return None
    if seal[len(_FOOTER) :] != hashlib.sha256(footer).digest():
        raise ValueError("its footer does not match its checksum")
    before = seals[:-_SEAL_LENGTH]
    return (begin, before[len(_PAGES) :]) if before.startswith(_PAGES) else None


def source_of(file: Any) -> str | None:
    """What the rows of a file were made from; none where it does not say so."""
    source = (open_file(file).schema_arrow.metadata or {}).get(_SOURCE)
    return None if source is None else source.decode()
