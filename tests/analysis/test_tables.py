import datetime as dt

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from analysis import InputError, read_tables
from analysis.tables.files import arrow_table, empty_tables, parquet, write_table
from analysis.tables.schemas import LATER, SCHEMAS

CONFUSION = {"eval_id": "e", "image_id": "i", "group_id": "g", "gt": 0, "pred": 1, "n": 12}


def test_every_table_of_the_contract_is_there():
    names = "sweeps studies trials params metrics evaluations confusion teachers environments decisions cells"
    assert list(SCHEMAS) == [*names.split(), "selections"]
    assert all(frame.empty for frame in empty_tables().values())
    assert list(empty_tables()["trials"]) == SCHEMAS["trials"].names


def test_units_are_in_the_fields():
    assert SCHEMAS["trials"].field("seconds").metadata[b"unit"] == b"s, all attempts"
    assert SCHEMAS["evaluations"].field("miou").metadata[b"unit"] == b"fraction 0..1"


def test_round_trip_keeps_what_is_missing_missing(sweep, tmp_path):
    sweep.trial("none", None, reason="out of memory")
    tables = read_tables(sweep.write(tmp_path))
    failed = tables["trials"].iloc[-1]
    assert failed["state"] == "failed"
    assert np.isnan(failed["score"])
    assert pd.isna(failed["candidate_of"])
    assert tables["confusion"].empty


def test_only_the_named_tables_are_read(sweep, tmp_path):
    sweep.write(tmp_path)
    (tmp_path / "tables" / "confusion.parquet").write_bytes(b"not read")
    tables = read_tables(tmp_path, ["trials"])
    assert list(tables) == list(SCHEMAS)
    assert (len(tables["trials"]), len(tables["studies"])) == (10, 0)


def test_same_rows_same_bytes_and_nothing_left_behind(tmp_path):
    first = write_table(tmp_path / "a", "confusion", [CONFUSION]).read_bytes()
    assert write_table(tmp_path / "b", "confusion", [CONFUSION]).read_bytes() == first
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["confusion.parquet"]


def test_rows_columns_and_frames_write_the_same(tmp_path):
    rows = write_table(tmp_path, "confusion", [CONFUSION, CONFUSION]).read_bytes()
    columns = {name: [value] * 2 for name, value in CONFUSION.items()}
    assert write_table(tmp_path, "confusion", columns).read_bytes() == rows
    assert write_table(tmp_path, "confusion", pd.DataFrame(columns)).read_bytes() == rows


def test_stored_schema_is_the_declared_one(tmp_path):
    path = write_table(tmp_path, "trials", [])
    assert pq.read_schema(path).equals(SCHEMAS["trials"], check_metadata=False)
    assert (
        pq.ParquetFile(write_table(tmp_path, "confusion", [CONFUSION])).metadata.row_group(0).column(0).compression
        == "ZSTD"
    )


def test_times_come_back_in_utc(tmp_path):
    at = dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    row = {"sweep_id": "s", "n": 1, "at": at, "kind": "started", "detail": ""}
    write_table(tmp_path / "tables", "decisions", [row])
    write_table(tmp_path / "tables", "trials", [])
    assert read_tables(tmp_path)["decisions"]["at"].iloc[0] == at


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"color": 1}, "unknown column 'color'"),
        ({"n": "many"}, "does not fit"),
        ({"gt": 100_000}, "does not fit"),
        ({"image_id": None}, "'image_id' is required, 1 rows lack it"),
    ],
)
def test_a_wrong_row_is_one_sentence(tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        write_table(tmp_path, "confusion", [{**CONFUSION, **change}])
    assert not list(tmp_path.iterdir())


def test_an_unknown_table_is_named():
    with pytest.raises(InputError, match="got 'trails'"):
        write_table("anywhere", "trails", [])


def test_a_folder_without_tables_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="kdsweep tables"):
        read_tables(tmp_path)


def test_a_broken_table_is_named(sweep, tmp_path):
    sweep.write(tmp_path)
    (tmp_path / "tables" / "metrics.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(InputError, match=r"metrics\.parquet does not read"):
        read_tables(tmp_path)


def test_a_table_that_lacks_a_column_is_named(sweep, tmp_path):
    sweep.write(tmp_path)
    path = tmp_path / "tables" / "trials.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["score"]), path)
    with pytest.raises(InputError, match=r"trials\.parquet does not read"):
        read_tables(tmp_path)


def test_tables_from_before_read_with_nulls_for_what_they_lack(sweep, tmp_path):
    sweep.write(tmp_path)
    for name, columns in LATER.items():
        path = tmp_path / "tables" / f"{name}.parquet"
        pq.write_table(pq.read_table(path).drop_columns(list(columns)), path)
    tables = read_tables(tmp_path)
    for name, columns in LATER.items():
        assert list(tables[name]) == SCHEMAS[name].names
        assert len(tables[name]) == len(sweep.rows[name])
        assert tables[name][list(columns)].isna().all(axis=None)


def test_an_object_store_gives_what_a_folder_gives(sweep, tmp_path, s3_folder):
    system, root = fs.FileSystem.from_uri(s3_folder)
    for name, rows in sweep.rows.items():
        with system.open_output_stream(f"{root}/tables/{name}.parquet") as file:
            file.write(parquet(arrow_table(name, rows)))
    here, there = read_tables(sweep.write(tmp_path)), read_tables(s3_folder)
    for name, frame in here.items():
        pd.testing.assert_frame_equal(frame, there[name])


def test_an_empty_store_and_one_that_is_not_there(s3_folder):
    with pytest.raises(InputError, match=r"no tables in tables of s3://.* `kdsweep tables s3://"):
        read_tables(s3_folder)
    for wrong, words in (("s3://", "cannot be"), ("ftp://host/folder", "cannot be opened")):
        with pytest.raises(InputError, match=words):
            read_tables(wrong)
