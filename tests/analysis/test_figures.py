import re

import pandas as pd
import pytest

from analysis.figures import results as plots
from analysis.figures import search as search_plots
from analysis.figures.canvas import BASELINE, Figure, colors
from analysis.figures.marks import CLOUD, Box, Curve, Dots
from analysis.figures.scale import Scale
from analysis.figures.space import parallel, slice_of
from analysis.search.history import drawn_values, incumbents, learning_curves, responses, spending
from analysis.selection.compare import compare, per_class
from analysis.selection.finalists import finalists
from analysis.tables.json_columns import read_spaces


def test_a_study_keeps_its_color_and_the_baseline_is_grey(tables):
    palette = colors(tables["studies"])
    assert palette["none"] == BASELINE
    drawing = plots.seeds(finalists(tables), palette, 0.41, 0.55)
    used = {mark.color for mark in drawing.marks if isinstance(mark, Dots)}
    assert used == set(palette.values())


def test_seeds_are_drawn_in_points(tables):
    drawing = plots.seeds(finalists(tables), colors(tables["studies"]), 0.41, float("nan"))
    dots = [mark for mark in drawing.marks if isinstance(mark, Dots) and mark.size == 9]
    drawn = sorted(value for mark in dots for value in mark.x)
    assert drawn == pytest.approx([40, 42, 43, 46, 50, 55])
    assert drawing.y.labels == ["none-1", "cwd-0"]


def test_every_trial_has_a_learning_curve_of_its_own(tables):
    curves, palette = learning_curves(tables), colors(tables["studies"])
    drawing = search_plots.learning_curves(curves, "cwd", "cwd-config-0", curves.iloc[:0], palette)
    lines = {mark.trial: mark for mark in drawing.marks if isinstance(mark, Curve)}
    assert {trial: line.width for trial, line in lines.items()} == {
        **dict.fromkeys(["cwd-0", "cwd-1", "cwd-2"], 1.0),
        **dict.fromkeys(["cwd-3", "cwd-4"], 2.2),
    }
    assert lines["cwd-0"].y == pytest.approx([27.5, 55])


def test_every_figure_draws_from_a_sweep_with_nothing_complete(empty_sweep):
    sweep = empty_sweep()
    sweep.study("none", is_baseline=True)
    sweep.trial("none", None)
    tables = sweep.tables()
    palette = colors(tables["studies"])
    comparison = compare(tables)
    search_plots.budget(spending(tables), list(comparison["study"]), palette).draw()
    search_plots.incumbent(incumbents(tables), palette).draw()
    search_plots.learning_curves(learning_curves(tables), "none", None, learning_curves(tables), palette).draw()
    plots.per_class(per_class(tables, comparison), "none", palette).draw()
    assert responses(tables).empty


def test_a_parameter_of_names_gets_an_axis_of_names_and_a_range_its_own_scale(tables):
    frame, palette, spaces = drawn_values(tables), colors(tables["studies"]), read_spaces(tables)

    def drawn(name):
        domains = {study: space[name] for study, space in spaces.items() if name in space}
        return slice_of(frame[frame["name"] == name], domains, palette)

    assert drawn("act").x.labels == ["a", "b"]
    rate = drawn("optimizer.lr")
    assert rate.x.log
    assert [list(mark.x) for mark in rate.marks if isinstance(mark, Curve)] == [[1e-4, 1e-1]]
    assert ">0.01</text>" in rate.draw()


def test_a_stopped_trial_is_drawn_at_the_score_that_it_reached(empty_sweep):
    sweep = empty_sweep()
    sweep.study("none", is_baseline=True)
    sweep.trial("none", 0.5, params={"optimizer.lr": 0.01})
    sweep.trial("none", None, params={"optimizer.lr": 0.1}, state="pruned", reached=0.3)
    tables = sweep.tables()
    drawing = slice_of(drawn_values(tables), {"none": read_spaces(tables)["none"]["optimizer.lr"]}, {"none": "gray"})
    marks = {
        mark.symbol: (list(mark.x), list(mark.y)) for mark in drawing.marks if isinstance(mark, Dots) and mark.trials
    }
    assert marks == {"circle": ([0.01], [50.0]), "x": ([0.1], [30.0])}


