import pytest

from analysis import AnalysisError
from analysis.report.comparison_report import comparison


@pytest.fixture
def again(sweep, tmp_path):
    """The same sweep with other seeds of the search, as written to several folders."""

    def write(count, **fields):
        folders = []
        for seed in range(count):
            sweep.rows["sweeps"][0].update(seed=seed, sweep_id=f"s{seed}", **(fields if seed else {}))
            folders.append(sweep.write(tmp_path / f"sweep-{seed}"))
        return folders

    return write


def test_sweeps_side_by_side(again, tmp_path):
    page = comparison(again(2))
    assert "hand-made, seed 0" in page
    assert "hand-made, seed 1" in page
    assert page.count(">48.00 (n=2)<") == 2
    assert "tuning luck not measured" in page


def test_other_classes_are_refused(again, tmp_path):
    with pytest.raises(AnalysisError, match="other classes"):
        comparison(again(2, classes=["road", "bus"]))


def test_other_images_are_refused(again, sweep, tmp_path):
    first = again(1)[0]
    for row in sweep.rows["evaluations"]:
        row["data_digest"] = "other"
    sweep.rows["sweeps"][0]["seed"] = 9
    second = sweep.write(tmp_path / "second")
    with pytest.raises(AnalysisError, match="other images"):
        comparison([first, second])


def test_one_sweep_or_the_same_twice_is_refused(again, tmp_path):
    (only,) = again(1)
    for folders, said in (([only], "two sweeps"), ([only, only], "once")):
        with pytest.raises(AnalysisError, match=said):
            comparison(folders)
