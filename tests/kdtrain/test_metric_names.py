"""The names of metrics and of parts of the seconds in the tables are those that a training reports."""

import pandas as pd
import pytest

from analysis.tables import metric_names
from analysis.tables.metric_names import TermPart, is_term, parse_terms
from kdtrain import train
from kdtrain.config import Replay
from sweeps.outcome.tabulate import report_values


@pytest.fixture
def reports(make_config, machine, tmp_path):
    """Every epoch of two trainings: one records for all, one asks the teacher itself."""
    store = machine.model_copy(update={"replay": Replay(folder=tmp_path / "replay")})
    config = make_config("kd", epochs=2)
    trained = [train(config, on, workdir=tmp_path / name) for name, on in (("first", store), ("alone", machine))]
    return [report for result in trained for report in result.reports]


def test_the_names_are_those_that_a_training_reports(reports):
    seconds = {part for report in reports for part in report.seconds}
    assert seconds == {metric_names.TOTAL, *metric_names.INSIDE, *metric_names.OUTSIDE, *metric_names.ONCE}
    parts = {part for report in reports for term in report.losses.values() for part in term}
    assert parts == set(TermPart)

    names = pd.Series([name for report in reports for name in report_values(report)])
    of_terms = parse_terms(names[is_term(names)])
    assert set(of_terms["part"]) == set(TermPart)
    assert set(of_terms["term"]) == set(reports[0].losses)
    others = {metric_names.MIOU, metric_names.PIXEL_ACCURACY, metric_names.LEARNING_RATE, metric_names.TEACHER_IMAGES}
    assert set(names[~is_term(names)]) == others | set(map(metric_names.seconds_metric, seconds))


def test_a_term_may_have_a_slash_in_its_name():
    names = pd.Series([metric_names.term_metric("a/b", TermPart.RAW), metric_names.seconds_metric("data")])
    assert is_term(names).tolist() == [True, False]
    assert parse_terms(names).iloc[0].to_dict() == {"term": "a/b", "part": "raw"}
