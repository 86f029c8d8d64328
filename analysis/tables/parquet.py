"""The file of one table: Parquet whose pages carry checksums, whose footer is sealed, and which names its source.

Parquet has checksums for its pages only. The footer, which holds schema, sizes and statistics, is sealed here: its
SHA-256 stands right before it, where readers of Parquet do not look.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_SOURCE = b"kdsweep.source"
_MARK = b"KDSWEEP1"
_SEAL_LENGTH = len(_MARK) + hashlib.sha256().digest_size
_END = 8
"""Bytes behind the footer: its length, and `PAR1`."""
_ROWS = 2**20
"""Rows of a row group."""


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
    footer = content[start:]
    return content[:start] + _MARK + hashlib.sha256(footer).digest() + footer


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
    size = file.size()
    if size < _END + 4:
        raise ValueError(f"it has {size} bytes")
    length = int.from_bytes(file.read_at(4, size - _END), "little")
    start = size - _END - length
    if start - _SEAL_LENGTH < 0:
        return  # too short for a seal: a file of an earlier version, or one that pyarrow refuses
    tail = file.read_at(size - start + _SEAL_LENGTH, start - _SEAL_LENGTH)
    seal, footer = tail[:_SEAL_LENGTH], tail[_SEAL_LENGTH:]
    if seal.startswith(_MARK) and seal[len(_MARK) :] != hashlib.sha256(footer).digest():
        raise ValueError("its footer does not match its checksum")


def source_of(file: Any) -> str | None:
    """What the rows of a file were made from; none where it does not say so."""
    source = (open_file(file).schema_arrow.metadata or {}).get(_SOURCE)
    return None if source is None else source.decode()
