"""Which trainings have collapsed: large losses that the noise of the config and of its study does not explain."""

import numpy as np
import pytest

from analysis.selection.collapse import Runs, collapsed, collapsed_in_search


def test_a_run_far_below_the_other_seeds_of_its_config_has_collapsed():
    study = [Runs([0.70, 0.50, 0.71]), Runs([0.69, 0.70, 0.70])]
    assert collapsed(study) == [[False, True, False], [False, False, False]]
    assert collapsed([Runs([0.50, 0.70, 0.51])]) == [[True, False, True]]


def test_one_fresh_seed_is_compared_with_the_search():
    assert collapsed([Runs([0.50], 0.71), Runs([0.70], 0.71)]) == [[True], [False]]
    assert collapsed([Runs([0.50])]) == [[False]]
    assert collapsed([Runs([0.40, 0.41, 0.40], 0.55)]) == [[False] * 3]


def test_a_config_that_is_bad_on_every_seed_has_not_collapsed():
    assert collapsed([Runs([0.40, 0.41, 0.39]), Runs([0.70, 0.71, 0.70])]) == [[False] * 3] * 2


def test_a_loss_that_hardly_matters_is_no_collapse_however_quiet_the_seeds_are():
    assert collapsed([Runs([0.7000, 0.7001, 0.6500])]) == [[False] * 3]
    assert collapsed([Runs([0.100, 0.101, 0.050])]) == [[False, False, True]]


def test_a_loss_within_twice_the_range_of_the_other_seeds_is_no_collapse_however_quiet_the_study_is():
    quiet = [Runs([0.700, 0.701, 0.702, 0.701, 0.700])] * 10
    assert not any(collapsed([Runs([0.60, 0.54, 0.56, 0.58, 0.47]), *quiet])[0])
    assert collapsed([Runs([0.60, 0.54, 0.56, 0.58, 0.40]), *quiet])[0] == [False] * 4 + [True]


def test_in_a_search_a_loss_of_ten_times_the_upper_spread_has_collapsed():
    scores = [0.39, 0.41, 0.50, 0.50, 0.50, 0.51, 0.51, 0.51, 0.51]
    assert collapsed_in_search(scores) == [True] + [False] * 8


@pytest.mark.parametrize("seeds", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("sds", [(0.003,), (0.01,), (0.02,), (0.001, 0.02)])
def test_chance_hardly_ever_looks_like_a_collapse_and_a_loss_of_twenty_points_always_does(sds, seeds):
    rng = np.random.default_rng([seeds, int(1e4 * sum(sds))])
    false = hits = fell = 0
    for _ in range(40):
        spread = np.resize(sds, 4)[:, None]
        scores = 0.7 + rng.normal(0, 0.006, (4, 1)) + spread * rng.standard_normal((4, seeds))
        screened = 0.7 + spread[:, 0] * rng.normal(0.8, 0.6, 4)
        false += any(map(any, collapsed([Runs(*pair) for pair in zip(scores, screened, strict=True)])))
        lost = rng.random(scores.shape) < 0.2
        found = np.array(collapsed([Runs(*pair) for pair in zip(scores - 0.2 * lost, screened, strict=True)]))
        hits, fell = hits + int((found & lost).sum()), fell + int(lost.sum())
    assert false <= 2
    assert hits >= 0.9 * fell


def test_in_a_search_the_spread_of_hyperparameters_is_no_collapse():
    rng = np.random.default_rng(0)
    steep = [0.7 - 0.3 * rng.uniform(-1, 1, (8, 2)).__pow__(2).sum(1) for _ in range(100)]
    assert sum(any(collapsed_in_search(scores)) for scores in steep) <= 15
    flat = [0.7 + 0.005 * rng.standard_normal(8) for _ in range(100)]
    assert not any(any(collapsed_in_search(scores)) for scores in flat)
    assert collapsed_in_search([0.70, 0.50, 0.71, 0.70, 0.69, 0.50, 0.70, 0.71]).count(True) == 2
    assert collapsed_in_search([]) == []
