import numpy as np
import pandas as pd
import pytest

from analysis.figures import results as plots
from analysis.figures import search as search_plots
from analysis.figures.canvas import BASELINE, colors
from analysis.search.history import incumbents, learning_curves, responses, spending
from analysis.selection.compare import compare, per_class
from analysis.selection.finalists import finalists


def test_a_study_keeps_its_color_and_the_baseline_is_grey(tables):
    palette = colors(tables["studies"])
    assert palette["none"] == BASELINE
    drawing = plots.seeds(finalists(tables), palette, 0.41, 0.55)
    used = {trace.marker.color for trace in drawing.data if trace.marker.symbol is None and trace.marker.color}
    assert used == set(palette.values())


def test_seeds_are_drawn_in_points(tables):
    drawing = plots.seeds(finalists(tables), colors(tables["studies"]), 0.41, float("nan"))
    dots = [trace for trace in drawing.data if trace.mode == "markers" and trace.marker.size == 9]
    drawn = sorted(value for trace in dots for value in trace.x)
    assert drawn == pytest.approx([40, 42, 43, 46, 50, 55])
    assert drawing.layout.yaxis.ticktext == ("none-1", "cwd-0")


def test_learning_curves_have_gaps_between_trials(tables):
    curves, palette = learning_curves(tables), colors(tables["studies"])
    drawing = search_plots.learning_curves(curves, "cwd", "cwd-config-0", curves.iloc[:0], palette)
    thin = drawing.data[0]
    assert np.isnan(thin.x).sum() == 2
    assert len(thin.x) == 3 * 2 + 2


def test_every_figure_draws_from_a_sweep_with_nothing_complete(empty_sweep):
    sweep = empty_sweep()
    sweep.study("none", is_baseline=True)
    sweep.trial("none", None)
    tables = sweep.tables()
    palette = colors(tables["studies"])
    comparison = compare(tables)
    search_plots.budget(spending(tables), list(comparison["study"]), palette)
    search_plots.incumbent(incumbents(tables), palette)
    search_plots.learning_curves(learning_curves(tables), "none", None, learning_curves(tables), palette)
    plots.per_class(per_class(tables, comparison), "none", palette)
    assert responses(tables).empty


def test_a_parameter_of_names_gets_an_axis_of_names(tables):
    frame = responses(tables)
    palette = colors(tables["studies"])
    assert search_plots.response(frame[frame["name"] == "act"], palette).layout.xaxis.type == "category"
    assert search_plots.response(frame[frame["name"] == "optimizer.lr"], palette).layout.xaxis.type == "log"


def test_what_was_done_once_for_all_studies_has_a_bar_of_its_own(tables):
    once = {"fitting the teacher": 300.0, "recording samples": 60.0}
    drawing = search_plots.budget(spending(tables), ["cwd", "none"], colors(tables["studies"]), once)
    bars = {trace.name: (trace.x, trace.y) for trace in drawing.data if trace.y == (-1,)}
    assert {name: x[0] for name, (x, _) in bars.items()} == {"fitting the teacher": 5.0, "recording samples": 1.0}
    assert drawing.layout.yaxis.ticktext == ("once for all", "none", "cwd")
    assert drawing.layout.xaxis.title.text == "training time (minutes)"


def test_a_class_difference_is_filled_where_its_interval_leaves_out_zero():
    columns = {"difference": [0.02, -0.01], "low": [0.01, -0.03], "high": [0.03, 0.01], "clusters": [6, 6]}
    drawing = plots.class_differences(pd.DataFrame(columns, index=["road", "car"]), "cwd", {"cwd": "#123456"})
    intervals, marks = drawing.data
    assert [value for value in intervals.x if value == value] == pytest.approx([-3, 1, 1, 3])
    assert list(marks.marker.symbol) == ["square-open", "square"]
    assert drawing.layout.yaxis.ticktext == ("car", "road")