def test_parallel_axes_are_the_searched_ranges(tables):
    frame, space = drawn_values(tables), read_spaces(tables)["cwd"]
    drawing = parallel(frame[frame["study"] == "cwd"], space, "#123456")
    lines = {mark.trial: list(mark.y) for mark in drawing.marks if isinstance(mark, Curve) and mark.trial}
    assert lines["cwd-0"] == pytest.approx([1 / 3, 0, 1])
    assert lines["cwd-2"][-1] == 0
    assert drawing.x.labels == ["optimizer.lr", "act", "mIoU"]


HOSTILE = "</script><svg onload=alert(1)>\"'&"


def test_names_of_users_are_text_in_a_figure():
    figure = Figure(100, x=HOSTILE, y=HOSTILE)
    figure.y.name([HOSTILE])
    figure.add(Dots([1], [0], "red", titles=[HOSTILE], trials=[HOSTILE]), Curve([0, 1], [0, 0], HOSTILE, title=HOSTILE))
    figure.upright(1, "red", HOSTILE)
    figure.name(1, 0, HOSTILE)
    figure.head, figure.keys = HOSTILE, {HOSTILE: HOSTILE}
    drawn = figure.draw()
    assert "<svg onload" not in drawn
    assert "</script" not in drawn
    assert HOSTILE[-3:-1] not in drawn


def test_names_beside_points_do_not_lie_on_each_other():
    figure = Figure(300)
    points = {"first": (1.0, 1.0), "second": (1.0, 1.02), "third": (1.01, 1.0), "far": (5.0, 5.0)}
    for name, (x, y) in points.items():
        figure.add(Dots([x], [y], "red"))
        figure.name(x, y, name)
    texts = re.findall(
        r'<text x="([\d.]+)%" y="([\d.]+)"[^>]*?(?: dx="(-?\d+)")?[^>]*>(first|second|third|far)<', figure.draw()
    )
    assert len(texts) == 4
    assert len({(round(float(y) / 14), dx) for _, y, dx, _ in texts}) == 4


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (1e-5, 1e-1, True, [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]),
        (0.003, 0.1, True, [0.003, 0.01, 0.03, 0.1]),
        (1.0, 8.0, True, [1, 2, 5]),
        (2.0, 4.0, True, [2, 3, 4]),
        (0.30, 0.32, True, [0.3, 0.305, 0.31, 0.315, 0.32]),
        (0.0, 1.0, False, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3.0, 4.0, False, [-2, 0, 2, 4]),
    ],
)
def test_ticks_are_round(low, high, log, ticks):
    assert Scale(low, high, log).ticks() == pytest.approx(ticks)


def test_what_was_done_once_for_all_studies_has_a_bar_of_its_own(tables):
    once = {"fitting the teacher": 300.0, "recording samples": 60.0}
    drawing = search_plots.budget(spending(tables), ["cwd", "none"], colors(tables["studies"]), once)
    bars = [(mark.title, mark.x0, mark.x1) for mark in drawing.marks if isinstance(mark, Box) and mark.y0 < 0]
    assert bars == [
        ("once for all studies, fitting the teacher: 5.0 min", 0.0, 5.0),
        ("once for all studies, recording samples: 60 s", 5.0, 6.0),
    ]
    assert drawing.y.labels == ["once for all", "none", "cwd"]
    assert drawing.x.title == "training time (minutes)"


def test_a_class_difference_is_filled_where_its_interval_leaves_out_zero():
    columns = {"difference": [0.02, -0.01], "low": [0.01, -0.03], "high": [0.03, 0.01], "clusters": [6, 6]}
    drawing = plots.class_differences(pd.DataFrame(columns, index=["road", "car"]), "cwd", {"cwd": "#123456"})
    _, intervals, marks = drawing.marks
    assert [value for value in intervals.x if value == value] == pytest.approx([-3, 1, 1, 3])
    assert list(marks.symbol) == ["square-open", "square"]
    assert drawing.y.labels == ["car", "road"]


def test_many_dots_are_one_path_without_tooltips(empty_sweep):
    sweep = empty_sweep()
    sweep.study("none", is_baseline=True)
    for place in range(CLOUD + 1):
        sweep.trial("none", 0.3 + place / 1000, params={"optimizer.lr": 0.01})
    tables = sweep.tables()
    frame, domain = drawn_values(tables), read_spaces(tables)["none"]["optimizer.lr"]
    few, many = (
        slice_of(frame.iloc[:count], {"none": domain}, {"none": "gray"}).draw() for count in (CLOUD, CLOUD + 1)
    )
    assert (few.count("<circle"), many.count("<circle")) == (CLOUD, 0)
    assert many.count("h0") == CLOUD + 1
