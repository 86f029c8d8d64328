import pytest

from analysis import AnalysisError
from analysis.report.comparable import differences
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
    assert "2 searches per method, a test takes 3" in page


def test_other_classes_are_refused(again, tmp_path):
    with pytest.raises(AnalysisError, match="other classes"):
        comparison(again(2, classes=["road", "bus"]))


def test_scores_that_mean_something_else_are_refused(again):
    with pytest.raises(AnalysisError, match=r"seed 0 has .* last evaluated epoch, .* mean of the last 3 evaluated"):
        comparison(again(2, spec_json='{"score": {"last": 3}}'))


def test_other_images_are_refused(again, sweep, tmp_path):
    first = again(1)[0]
    for row in sweep.rows["evaluations"]:
        row["data_digest"] = "other"
    sweep.rows["sweeps"][0]["seed"] = 9
    second = sweep.write(tmp_path / "second")
    with pytest.raises(AnalysisError, match="other images"):
        comparison([first, second])


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (
            ["road", "bus"],
            ["hand-made, seed 0 has 2", "only hand-made, seed 0 has car", "only hand-made, seed 1 has bus"],
        ),
        (["road", "car", "sky"], ["hand-made, seed 1 has 3", "only hand-made, seed 1 has sky"]),
        (["car", "road"], ["the same in another order, from id 0 on (road, car)"]),
    ],
)
def test_a_refusal_says_which_classes_differ(again, classes, words):
    with pytest.raises(AnalysisError) as refusal:
        comparison(again(2, classes=classes))
    assert all(each in str(refusal.value) for each in words)


@pytest.mark.parametrize(
    ("rename", "words"),
    [
        ({}, "have the same names, but other pixels, labels or sizes"),
        ({"i0": "new"}, "1 image of 2 only in hand-made, seed 0 (i0); 1 image of 2 only in hand-made, seed 9 (new)"),
    ],
)
def test_a_refusal_says_which_images_and_settings_differ(again, sweep, tmp_path, rename, words):
    seen = {"eval_id": sweep.rows["evaluations"][0]["eval_id"], "group_id": "g", "gt": 0, "pred": 0, "n": 5}
    sweep.rows["confusion"] = [{**seen, "image_id": image_id} for image_id in ("i0", "i1")]
    first = again(1, spec_json="{}")[0]
    for row in sweep.rows["evaluations"]:
        row["data_digest"] = "0123456789abcdef"
    for row in sweep.rows["confusion"]:
        row["image_id"] = rename.get(row["image_id"], row["image_id"])
    sweep.rows["sweeps"][0].update(seed=9, spec_json='{"data": {"name": "folder", "size": [32, 64]}}')
    second = sweep.write(tmp_path / "second")
    with pytest.raises(AnalysisError) as refusal:
        comparison([first, second])
    sentence = str(refusal.value)
    assert words in sentence
    assert "the specs differ in data.name (null, folder), data.size (null, [32, 64])" in sentence
    assert "0123456789" not in sentence


def test_differences_are_named_down_to_the_field():
    one = {"train": {"epochs": 6, "optimizer": {"lr": 0.1}}, "budget": {"trials": 4}}
    other = {"train": {"epochs": 9, "optimizer": {"lr": 0.1}}, "budget": {"trials": 4, "epochs": 3}}
    assert differences([one, other]) == ["train.epochs (6, 9)", "budget.epochs (null, 3)"]
    assert differences([one, one]) == []


def test_one_sweep_or_the_same_twice_is_refused(again, tmp_path):
    (only,) = again(1)
    for folders, said in (([only], "two sweeps"), ([only, only], "once")):
        with pytest.raises(AnalysisError, match=said):
            comparison(folders)
