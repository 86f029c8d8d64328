"""Simulated worlds in which the truth is known: the claims must be wrong as often as they say, and no more."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.stats.image_bootstrap import ClassCounts, difference, miou
from analysis.stats.looks import alpha_at
from analysis.stats.power import PairedTest
from analysis.stats.seed_contrasts import effects

pytestmark = pytest.mark.slow

WORLDS = 1000
FEW = 500
NOISE = 0.004


def mc_error(rate, count=WORLDS):
    return np.sqrt(rate * (1 - rate) / count)


def worlds(configs, seeds, rho, truth=0.0, spread=1.0, count=WORLDS):
    """Scores of configs (the first is the reference) whose seeds correlate by rho, one frame per world."""
    rng = np.random.default_rng(configs * 100 + int(10 * rho))
    index = pd.MultiIndex.from_product([[f"c{i}" for i in range(configs)], range(seeds)], names=["config", "seed"])
    blank = index.to_frame(index=False)
    for _ in range(count):
        shared = rng.normal(size=(1, seeds)) * np.sqrt(rho)
        own = rng.normal(size=(configs, seeds)) * np.sqrt(1 - rho)
        scores = 0.6 + np.reshape(truth, (-1, 1)) + NOISE * (shared + own) * np.reshape(spread, (-1, 1))
        yield blank.assign(score=scores.ravel())


@pytest.mark.parametrize("configs", [2, 8])
@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_identical_configs_are_separated_at_the_nominal_rate(configs, rho):
    wrong, covered, families = 0, [], []
    for scores in worlds(configs, 3, rho):
        found = effects(scores, "c0", smallest=0.0)
        wrong += "separated" in found.words.values()
        frame = found.frame
        families.append(((frame["low"] > 0) | (frame["high"] < 0)).any() == (frame["p_holm"] < 0.05).any())
        covered.append(frame["p"].iloc[0] > 0.05)
    level = alpha_at(3)
    assert level - 2 * mc_error(level) - 0.01 * (configs > 2) <= wrong / WORLDS <= 0.05 + 2 * mc_error(0.05)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)
    assert all(families)


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_intervals_of_single_contrasts_cover_true_effects(rho):
    truth = np.array([0.0, 0.0, 0.0, 0.0, 0.004, 0.008, -0.004, -0.016])
    covered, wrong = [], 0
    for scores in worlds(8, 3, rho, truth, count=FEW):
        frame = effects(scores, "c0").frame
        half = frame["se"] * stats.t.ppf(0.975, frame["df"])
        covered.append((frame["difference"] - truth[1:]).abs() <= half)
        wrong += (frame["p_holm"][:3] < 0.05).any()
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)
    assert wrong / FEW <= 0.05 + 2 * mc_error(0.05, FEW)


def test_the_smallest_detectable_effect_is_found_in_80_of_100():
    truth = np.array([0.0, PairedTest(NOISE * np.sqrt(2), 7).smallest(3), *[0.0] * 6])
    found = [effects(scores, "c0").frame["p_holm"].iloc[0] < 0.05 for scores in worlds(8, 3, 0.0, truth, count=FEW)]
    assert np.mean(found) == pytest.approx(0.80, abs=0.05)


def test_one_noisy_config_does_not_make_the_others_wrong():
    wrong, own = 0, []
    for scores in worlds(8, 3, 0.0, spread=np.array([*[1.0] * 7, 4.0]), count=FEW):
        frame = effects(scores, "c0").frame
        wrong += (frame["p_holm"][:6] < 0.05).any()
        own.append(frame["p"].iloc[6] > 0.05)
    assert wrong / FEW <= 0.05 + 2 * mc_error(0.05, FEW)
    assert np.mean(own) == pytest.approx(0.95, abs=0.02)


def street(rng, clusters, skill=0.7, rare=0.15):
    """Counts of one evaluation on clusters of ten alike images: two models, as rates of right pixels."""
    images = np.repeat(np.arange(clusters), 10)
    classes = 4
    there = rng.random((clusters, classes)) > np.array([0.0, 0.0, rare, 0.5])
    size = rng.gamma(4.0, 50.0, (clusters, classes))[images] * rng.uniform(0.8, 1.2, (len(images), classes))
    size *= there[images]
    ease = rng.normal(0, 0.6, (clusters, classes))[images] + rng.normal(0, 0.2, (len(images), classes))
    made = []
    for gain in (0.0, 0.15):
        own = rng.normal(0, 0.2, (clusters, classes))[images]
        rate = 1 / (1 + np.exp(-(np.log(skill / (1 - skill)) + gain + ease + own)))
        correct = size * rate
        union = size + size * 0.3 * (1 - rate)
        made.append(ClassCounts(tuple(map(str, range(len(images)))), images, correct, union, "drawn"))
    return made


@pytest.mark.parametrize(("clusters", "least"), [(10, 0.86), (40, 0.92)])
def test_image_intervals_cover_when_images_come_in_clusters(clusters, least):
    rng = np.random.default_rng(clusters)
    long = [street(rng, 20_000) for _ in range(2)]
    true = np.mean([one.miou for one, _ in long])
    gain = np.mean([better.miou - one.miou for one, better in long])
    single, paired, alone = [], [], []
    for world in range(300):
        one, better = street(rng, clusters)
        found = miou(one, seed=world)
        single.append(found.low <= true <= found.high)
        found = difference(better, one, seed=world)
        paired.append(found.low <= gain <= found.high)
        if world < 60:
            naive = ClassCounts(one.images, np.arange(len(one.images)), one.correct, one.union, "as if independent")
            found = miou(naive, seed=world)
            alone.append(found.low <= true <= found.high)
    assert least <= np.mean(single) <= 0.98
    assert least <= np.mean(paired) <= 0.98
    assert np.mean(alone) < 0.7
