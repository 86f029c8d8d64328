"""What is computed from tables that nobody changes is computed once."""

import pytest

from analysis.report import best_evidence as evidence
from analysis.report.findings import findings_of
from analysis.report.sweep_report import report_page
from analysis.report.verdict import verdict_of
from analysis.selection import finalists as selection
from analysis.selection.finalists import finalists
from analysis.tables.fixed import FixedTables, fixed, once


@pytest.fixture
def races(monkeypatch):
    """How often the finalists of a whole sweep are ranked."""
    calls = []

    def counted(*args, decide=selection.decide):
        calls.append(args)
        return decide(*args)

    monkeypatch.setattr(selection, "decide", counted)
    return calls


def test_finalists_are_ranked_once_for_a_best_config_and_once_for_a_verdict(tables, races):
    evidence.best_evidence(tables)
    assert len(races) == 1
    verdict_of(tables)
    assert len(races) == 2
    same = fixed(tables)
    verdict_of(same)
    evidence.best_evidence(same)
    assert len(races) == 3


def test_finalists_are_ranked_once_for_a_report(tables, races):
    findings = findings_of(tables)
    report_page(findings)
    assert len(races) == 1
    assert verdict_of(findings.tables) == findings.verdict
    assert len(races) == 1


def test_other_tables_are_computed_anew(tables):
    same, calls = FixedTables(tables), []
    count = once(lambda tables, more=0: calls.append(more) or len(tables["trials"]) + more)
    assert count(same) == count(same) == len(same["trials"])
    assert count(same, 1) == len(same["trials"]) + 1
    assert count({**same, "trials": same["trials"].iloc[:1]}) == 1
    assert calls == [0, 1, 0]
    assert finalists(same) is finalists(same)


def test_fixed_tables_take_new_tables_alone(tables):
    same = FixedTables(tables)
    with pytest.raises(TypeError, match="these tables are fixed"):
        same["trials"] = same["trials"].iloc[:1]
    with pytest.raises(KeyError, match="hold it already"):
        same.add("trials", same["trials"])
    same.add("notes", same["trials"])
    assert "notes" in same
