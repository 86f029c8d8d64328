"""Several data sets or pairs of teacher and student: the task is the unit."""

import json

import numpy as np
import pytest
from scipy import stats

from analysis.errors import AnalysisError
from analysis.report.comparison_report import comparison
from analysis.search.task_claim import task_claim


def swept(empty_sweep, place, gains, teacher=0.6, **fields):
    """A sweep of the data set number ``place``, with studies that gain so much over the baseline's 0.40."""
    spec = json.dumps({"data": {"name": f"set-{place}"}})
    made = empty_sweep(seed=place, sweep_id=f"s{place}", data_name=f"set-{place}", spec_json=spec, **fields)
    for study, gain in {"none": 0.0, **gains}.items():
        made.study(study, is_baseline=study == "none")
        config = made.trial(study, 0.5)
        for seed in (11, 12):
            made.trial(study, 0.40 + 0.01 * place + gain, seed=seed, of=config)
    if teacher is not None:
        made.teacher(teacher)
    return made


def tasks(empty_sweep, count, gains=lambda place: {"cwd": 0.03 + 0.001 * place, "kd": -0.01}, **fields):
    return {f"set-{place}": [swept(empty_sweep, place, gains(place), **fields).tables()] for place in range(count)}


def test_below_six_tasks_there_are_ranks_and_no_claim(empty_sweep):
    claim = task_claim(tasks(empty_sweep, 3))
    assert claim.sentence.startswith("3 tasks: ranks and shares of the gap are shown, and nothing is claimed")
    assert claim.ranks.to_dict() == {"cwd": 1.0, "none": 2.0, "kd": 3.0}
    assert claim.frame["p"].isna().all()
    assert claim.critical is None
    first = claim.scores.set_index(["task", "study"]).loc[("set-0", "cwd")]
    assert first["share"] == pytest.approx(0.03 / 0.20)


def test_from_six_tasks_on_the_signed_rank_test_decides(empty_sweep):
    claim = task_claim(tasks(empty_sweep, 8))
    rows = claim.frame.set_index("study")
    assert rows.loc["cwd", "p"] == pytest.approx(stats.wilcoxon([0.03 + 0.001 * place for place in range(8)]).pvalue)
    assert rows.loc["cwd", "separated"]
    assert "cwd (better in 8 of 8)" in claim.sentence
    assert claim.critical is not None
    assert claim.critical.difference == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 8)), abs=0.01)  # Demsar 2006


def test_too_few_tasks_for_so_many_methods_are_told(empty_sweep):
    gains = lambda place: dict.fromkeys(("a", "b", "c", "d"), 0.01 + 0.001 * place)  # noqa: E731
    claim = task_claim(tasks(empty_sweep, 6, gains))
    assert not claim.frame["separated"].any()
    assert "with 4 methods a test that could separate the first of them takes 8 tasks" in claim.sentence


def test_no_share_where_the_teacher_is_hardly_better_or_unknown(empty_sweep):
    made = tasks(empty_sweep, 2, teacher=0.415)
    made |= {"set-9": [swept(empty_sweep, 9, {"cwd": 0.03}, teacher=None).tables()]}
    assert task_claim(made).scores["share"].isna().all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"baseline": "kd"}, "the same baseline study, got set-0 has none; set-1 has kd"),
        ({"baseline": None}, "set-1 has none"),
    ],
)
def test_tasks_with_other_baselines_are_refused(empty_sweep, change, words):
    made = tasks(empty_sweep, 1)
    made["set-1"] = [swept(empty_sweep, 1, {"cwd": 0.02}, **change).tables()]
    with pytest.raises(AnalysisError, match=words):
        task_claim(made)


def test_tasks_without_a_method_in_common_are_refused(empty_sweep):
    made = tasks(empty_sweep, 2, lambda place: {f"only-{place}": 0.02})
    with pytest.raises(AnalysisError, match="set-0 has only-0; set-1 has only-1"):
        task_claim(made)


def test_a_name_that_means_two_methods_is_refused(empty_sweep):
    made = tasks(empty_sweep, 2)
    made["set-1"][0]["studies"].loc[1, "method"] = "kd"
    with pytest.raises(AnalysisError, match="study cwd: must be the same method in all tasks, got cwd in set-0, kd in"):
        task_claim(made)


def test_the_same_data_set_at_another_size_is_no_other_task(empty_sweep, tmp_path):
    folders = []
    for place, size in enumerate(([32, 64], [64, 128])):
        made = swept(empty_sweep, place, {"cwd": 0.02})
        made.rows["sweeps"][0].update(data_name="mine", spec_json=json.dumps({"data": {"size": size}}))
        for row in made.rows["evaluations"]:
            row["data_digest"] = str(size)
        folders.append(made.write(tmp_path / f"d{place}"))
    with pytest.raises(AnalysisError, match=r"data\.size"):
        comparison(folders)


def test_another_student_on_the_same_images_is_another_task(empty_sweep, tmp_path):
    folders = []
    for place, encoder in enumerate(("small", "large")):
        made = swept(empty_sweep, place, {"cwd": 0.02})
        spec = json.dumps({"student": {"arch": "Unet", "encoder": encoder}})
        made.rows["sweeps"][0].update(data_name="mine", spec_json=spec)
        folders.append(made.write(tmp_path / f"d{place}"))
    page = comparison(folders)
    assert "2 tasks, 2 sweeps" in page
    assert "Unet large" in page


def test_a_page_over_data_sets(empty_sweep, tmp_path):
    folders = [
        swept(empty_sweep, place, {"cwd": 0.03, "kd": 0.01 * (place % 2)}, classes=("road", f"c{place}")).write(
            tmp_path / f"d{place}"
        )
        for place in range(6)
    ]
    page = comparison(folders)
    assert "6 tasks, 6 sweeps" in page
    assert "Mean ranks over the tasks" in page
    assert "set-5" in page
    assert "of the gap" in page
    few = comparison(folders[:2])
    assert "nothing is claimed over tasks" in few
