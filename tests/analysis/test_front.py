"""The chance of a student to be on the front: in simulated sweeps, where the true front is known, it holds."""

import math

import numpy as np
import pytest

from analysis.search.front import chances, mean_interval

SWEEPS = 300


def simulated(rng, spread, seeds, noise=0.5, shared=0.3, students=10, finalists=6):
    """What a sweep says of the best student below each of four limits, and whether it is on the true front.

    Quality grows with the logarithm of the cost and differs by student; the search sees one noisy score of each, and
    those on fresh seeds are the best below each limit in it.
    """
    costs = np.sort(np.exp(rng.uniform(0, math.log(16), students)))
    quality = np.log(costs) + rng.normal(0, spread, students)
    searched = quality + rng.normal(0, noise, students)
    below = [np.flatnonzero(costs <= limit) for limit in (2, 4, 8, 16)]
    chosen = sorted({place for able in below for place in able[np.argsort(-searched[able])][:2]})
    luck = rng.normal(0, shared, seeds)
    scores = [dict(enumerate(quality[each] + luck + rng.normal(0, noise, seeds))) for each in chosen]
    said = chances(scores, costs[chosen].tolist(), chosen)
    means = np.array([np.mean(list(each.values())) for each in scores])
    best = {
        max((place for place, each in enumerate(chosen) if each in able), key=lambda p: means[p], default=None)
        for able in below
    } - {None}
    for place in best:
        rivals = [each for each in chosen if costs[each] < costs[chosen[place]]]
        if rivals:
            yield said[place], all(quality[each] < quality[chosen[place]] for each in rivals)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [0.3, 0.8, 1.5])
def test_students_said_to_be_on_the_front_are_there_as_often(spread, seeds):
    rng = np.random.default_rng(int(10 * spread) + seeds)
    said, there = np.array([each for _ in range(SWEEPS) for each in simulated(rng, spread, seeds)]).T
    for low, high in ((0.6, 0.8), (0.8, 0.97), (0.97, 1.01)):
        inside = (said >= low) & (said < high)
        assert inside.sum() > 20
        error = math.sqrt(0.25 / inside.sum()) if high < 0.9 else math.sqrt(0.09 / inside.sum())
        assert there[inside].mean() > said[inside].mean() - 2.5 * error, (
            low,
            said[inside].mean(),
            there[inside].mean(),
        )
    assert abs(there.mean() - said.mean()) < 0.15, "it is not far too low either"


def test_the_cheapest_has_no_rival_and_a_worse_dearer_one_no_chance():
    scores = [{1: 0.50, 2: 0.51, 3: 0.52}, {1: 0.40, 2: 0.41, 3: 0.42}, {1: 0.60, 2: 0.61, 3: 0.62}]
    cheap, worse, better = chances(scores, [1.0, 2.0, 3.0], ["a", "b", "c"])
    assert cheap == 1.0
    assert worse < 0.05
    assert better > 0.95


def test_a_student_as_cheap_is_a_rival_and_another_config_of_the_same_student_is_none():
    scores = [{1: 0.50, 2: 0.52, 3: 0.51}] * 2
    as_cheap = chances([scores[0], {1: 0.51, 2: 0.50, 3: 0.52}], [1.0, 1.0], ["a", "b"])
    assert as_cheap == pytest.approx([0.5, 0.5], abs=0.15)
    assert chances(scores, [1.0, 1.0], ["a", "a"]) == [1.0, 1.0]


def test_without_two_seeds_nothing_is_said_of_a_student_with_rivals():
    cheap, other = chances([{1: 0.5}, {1: 0.6}], [1.0, 2.0], ["a", "b"])
    assert cheap == 1.0
    assert math.isnan(other)


def test_the_interval_of_a_mean_is_that_of_student():
    low, high = mean_interval([0.5, 0.6, 0.7])
    assert (low, high) == pytest.approx(
        (0.6 - 4.3027 * 0.1 / math.sqrt(3), 0.6 + 4.3027 * 0.1 / math.sqrt(3)), abs=1e-4
    )
    assert all(map(math.isnan, mean_interval([0.5])))
