import numpy as np
import pandas as pd
import pytest
from opda.nonparametric import EmpiricalDistribution

from analysis.search.expected_best import BAND, band, expected_best, refusal, weights


@pytest.fixture
def search(empty_sweep):
    """A random search of two studies with 40 trials each, and one function to change what it found."""

    def make(scores=None, **fields):
        rng = np.random.default_rng(5)
        made = empty_sweep(**{"sampler": "random", "scheduler": "none", **fields})
        for study, level in (("none", 0.40), ("cwd", 0.44)):
            made.study(study, is_baseline=study == "none")
            for score in rng.normal(level, 0.02, 40) if scores is None else scores:
                if score is None:
                    made.trial(study, None, state="diverged")
                else:
                    made.trial(study, float(score))
        return made

    return make


def curves(tables, study="none"):
    result = expected_best(tables)
    return result.by_trials[result.by_trials["study"] == study], result.by_hours[result.by_hours["study"] == study]


def test_weights_are_those_of_opda_and_stay_finite_for_thousands():
    scores = np.random.default_rng(0).random(60)
    n = np.arange(1, 61)
    assert weights(60, n) @ np.sort(scores) == pytest.approx(EmpiricalDistribution(scores).u_tuning_curve(n))
    assert weights(5000, [1, 700, 5000]).sum(1) == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("total", [1, 3, 60])
def test_the_band_is_that_of_opda(total):
    scores = np.random.default_rng(total).random(total)
    n = np.array([1, 2, 7, 60])
    bands = EmpiricalDistribution.confidence_bands(scores, BAND, a=0.0, b=1.0, method="dkw")
    low, high = band(scores, n)
    assert low == pytest.approx(bands[2].average_tuning_curve(n))
    assert high == pytest.approx(bands[0].average_tuning_curve(n))


def test_the_curve_goes_from_the_mean_to_the_best_and_is_trusted_to_a_quarter(search):
    made = search()
    scores = [trial["score"] for trial in made.rows["trials"] if trial["study"] == "none"]
    by_trials, _ = curves(made.tables())
    assert by_trials["score"].iloc[0] == pytest.approx(np.mean(scores))
    assert by_trials["score"].iloc[-1] == pytest.approx(max(scores))
    assert by_trials.loc[by_trials["trusted"], "n"].max() == 10
    assert (by_trials["low"] <= by_trials["score"]).all()
    assert (by_trials["high"] >= by_trials["score"]).all()


def test_hours_are_spent_in_random_orders(search):
    made = search()
    for trial in made.rows["trials"]:
        trial["seconds"] = 360.0 * (1 + trial["number"] % 3)
    _, by_hours = curves(made.tables())
    assert by_hours["score"].is_monotonic_increasing
    total = sum(t["seconds"] for t in made.rows["trials"] if t["study"] == "none") / 3600
    assert by_hours["hours"].iloc[-1] == pytest.approx(total)
    best = max(t["score"] for t in made.rows["trials"] if t["study"] == "none")
    assert by_hours["score"].iloc[-1] == pytest.approx(best)
    assert (by_hours["trusted"] == (by_hours["hours"] <= total / 4)).all()


def test_equal_costs_give_the_same_curve_against_hours_as_against_trials(search):
    by_trials, by_hours = curves(search().tables())
    hours = 20 / 3600
    at = np.interp(10 * hours, by_hours["hours"], by_hours["score"])
    assert at == pytest.approx(by_trials.set_index("n")["score"].loc[10], abs=0.002)


def test_a_diverged_trial_is_budget_spent(search):
    by_trials, _ = curves(search(scores=[0.4, None, 0.5, None]).tables())
    assert by_trials["n"].tolist() == [1, 2, 3, 4]
    assert by_trials["score"].iloc[0] == pytest.approx((0.4 + 0.4 + 0.4 + 0.5) / 4)


