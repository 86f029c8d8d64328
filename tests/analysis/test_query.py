import pytest

from analysis import AnalysisError
from analysis.tables.query import query


def test_every_table_is_a_view(sweep, tmp_path):
    answer = query(sweep.write(tmp_path), "select study, max(score) best from trials group by study order by study")
    assert answer.to_pylist() == [{"study": "cwd", "best": 0.55}, {"study": "none", "best": 0.43}]


def test_a_table_that_is_not_there_is_empty(sweep, tmp_path):
    (sweep.write(tmp_path) / "tables" / "cells.parquet").unlink()
    assert query(tmp_path, "select * from cells").num_rows == 0


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
        query(tmp_path, sql.format(folder=tmp_path))
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "stolen.csv").exists()


def test_no_tables_is_one_sentence(tmp_path):
    with pytest.raises(AnalysisError, match="no tables"):
        query(tmp_path, "select 1")


def test_no_flipped_bit_of_a_table_changes_an_answer(sweep, tmp_path):
    path = sweep.write(tmp_path) / "tables" / "trials.parquet"
    sql = "with best as (select * from trials where score > 0.1) select * from best order by trial_id"
    content, expected, refusals = path.read_bytes(), query(tmp_path, sql), []
    for at in range(4, len(content), len(content) // 30):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        try:
            assert query(tmp_path, sql).equals(expected)
        except AnalysisError as error:
            refusals.append(str(error))
    assert len(refusals) > 20
    assert all("trials.parquet does not read" in refusal for refusal in refusals)
    assert all(f"`kdsweep tables {tmp_path}`" in refusal and "\n" not in refusal for refusal in refusals)


def test_a_damaged_table_that_the_statement_does_not_name_is_not_read(sweep, tmp_path):
    (sweep.write(tmp_path) / "tables" / "confusion.parquet").write_bytes(b"PAR1 is all that is left")
    assert query(tmp_path, "select count(*) n from trials").to_pylist() == [{"n": 10}]


def test_an_empty_file_in_place_of_a_table_is_damage(sweep, tmp_path):
    (sweep.write(tmp_path) / "tables" / "studies.parquet").write_bytes(b"")
    with pytest.raises(AnalysisError, match=r"studies\.parquet does not read"):
        query(tmp_path, "select * from studies")
