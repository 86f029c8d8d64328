import datetime as dt

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from analysis import AnalysisError, read_tables
from analysis.tables import parquet
from analysis.tables.files import arrow_table, empty_tables, write_table
from analysis.tables.schemas import LATER, SCHEMAS
from analysis.tables.states import ALLOWED
from tests.analysis.conftest import rows_of

CONFUSION = {"eval_id": "e", "image_id": "i", "group_id": "g", "gt": 0, "pred": 1, "n": 12}


def test_every_table_of_the_contract_is_there():
    names = "sweeps studies trials params metrics evaluations confusion teachers environments decisions cells"
    assert list(SCHEMAS) == [*names.split(), "pulls", "audits", "costs", "selections"]
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
    with pytest.raises(AnalysisError, match=words):
        write_table(tmp_path, "confusion", [{**CONFUSION, **change}])
    assert not list(tmp_path.iterdir())


def test_an_unknown_table_is_named():
    with pytest.raises(AnalysisError, match="got 'trails'"):
        write_table("anywhere", "trails", [])


def test_a_folder_without_tables_says_what_to_do(tmp_path):
    with pytest.raises(AnalysisError, match="kdsweep tables"):
        read_tables(tmp_path)


def test_a_broken_table_is_named(sweep, tmp_path):
    sweep.write(tmp_path)
    (tmp_path / "tables" / "metrics.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(AnalysisError, match=r"metrics\.parquet does not read"):
        read_tables(tmp_path)


def test_a_table_that_lacks_a_column_is_named(sweep, tmp_path):
    sweep.write(tmp_path, lacking={"trials": ["score"]})
    with pytest.raises(AnalysisError, match=r"trials\.parquet does not read"):
        read_tables(tmp_path)


def test_tables_from_before_read_with_nulls_for_what_they_lack(sweep, tmp_path):
    tables = read_tables(sweep.write(tmp_path, lacking=LATER))
    for name, columns in LATER.items():
        assert list(tables[name]) == SCHEMAS[name].names
        assert len(tables[name]) == len(sweep.rows[name])
        assert tables[name][list(columns)].isna().all(axis=None)


@pytest.fixture
def earlier(sweep, tmp_path):
    """A sweep whose tables were written with the earlier words for phase and role."""
    trial_id = sweep.trial("cwd", 0.5, seed=21, of="cwd-0", phase="final")
    sweep.evaluation(trial_id, 0.4, [0.4, 0.4], role="test")
    sweep.write(tmp_path)
    for name, column, word in (("trials", "phase", "final"), ("evaluations", "role", "test")):
        path = tmp_path / "tables" / f"{name}.parquet"
        table = pq.read_table(path)
        words = ["report" if value == word else value for value in table[column].to_pylist()]
        pq.write_table(table.set_column(table.column_names.index(column), column, pa.array(words)), path)
    return tmp_path


def test_earlier_words_for_phase_and_role_read_as_those_of_today(earlier):
    assert "report" in pq.read_table(earlier / "tables" / "trials.parquet")["phase"].to_pylist()
    tables = read_tables(earlier, only={"evaluations": ("role", ["test"])})
    assert set(tables["trials"]["phase"]) == {"search", "confirm", "final"}
    assert tables["evaluations"]["miou"].tolist() == [0.4]


def test_a_query_sees_the_words_of_today(earlier):
    sql = "select (select count(*) from trials where phase = 'final') f, (select min(miou) from evaluations where role"
    assert rows_of(earlier, f"{sql} = 'test') m") == [{"f": 1, "m": 0.4}]


def test_rows_with_earlier_words_are_written_with_those_of_today(sweep):
    sweep.trial("cwd", 0.5, phase="report")
    assert arrow_table("trials", sweep.rows["trials"])["phase"].to_pylist()[-1] == "final"


@pytest.mark.parametrize(("table", "column"), ALLOWED)
def test_a_word_that_no_table_may_hold_is_refused(sweep, table, column):
    sweep.teacher(0.5)
    audit = {"study": "none", "search": 1, "trial_id": "none-0", "audit_id": "none-9", "epoch": 1, "epochs_run": 2}
    sweep.rows["audits"] = [{"sweep_id": "s", "state": "complete", **audit}]
    sweep.rows[table][0][column] = "finished"
    with pytest.raises(AnalysisError, match=f"table {table}: {column} must be one of .*, got 'finished'"):
        arrow_table(table, sweep.rows[table])


def test_an_object_store_gives_what_a_folder_gives(sweep, tmp_path, s3_folder):
    system, root = fs.FileSystem.from_uri(s3_folder)
    for name, rows in sweep.rows.items():
        with system.open_output_stream(f"{root}/tables/{name}.parquet") as file:
            file.write(parquet.to_bytes(arrow_table(name, rows)))
    here, there = read_tables(sweep.write(tmp_path)), read_tables(s3_folder)
    for name, frame in here.items():
        pd.testing.assert_frame_equal(frame, there[name])


def test_an_empty_store_and_one_that_is_not_there(s3_folder):
    with pytest.raises(AnalysisError, match=r"no tables in tables of s3://.* `kdsweep tables 's3://"):
        read_tables(s3_folder)
    for wrong, words in (("s3://", "cannot be"), ("ftp://host/folder", "cannot be opened")):
        with pytest.raises(AnalysisError, match=words):
            read_tables(wrong)


def flipped(content, at):
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("part", ["pages", "footer"])
def test_no_flipped_bit_of_a_table_changes_what_is_read(sweep, tmp_path, part):
    sweep.write(tmp_path)
    path = tmp_path / "tables" / "trials.parquet"
    content, expected = path.read_bytes(), read_tables(tmp_path)["trials"]
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    refusals = []
    for at in range(4, footer, 97) if part == "pages" else range(footer, len(content), 53):
        path.write_bytes(flipped(content, at))
        try:
            pd.testing.assert_frame_equal(read_tables(tmp_path, ["trials"])["trials"], expected)
        except AnalysisError as error:
            refusals.append(str(error))
    assert len(refusals) > 20
    assert all(f"rebuild it with `kdsweep tables {tmp_path}`" in refusal for refusal in refusals)


def test_a_table_names_what_it_was_made_from(sweep):
    table = arrow_table("trials", sweep.rows["trials"])
    assert parquet.source_of(pa.BufferReader(parquet.to_bytes(table, "records 1 to 9"))) == "records 1 to 9"
    assert parquet.source_of(pa.BufferReader(parquet.to_bytes(table))) is None


def test_the_file_of_a_table_reads_elsewhere(sweep, tmp_path):
    sweep.write(tmp_path)
    path = tmp_path / "tables" / "trials.parquet"
    rows = len(sweep.rows["trials"])
    assert len(pd.read_parquet(path)) == rows
    assert duckdb.sql(f"select count(*) n from '{path}'").to_arrow_table().to_pylist() == [{"n": rows}]
