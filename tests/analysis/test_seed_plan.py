"""The plan of further seeds: what it names must hold in worlds of known noise."""

import numpy as np
import pytest
from scipy import stats

from analysis.stats.looks import NO_LOOKS, Looks, alpha_at
from analysis.stats.power import first_step
from analysis.stats.seed_plan import MOST, DifferenceNoise, Situation, in_sds

KNOWN = DifferenceNoise(0.01, 0.01, 0.01)


def found(gain, sd, n, comparisons, looks=NO_LOOKS, worlds=4000, seed=0):
    """How often the first step of the family's paired t test finds a gain, by simulation of the differences."""
    rng = np.random.default_rng(seed)
    differences = rng.normal(gain, sd, (worlds, n))
    t = differences.mean(1) / (differences.std(1, ddof=1) / np.sqrt(n))
    return (2 * stats.t.sf(np.abs(t), n - 1) < first_step(alpha_at(n, looks), comparisons)).mean()


@pytest.mark.parametrize(("gain", "comparisons"), [(0.01, 1), (0.02, 4), (0.01, 10), (0.03, 30)])
def test_the_seeds_that_a_plan_names_find_the_gain_in_80_of_100_worlds(gain, comparisons):
    need = Situation(KNOWN, comparisons).need(gain)
    assert found(gain, 0.01, need.seeds, comparisons) >= 0.78
    assert found(gain, 0.01, need.seeds - 1, comparisons) < 0.82


@pytest.mark.parametrize("now", [2, 3, 5])
def test_after_a_look_a_plan_counts_the_error_that_it_spent(now):
    fresh, looked = Situation(KNOWN, 4, now), Situation(KNOWN, 4, now, looked=True)
    seeds = looked.need(0.015).seeds
    assert seeds > fresh.need(0.015).seeds
    assert found(0.015, 0.01, seeds, 4, Looks.unplanned([now])) >= 0.78


def test_a_gain_that_no_plan_finds_has_no_seeds_and_the_smallest_that_30_find_is_found():
    start = Situation(KNOWN, 4, 3)
    assert start.need(0.001).seeds is None
    assert found(start.finds(MOST), 0.01, MOST, 4) == pytest.approx(0.8, abs=0.02)
    assert start.need(start.finds(MOST) * 1.001).seeds == MOST


def test_the_chance_to_miss_is_that_of_the_seeds_at_hand():
    start = Situation(KNOWN, 4, 5)
    assert start.missed(0.015) == pytest.approx(1 - found(0.015, 0.01, 5, 4), abs=0.02)
    assert Situation(KNOWN, 4, 1).missed(0.5) == 1.0
    assert Situation(KNOWN, 4, 0).missed(0.5) == 1.0


def test_the_range_covers_the_seeds_that_the_true_noise_would_ask_for():
    """With the noise from three seeds of two configs the answer is off by a factor; its range says so."""
    rng = np.random.default_rng(1)
    true = Situation(KNOWN, 1).need(0.02).seeds
    df, inside = 2, 0
    tail = stats.chi2.ppf([0.975, 0.025], df)
    for sd in np.sqrt(rng.chisquare(df, 60) / df) * 0.01:
        low, high = sd * np.sqrt(df / tail)
        need = Situation(DifferenceNoise(sd, low, high), 1).need(0.02)
        inside += (need.fewest or MOST + 1) <= true <= (need.most or MOST + 1)
    assert inside / 60 >= 0.9


def test_without_noise_a_plan_speaks_in_sds_of_a_training():
    three, ten = in_sds([3, 10], 4)
    assert found(three, np.sqrt(2), 3, 4) == pytest.approx(0.8, abs=0.02)
    assert found(ten, np.sqrt(2), 10, 4) == pytest.approx(0.8, abs=0.02)