@pytest.mark.parametrize(("sampler", "scheduler"), [("tpe", "none"), ("random", "halving")])
def test_searches_that_learn_or_stop_early_are_refused(search, sampler, scheduler):
    result = expected_best(search(sampler=sampler, scheduler=scheduler).tables())
    assert result.by_trials.empty
    assert result.by_hours.empty
    assert (sampler if sampler == "tpe" else scheduler) in result.refused
    assert refusal(search().tables()["sweeps"]) == ""


def test_chosen_by_one_score_and_scored_by_another(empty_sweep):
    rng = np.random.default_rng(8)
    made = empty_sweep(sampler="random", scheduler="none")
    made.study("none", is_baseline=True)
    for _ in range(40):
        result = made.trial("none", float(0.4 + rng.normal(0, 0.02)))
        made.trial("none", float(0.4 + rng.normal(0, 0.02)), seed=11, of=result)
    result = expected_best(made.tables())
    assert result.held_out == "fresh seeds"
    last = result.by_trials.iloc[-1]
    assert last["score"] > 0.43
    assert last["held_out"] == pytest.approx(0.4, abs=0.05)
    assert result.by_trials["held_out"].iloc[5:].mean() == pytest.approx(0.4, abs=0.015)


def test_half_of_the_images_chooses_and_the_other_half_scores(search):
    made = search(scores=[0.4, 0.5, 0.6, 0.45])
    for trial in made.rows["trials"]:
        for image in range(6):
            right = int(100 * trial["score"]) + (5 if image < 3 else -5)
            for gt, pred, n in ((0, 0, right), (0, 1, 100 - right), (1, 1, 100)):
                row = {"eval_id": f"{trial['trial_id']}/select", "image_id": f"i{image}", "group_id": f"v{image // 3}"}
                made.rows["confusion"].append({**row, "gt": gt, "pred": pred, "n": n})
    result = expected_best(made.tables())
    assert result.held_out == "the half of the images that did not choose, of whole sequences"
    assert result.by_trials["held_out"].notna().all()
    mine = result.by_trials[result.by_trials["study"] == "none"]
    assert mine["held_out"].is_monotonic_increasing


def test_without_a_second_score_none_is_made_up(search):
    result = expected_best(search().tables())
    assert result.held_out == ""
    assert result.by_trials["held_out"].isna().all()


def test_an_empty_search_gives_empty_curves(empty_sweep):
    made = empty_sweep(sampler="random", scheduler="none")
    made.study("none", is_baseline=True)
    result = expected_best(made.tables())
    assert isinstance(result.by_trials, pd.DataFrame)
    assert result.by_trials.empty


def test_the_half_that_scores_is_not_the_half_that_chose(empty_sweep):
    """The trial that is best on one half of the images is worst on the other; role test is not looked at."""
    made = empty_sweep(sampler="random", scheduler="none", classes=("road",), palette=("#804080",))
    made.study("none", is_baseline=True)
    for first, second in ((80, 30), (20, 60)):
        trial = made.trial("none", 0.5)
        made.evaluation(trial, 0.99, [0.99], role="test")
        made.rows["evaluations"][-1]["epoch"] = 9
        for role, halves in (("select", (first, second)), ("test", (99, 99))):
            for image, right in enumerate(halves):
                row = {"eval_id": f"{trial}/{role}", "image_id": f"i{image}", "group_id": f"v{image}", "gt": 0}
                made.rows["confusion"].append({**row, "pred": 0, "n": right})
                made.rows["confusion"].append({**row, "gt": 1, "pred": 0, "n": 100 - right})
    made.rows["sweeps"][0]["num_classes"] = 2
    by_trials = expected_best(made.tables()).by_trials
    halves = np.array([0.80, 0.30, 0.20, 0.60]) / 2  # the other class is never predicted
    assert by_trials["held_out"].tolist() == pytest.approx([halves.mean(), (halves[1] + halves[2]) / 2])
