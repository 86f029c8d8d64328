import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.selection.one_standard_error import cheapest, pooled_sd, seed_sd, standings, within_one_se


def tied(**columns):
    base = {"mean": [0.50, 0.49, 0.495], "fastest_s": [10.0] * 3, "training_macs": [7.0] * 3, "params": [5.0] * 3}
    return pd.DataFrame({**base, "distance": [math.nan] * 3, **columns}, index=[4, 7, 9])


def test_the_spread_is_pooled_over_configs():
    assert pooled_sd([[1.0, 3.0], [5.0, 5.0], [9.0]]) == pytest.approx(1.0)
    assert math.isnan(pooled_sd([[1.0], [2.0]]))


def test_unstable_configs_have_no_part_in_the_spread():
    frame = pd.DataFrame(
        {"confirmed": True, "unstable": [None, "seed 12 diverged"], "scores": [[1.0, 3.0], [0.0, 100.0]]}
    )
    assert seed_sd(frame) == pytest.approx(math.sqrt(2.0))


def test_a_tie_is_within_one_standard_error_of_the_best():
    assert within_one_se([0.50, 0.491, 0.489], sd=0.02, n=4) == [True, True, False]
    assert within_one_se([0.50, 0.499], sd=math.nan, n=1) == [True, False]


def test_a_clear_gap_in_time_decides_first_then_computation_size_published_values_and_the_mean():
    assert cheapest(tied(fastest_s=[20.1, 10.0, 21.0], training_macs=[1.0, 3.0, 2.0])).label == 7
    assert cheapest(tied(training_macs=[2.0, 3.0, 1.0], params=[3.0, 2.0, 4.0])).label == 9
    assert "the cheapest to train of 3" in cheapest(tied(training_macs=[2.0, 3.0, 1.0])).why
    assert cheapest(tied(params=[3.0, 2.0, 1.0])).label == 9
    close = tied(distance=[0.4, 0.1, 0.2])
    assert cheapest(close).label == 7
    assert "published values of 3" in cheapest(close).why
    assert cheapest(tied()).label == 4
    assert cheapest(tied().iloc[:1]).why == "no other is within one standard error of it"


def test_times_that_are_missing_or_of_several_machines_decide_nothing():
    assert cheapest(tied(fastest_s=[30.0, None, 9.0], params=[3.0, 2.0, 4.0])).label == 7
    assert cheapest(tied(fastest_s=[30.0, 8.0, 19.0]), timed=False).label == 4
    assert cheapest(tied(training_macs=[3.0, None, 1.0], params=[3.0, 2.0, 4.0])).label == 7


def test_seconds_that_vary_with_the_load_of_the_machine_do_not_change_the_choice():
    """The same sweep, run again and again: its times differ by up to 80 %, the choice does not."""
    rng = np.random.default_rng(0)
    runs = [tied(fastest_s=10 * (1 + 0.8 * rng.random(3)), training_macs=[2.0, 2.0, 1.9]) for _ in range(50)]
    assert {cheapest(run).label for run in runs} == {9}
    assert {cheapest(run.assign(training_macs=2.0)).label for run in runs} == {4}


def test_ranks_are_intervals():
    first, second, last = standings([0.50, 0.499, 0.40], sd=0.01, n=4)
    assert (first.low, first.high) == (second.low, second.high) == (1, 2)
    assert (last.low, last.high, last.best) == (3, 3, 0.0)
    assert first.best > second.best > 0.3
    assert standings([0.5, 0.4], math.nan, 1) is None
    ahead, _ = standings([0.50, 0.49], sd=0.02, n=4)
    assert ahead.best == pytest.approx(stats.norm.cdf(0.01 / (0.02 * math.sqrt(2 / 4))), abs=0.03)
