"""Figures are written in one way, and no cell of an exported file is a formula."""

import io

import pandas as pd
import pytest

from analysis.formats import duration, latency, spreadsheet_text
from analysis.report.paper.tables import Sheet, comma_separated
from analysis.selection.latency import latency_of
from analysis.tables.query import query
from sweeps.show.query_answer import as_csv


@pytest.mark.parametrize(
    "text", ["=cmd|' /C calc'!A0", "+x", "-x", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1", "-", "--1", "+1+1"]
)
def test_a_text_that_a_spreadsheet_takes_for_a_formula_gets_a_quote(text):
    assert spreadsheet_text(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=b", "-0.21", "+0.40", "-1e-3", "[+0.40, +2.00]", "–", "'=x", "1-2"])
def test_other_texts_and_numbers_stay(text):
    assert spreadsheet_text(text) == text


def test_answers_of_queries_hold_no_formula(sweep, tmp_path):
    rows = """from (values ('=cmd', -1, ['=x'], true), (null, 2, [], false), ('-1.5', 3, ['y'], null),
        ('pl"ain,', 4, null, null)) v("=name", n, l, b)"""
    with query(sweep.write(tmp_path), rows) as answer:
        text = "".join(as_csv(answer))
    frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    assert list(frame.columns) == ["'=name", "n", "l", "b"]
    assert frame["'=name"].tolist() == ["'=cmd", "", "-1.5", 'pl"ain,']
    assert frame["n"].tolist() == ["-1", "2", "3", "4"]
    assert frame["l"].tolist() == ["['=x']", "[]", "['y']", ""]
    assert frame["b"].tolist() == ["true", "false", "", ""]


def test_tables_for_a_paper_hold_no_formula():
    sheet = Sheet("x", "", ["study", "@d"], [["=cmd", "-0.21"], ["a", "–"]], "")
    assert comma_separated(sheet) == "study,'@d\n'=cmd,-0.21\na,\n"


def test_a_minute_and_a_millisecond_are_written_in_the_unit_that_reads_best():
    assert [duration(seconds) for seconds in (0.4, 59, 61, 90, 3600, 7200)] == [
        *["0 s", "59 s", "61 s", "1.5 min", "60.0 min", "2.0 h"]
    ]
    assert (latency(12.24), latency(float("nan")), latency(None)) == ("12.2 ms", "–", "–")


def test_the_latency_of_a_student_is_one_figure():
    trials = pd.DataFrame(
        {
            "params": [1, 1, 1, 2],
            "macs": [5.0, 5.0, 5.0, None],
            "latency_device": ["cpu", "cpu", "gpu", "cpu"],
            "latency_ms": [12.6, 12.2, 1.0, 7.0],
        }
    )
    tables = {"trials": trials}
    assert latency_of(tables, trials.iloc[:1]) == 12.2
    assert latency_of(tables, trials.iloc[2:3]) == 1.0
    assert latency_of(tables, trials.iloc[3:]) == 7.0
    assert latency_of(tables, trials.iloc[:1].assign(latency_ms=None)) != 0
