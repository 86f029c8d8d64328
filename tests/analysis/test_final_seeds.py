"""The frozen selection on final seeds, from tables in which every number differs."""

import json

import pytest
from scipy import stats

from analysis.selection.final_seeds import final_difference, final_scores

SELECT = {"none": (0.41, 0.40, 0.43), "cwd": (0.48, 0.49, 0.47)}
TEST = {"none": (0.31, 0.32, 0.30), "cwd": (0.35, 0.37, 0.38)}


@pytest.fixture
def frozen(sweep):
    """The sweep frozen with role test; its final seeds are 21 to 23."""

    def build(role):
        ids = {study: {"study": study, "config_id": f"{study}-config-{n}"} for study, n in (("none", 1), ("cwd", 0))}
        content = {"chosen": ids["cwd"], "baseline": ids["none"], "why": "frozen", "seeds": [21, 22, 23]}
        sweep.rows["sweeps"][0]["frozen_json"] = json.dumps({**content, "role": role, "at": "2026"})
        for study, origin in (("none", "none-1"), ("cwd", "cwd-0")):
            for seed, select, test in zip((21, 22, 23), SELECT[study], TEST[study], strict=True):
                trial = sweep.trial(study, select, seed=seed, of=origin, phase="final")
                sweep.evaluation(trial, test, [test, test], role="test")
                rows = sweep.rows["evaluations"]
                rows[-2:] = rows[:-3:-1]  # in whatever order they come
        return sweep.tables()

    return build


@pytest.mark.parametrize(("role", "scores"), [("test", TEST), ("select", SELECT)])
def test_final_scores_are_those_of_their_role(frozen, role, scores):
    chosen = final_scores(frozen(role))
    assert (chosen.study, chosen.seeds, chosen.role) == ("cwd", (21, 22, 23), role)
    assert chosen.scores == pytest.approx(scores["cwd"])
    assert chosen.select_mean == pytest.approx(0.48)


@pytest.mark.parametrize(("role", "scores"), [("test", TEST), ("select", SELECT)])
def test_the_difference_on_final_seeds_is_a_paired_t_test(frozen, role, scores):
    found = final_difference(frozen(role))
    theirs = stats.ttest_rel(scores["cwd"], scores["none"]).confidence_interval(1 - 0.05 * 3 / 4)
    assert found.each == pytest.approx([mine - base for mine, base in zip(scores["cwd"], scores["none"], strict=True)])
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
