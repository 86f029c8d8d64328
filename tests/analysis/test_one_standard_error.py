import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.selection.one_standard_error import cheapest, pooled_sd, seed_sd, within_one_se
from analysis.selection.standings import redrawn_means, standings
from analysis.stats.seed_contrasts import effects


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


def seedwise(*scores):
    return [dict(enumerate(own)) for own in scores]


def test_a_tie_is_within_one_standard_error_of_the_best_seed_by_seed():
    best = np.array([0.50, 0.52, 0.51, 0.53])
    noise = np.array([0.01, -0.01, 0.02, -0.02])
    margin = stats.sem(noise) / math.sqrt(2)
    near, far = best - 0.99 * margin - noise, best - 1.01 * margin - noise
    assert within_one_se(seedwise(best, near, far)) == [True, True, False]
    assert within_one_se(seedwise(far, best, near)) == [False, True, True]


def test_configs_that_are_sharply_paired_are_tied_only_within_their_own_noise():
    """Both spread by 5 points over the seeds, but always by the same: half a point less is no tie."""
    rng = np.random.default_rng(0)
    luck, own = rng.normal(0, 0.05, 5), rng.normal(0, 0.0005, 5)
    assert within_one_se(seedwise(0.5 + luck, 0.495 + luck + own)) == [True, False]


@pytest.mark.parametrize("rho", [0.0, 0.95])
@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_nothing_that_is_separated_from_the_best_is_tied_with_it(seeds, rho):
    rng = np.random.default_rng(seeds)
    for _ in range(60):
        spread = rng.choice([0.0005, 0.01], (4, 1))
        scores = 0.5 + 0.01 * rng.normal(size=(4, 1)) + spread * rng.normal(size=(4, seeds))
        scores += math.sqrt(rho) * 0.01 * rng.normal(size=(1, seeds))
        best = int(scores.mean(1).argmax())
        rows = [(str(config), seed, scores[config, seed]) for config in range(4) for seed in range(seeds)]
        words = effects(pd.DataFrame(rows, columns=["config", "seed", "score"]), str(best), smallest=0.0).words
        tied = within_one_se(seedwise(*scores))
        assert not [config for config, word in words.items() if word == "separated" and tied[int(config)]]


def test_without_two_seeds_in_common_both_spreads_count_and_with_one_seed_only_the_best_is_tied():
    best, other = {1: 0.50, 2: 0.52, 3: 0.51}, {7: 0.49, 8: 0.51, 9: 0.505}
    margin = math.hypot(stats.sem(list(best.values())), stats.sem(list(other.values()))) / math.sqrt(2)
    assert within_one_se([best, other])[1] == (0.51 - np.mean(list(other.values())) <= margin)
    assert within_one_se(seedwise([0.50], [0.499])) == [True, False]


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
    best = [0.49, 0.51, 0.50, 0.50]
    first, second, last = standings(seedwise(best, [0.505, 0.489, 0.493, 0.509], [0.40, 0.41, 0.39, 0.40]))
    assert (first.low, first.high) == (second.low, second.high) == (1, 2)
    assert (last.low, last.high) == (3, 3)
    assert last.best < 0.01
    assert first.best > second.best > 0.3
    assert standings(seedwise([0.5], [0.4])) is None


@pytest.mark.parametrize("spread", [(0.01, 0.01), (0.001, 0.03)])
def test_the_chance_to_be_the_better_of_two_is_that_of_the_paired_t_test(spread):
    rng = np.random.default_rng(0)
    one, other = (0.5 + own * rng.normal(size=4) for own in spread)
    ahead, _ = standings(seedwise(one, other))
    assert ahead.best == pytest.approx(stats.ttest_rel(one, other, alternative="less").pvalue, abs=0.03)


def test_a_shared_luck_of_the_seeds_does_not_hide_who_is_best():
    luck = np.array([0.0, 0.05, -0.05, 0.02])
    ahead, _ = standings(seedwise(0.50 + luck, 0.49 + luck + [0.001, -0.001, 0.002, 0.0]))
    assert ahead.best > 0.99


def test_two_seeds_leave_the_chance_open():
    ahead, _ = standings(seedwise([0.50, 0.51], [0.495, 0.503]))
    assert 0.5 < ahead.best < 0.9


def test_a_config_with_one_seed_is_redrawn_with_the_spread_of_the_others():
    values = [0.50, 0.51, 0.49, 0.50]
    one, other = redrawn_means([dict(enumerate(values)), {1: 0.45}], 20_000).T
    ends = 0.45 + stats.t.ppf([0.1, 0.9], 3) * np.std(values, ddof=1)
    assert np.quantile(other, [0.1, 0.9]) == pytest.approx(ends, abs=0.001)
    assert np.quantile(one, 0.9) - 0.5 == pytest.approx((np.quantile(other, 0.9) - 0.45) / 2, abs=0.001)
    assert redrawn_means([{1: 0.5}], 10).shape == (0, 1)
