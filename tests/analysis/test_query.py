import pyarrow.parquet as pq
import pytest

from analysis import AnalysisError
from analysis.tables.query import query
from analysis.tables.schemas import SCHEMAS
from sweeps.show.query_answer import as_csv
from tests.analysis.conftest import rows_of


def test_every_table_is_a_view(sweep, tmp_path):
    answer = rows_of(sweep.write(tmp_path), "select study, max(score) best from trials group by study order by study")
    assert answer == [{"study": "cwd", "best": 0.55}, {"study": "none", "best": 0.43}]


def test_a_table_that_is_not_there_is_empty(sweep, tmp_path):
    (sweep.write(tmp_path) / "tables" / "cells.parquet").unlink()
    assert rows_of(tmp_path, "select * from cells") == []


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select nothing from trials", "nothing"),
        ("select * from trialz", "trialz"),
        ("selekt 1", "syntax"),
        ("", "write a select"),
        ("select * from read_csv('/etc/hostname')", "disabled"),
        ("copy trials to '{folder}/stolen.csv'", "disabled"),
        ("set enable_external_access = true", "locked"),
    ],
)
def test_what_is_wrong_or_reaches_out_is_refused_in_one_line(sweep, tmp_path, sql, said):
    sweep.write(tmp_path)
    with pytest.raises(AnalysisError, match=said) as refusal:
        rows_of(tmp_path, sql.format(folder=tmp_path))
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "stolen.csv").exists()


def test_no_tables_is_one_sentence(tmp_path):
    with pytest.raises(AnalysisError, match="no tables"):
        rows_of(tmp_path, "select 1")


def with_pages_unsealed(content):
    """The file of a table as earlier versions wrote it."""
    pages = content.index(b"KDPAGES1")
    return content[:pages] + content[pages + 40 :]


@pytest.mark.parametrize("is_old", [False, True])
def test_no_flipped_bit_of_a_table_changes_an_answer(sweep, tmp_path, is_old):
    path = sweep.write(tmp_path) / "tables" / "trials.parquet"
    if is_old:
        path.write_bytes(with_pages_unsealed(path.read_bytes()))
    sql = "with best as (select * from trials where score > 0.1) select * from best order by trial_id"
    content, expected, refusals = path.read_bytes(), rows_of(tmp_path, sql), []
    for at in range(4, len(content), len(content) // 30):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        try:
            assert rows_of(tmp_path, sql) == expected
        except AnalysisError as error:
            refusals.append(str(error))
    assert len(refusals) > 20
    assert all("trials.parquet does not read" in refusal for refusal in refusals)
    assert all(f"`kdsweep tables {tmp_path}`" in refusal and "\n" not in refusal for refusal in refusals)


def test_a_damaged_table_that_the_statement_does_not_name_is_not_read(sweep, tmp_path):
    (sweep.write(tmp_path) / "tables" / "confusion.parquet").write_bytes(b"PAR1 is all that is left")
    assert rows_of(tmp_path, "select count(*) n from trials") == [{"n": 10}]


def test_an_empty_file_in_place_of_a_table_is_damage(sweep, tmp_path):
    (sweep.write(tmp_path) / "tables" / "studies.parquet").write_bytes(b"")
    with pytest.raises(AnalysisError, match=r"studies\.parquet does not read"):
        rows_of(tmp_path, "select * from studies")


def test_the_content_of_a_table_is_sealed_as_a_whole(sweep, tmp_path):
    path = sweep.write(tmp_path) / "tables" / "trials.parquet"
    content = path.read_bytes()
    pages = content.index(b"KDPAGES1")
    path.write_bytes(content[: pages + 8] + bytes(32) + content[pages + 40 :])
    with pytest.raises(AnalysisError, match="its content does not match its checksum"):
        rows_of(tmp_path, "select * from trials")


def test_every_column_has_the_type_of_its_schema_whether_a_file_has_it_or_not(sweep, tmp_path):
    sweep.write(tmp_path)
    folder, types = tmp_path / "tables", {}
    for is_there in (True, False):
        for name in SCHEMAS:
            with query(tmp_path, f"select * from {name}") as answer:
                assert answer.columns == tuple(SCHEMAS[name].names)
                assert types.setdefault(name, answer.types) == answer.types
            if is_there and name != "trials":
                (folder / f"{name}.parquet").unlink(missing_ok=True)
    pq.write_table(pq.read_table(folder / "trials.parquet", columns=["trial_id"]), folder / "trials.parquet")
    with query(tmp_path, "select * from trials") as answer:
        assert answer.types == types["trials"]


@pytest.mark.parametrize("name", ["runs [1]*", "study=cwd", "it's ü"])
def test_the_name_of_a_folder_is_no_pattern(sweep, tmp_path, name, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / name))
    assert rows_of(sweep.write(tmp_path / name), "select count(distinct study) n from trials") == [{"n": 2}]


def test_a_statement_cannot_write_into_the_sweep(sweep, tmp_path):
    path = sweep.write(tmp_path) / "tables" / "trials.parquet"
    before = path.read_bytes()
    with pytest.raises(AnalysisError, match="disabled"):
        rows_of(tmp_path, f"copy (select 1) to '{path}' (use_tmp_file false)")
    assert path.read_bytes() == before


def test_a_name_that_the_statement_composes_is_a_table(sweep, tmp_path):
    sweep.write(tmp_path)
    assert rows_of(tmp_path, "select count(*) n from query_table('tri' || 'als')") == [{"n": 10}]


def test_times_are_texts_in_universal_time(sweep, tmp_path):
    sweep.write(tmp_path)
    row = rows_of(tmp_path, "select study, created_at, [created_at] l from trials, sweeps order by trial_id desc; ")[0]
    assert (row["created_at"], row["l"].strip("[]'")) == ("2026-03-01 09:00:00+00",) * 2


def test_a_long_answer_is_counted_and_read_in_parts(sweep, tmp_path, monkeypatch):
    sweep.write(tmp_path)
    monkeypatch.setattr("analysis.tables.query._BATCH", 3)
    with query(tmp_path, "select trial_id from trials order by 1") as answer:
        rows, total = answer.first(4)
        assert (len(rows), total) == (4, 10)
        assert answer.first(10) == answer.first(11)
        pieces = list(as_csv(answer))
    assert (len(pieces), "".join(pieces).count("\n")) == (5, 11)


def test_a_full_disk_of_temporary_files_is_one_sentence(sweep, tmp_path, monkeypatch):
    sweep.write(tmp_path / "sweep")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    with pytest.raises(AnalysisError, match=r"cannot write a temporary folder: .* TMPDIR"):
        rows_of(tmp_path / "sweep", "select 1")
