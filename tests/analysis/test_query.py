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
