"""A table that comes in parts gives the file that it gives in one."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.tables import parquet

SCHEMA = pa.schema([pa.field("name", pa.string(), nullable=False), pa.field("n", pa.int64())])


def table(first, last):
    return pa.table({"name": [f"row-{n}" for n in range(first, last)], "n": list(range(first, last))}, SCHEMA)


@pytest.mark.parametrize("ends", [[], [0], [3], [3, 3, 9], [4, 8], [8], [1, 2, 3, 4, 5, 6, 7, 8, 9, 17]])
def test_the_file_of_parts_is_that_of_the_whole(monkeypatch, tmp_path, ends):
    monkeypatch.setattr(parquet, "_ROWS", 4)
    parts = [table(first, last) for first, last in zip([0, *ends], ends, strict=False)]
    whole = table(0, ends[-1] if ends else 0)
    content = parquet.parts_to_bytes(SCHEMA, iter(parts), "here")
    assert content == parquet.to_bytes(whole, "here")
    (tmp_path / "file").write_bytes(content)
    assert pq.read_table(tmp_path / "file").equals(whole)
    metadata = pq.ParquetFile(tmp_path / "file").metadata
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert sizes == ([4] * (len(whole) // 4) + [len(whole) % 4] * (len(whole) % 4 > 0) or [0])
