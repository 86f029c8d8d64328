"""Methods over several searches, in worlds whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.stats.search_contrasts import search_contrasts


def frame(scores):
    """Scores (methods, searches, seeds) as a frame; NaN for a missing seed."""
    places = np.indices(scores.shape).reshape(3, -1)
    names = np.array([f"m{number}" for number in range(len(scores))])
    return pd.DataFrame({"study": names[places[0]], "search": places[1], "seed": places[2], "score": scores.ravel()})


def worlds(count, methods=5, searches=3, seeds=4, luck=1.0, noise=1.0, favor=0.0, shared=0.0, gain=0.0, seed=0):
    """Scores in points / 100: luck of searches, noise by method, what a seed adds to a method and to all."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(methods)
    truth[-1] = gain
    for _ in range(count):
        of_search = rng.normal(size=(methods, searches, 1)) * np.reshape(luck, (-1, 1, 1))
        of_seed = rng.normal(size=(methods, searches, seeds)) * np.reshape(noise, (-1, 1, 1))
        common = favor * rng.normal(size=(methods, 1, seeds)) + shared * rng.normal(size=seeds)
        yield (50 + truth[:, None, None] + of_search + of_seed + common) / 100


def claimed(scores):
    return search_contrasts(frame(scores), "m0").frame["separated"].to_numpy()[1:]


def welch_holm(scores):
    means = scores.mean(2)
    p = np.array([stats.ttest_ind(mine, means[0], equal_var=False).pvalue for mine in means[1:]])
    order, rejected = np.argsort(p), np.zeros(len(p), dtype=bool)
    for step, place in enumerate(order):
        if p[place] >= 0.05 / (len(p) - step):
            break
        rejected[place] = True
    return rejected


QUIET_AND_NOISY = [0.1, 2.0, 0.1, 2.0, 0.1]
NOISY_AND_QUIET = [*QUIET_AND_NOISY[1:], 2.0]


@pytest.mark.parametrize(
    "world",
    [
        {},
        {"luck": 0.0},
        {"luck": 0.5, "noise": QUIET_AND_NOISY},
        {"luck": 0.5, "noise": NOISY_AND_QUIET},
        {"luck": 0.3, "noise": 0.45, "shared": 0.9},
    ],
    ids=["equal", "no luck", "quiet baseline", "noisy baseline", "seeds in common"],
)
def test_identical_methods_are_rarely_separated(world):
    wrong = np.mean([claimed(scores).any() for scores in worlds(40, **world)])
    assert wrong <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 40)


def test_a_gain_is_found_twice_as_often_as_by_welch_and_holm():
    pairs = [(claimed(scores)[-1], welch_holm(scores)[-1]) for scores in worlds(50, gain=2.5, seed=1)]
    power, of_welch = np.mean(pairs, axis=0)
    assert power > 1.5 * of_welch  # twice, in the 1,000 worlds of the benchmark
    assert power > 0.3


def test_spreads_are_estimated_and_their_intervals_cover():
    models = [search_contrasts(frame(scores), "m0") for scores in worlds(40, luck=0.5)]
    assert np.median([model.luck.sd for model in models]) == pytest.approx(0.005, abs=0.0012)
    assert np.median([model.noise.sd for model in models]) == pytest.approx(0.010, abs=0.001)
    for spread, truth in (("luck", 0.005), ("noise", 0.010)):
        ends = [getattr(model, spread) for model in models]
        assert np.mean([each.low <= truth <= each.high for each in ends]) >= 0.88


def test_unequal_luck_is_told_and_each_method_is_judged_by_its_own():
    (scores,) = worlds(1, searches=5, luck=[0.01, 3.0, 0.01, 0.01, 0.01], noise=0.1)
    model = search_contrasts(frame(scores), "m0")
    assert model.equal_luck < 0.01
    assert not model.pooled


def test_seeds_that_favor_a_method_widen_the_intervals():
    worlds_with = list(worlds(25, seeds=6, luck=0.2, noise=0.5, favor=1.0))
    models = [search_contrasts(frame(scores), "m0") for scores in worlds_with]
    assert np.mean([model.by_seed for model in models]) > 0.8
    assert (
        np.mean([model.frame["separated"].any() for model in models]) < 0.3
    )  # Welch's test over searches: 0.33 (simulated)


def test_searches_that_returned_the_same_config_are_no_evidence_of_little_noise():
    (scores,) = worlds(1, methods=3, luck=0.0)
    scores[:, 1:] = scores[:, :1]
    apart = search_contrasts(frame(scores), "m0").frame
    once = search_contrasts(frame(scores).assign(config="the same"), "m0").frame
    noise = scores[0, 0].std(ddof=1)
    assert once["se"].iloc[1] >= 0.5 * noise / np.sqrt(scores.shape[2])
    assert not once["separated"].any()
    assert np.nan_to_num(apart["se"].iloc[1]) < once["se"].iloc[1]


def test_missing_seeds_and_a_method_without_scores_are_no_error():
    (scores,) = worlds(1, methods=3)
    scores[1, 0, 1:] = np.nan
    scores[2] = np.nan
    rows = search_contrasts(frame(scores), "m0").frame
    assert rows["study"].tolist() == ["m0", "m1"]
    assert np.isfinite(rows["se"].iloc[1])
    alone = search_contrasts(frame(scores[:1]), "m0").frame
    assert len(alone) == 1
    assert search_contrasts(frame(scores[1:]), "m0").frame["p"].isna().all()


def test_scores_without_any_noise_are_no_evidence():
    scores = np.full((2, 3, 3), 0.4)
    scores[1] = 0.5
    row = search_contrasts(frame(scores), "m0").frame.iloc[1]
    assert not row["separated"]
    assert np.isnan(row["p"])
