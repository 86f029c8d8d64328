import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import AnalysisError
from analysis.stats.image_bootstrap import (
    ClassCounts,
    class_differences,
    counts,
    difference,
    evaluation_of,
    miou,
)


def predictions(rng, images, classes=3, skill=0.8, rare=None):
    """Confusion matrices (G, C, C) of images, truth by prediction."""
    made = np.zeros((images, classes, classes), dtype=int)
    for image in range(images):
        for truth in range(classes):
            if truth == rare and image != images // 2:
                continue
            rate = np.clip(skill + rng.normal(0, 0.05), 0, 1)
            wrong = (1 - rate) / (classes - 1)
            made[image, truth] = rng.multinomial(2000, [rate if pred == truth else wrong for pred in range(classes)])
    return made


def tables(evaluations, per_group=10, classes=3):
    """The tables with which evaluations (name to matrices) would be read; image ids are not in order."""
    rows = []
    for name, matrices in evaluations.items():
        for image, truth, pred in zip(*np.nonzero(matrices), strict=True):
            group, pixels = f"video{image // per_group}", matrices[image, truth, pred]
            rows.append((name, f"frame{image:03d}", group, truth, pred, pixels))
    confusion = pd.DataFrame(rows, columns=["eval_id", "image_id", "group_id", "gt", "pred", "n"])
    return {
        "confusion": confusion.sample(frac=1, random_state=1),
        "sweeps": pd.DataFrame({"num_classes": [classes]}),
        "evaluations": pd.DataFrame(
            [(name, name, 1, "select") for name in evaluations], columns=["eval_id", "trial_id", "epoch", "role"]
        ),
    }


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return {"one": predictions(rng, 80, skill=0.84), "other": predictions(rng, 80, skill=0.80)}


def true_iou(matrices):
    total = matrices.sum(0)
    hits = np.diag(total)
    return hits / (total.sum(0) + total.sum(1) - hits)


def test_counts_are_those_of_one_matrix_over_the_data_set(pair):
    one = counts(tables(pair), "one")
    assert one.iou == pytest.approx(true_iou(pair["one"]))
    assert one.miou == pytest.approx(true_iou(pair["one"]).mean())
    assert (len(one.images), one.clustering) == (80, "8 sequences")


def test_influence_and_bootstrap_agree(pair):
    one = counts(tables(pair, per_group=2), "one")
    estimate = miou(one)
    width = estimate.high - estimate.low
    assert width == pytest.approx(2 * 2.02 * estimate.se, rel=0.1)
    assert one.per_image.sum() == pytest.approx(0.0, abs=1e-12)
    assert estimate.low < estimate.value < estimate.high


def halves(clusters):
    """Counts of one class that half of the clusters get right and half get wrong: the IoU is the weight of the half."""
    union = np.full((clusters, 1), 100.0)
    correct = union * (np.arange(clusters) % 2)[:, None]
    return ClassCounts(tuple(map(str, range(clusters))), np.arange(clusters), correct, union, "drawn")


def interval(clusters, confidence):
    """Mean ends of the intervals over ten draws of the weights."""
    drawn = [miou(halves(clusters), confidence, seed) for seed in range(10)]
    return np.mean([[one.low, one.high] for one in drawn], axis=0)


@pytest.mark.parametrize("clusters", [4, 6, 10])
def test_weights_spread_as_the_standard_error_of_a_mean_does(clusters):
    """Half of Dirichlet weights is a beta variable; its spread must be that of a mean of 0 and 1, s / sqrt(n)."""
    se = np.std(np.arange(clusters) % 2, ddof=1) / np.sqrt(clusters)
    a = (1 / (4 * se**2) - 1) / 2  # the symmetric beta distribution with this standard deviation
    tail = stats.norm.cdf(stats.t.ppf(0.25, clusters - 1))
    assert interval(clusters, 0.5) == pytest.approx(stats.beta(a, a).ppf([tail, 1 - tail]), abs=0.012)
    assert miou(halves(clusters)).se == pytest.approx(se)


@pytest.mark.parametrize("clusters", [6, 10])
def test_intervals_of_few_clusters_reach_to_the_quantiles_of_student(clusters):
    """As a normal interval of 2.57 standard errors for 6 clusters, where 1.96 of them are not enough."""
    a = (clusters - 2) / 2
    reach = stats.t.ppf(0.975, clusters - 1)
    ends = stats.beta(a, a).ppf(stats.norm.cdf([-reach, reach]))
    assert interval(clusters, 0.95) == pytest.approx(ends, abs=0.012)


def test_one_video_is_cut_into_blocks_and_it_is_said(pair):
    estimate = miou(counts(tables(pair, per_group=80), "one"))
    assert estimate.clusters == 8
    assert estimate.clustering == "8 blocks of about 10 consecutive images (1 sequence: too few to draw from)"


def test_frames_of_one_cluster_do_not_count_as_many():
    rng = np.random.default_rng(4)
    apart = predictions(rng, 10)
    copies = {"one": np.repeat(apart, 8, axis=0)}
    clustered = miou(counts(tables(copies, per_group=8), "one"))
    naive = miou(counts(tables(copies, per_group=1), "one"))
    assert clustered.se > 2.5 * naive.se


def test_pairing_by_image_narrows_the_difference():
    rng = np.random.default_rng(2)
    ease = np.repeat(rng.uniform(0.5, 0.95, 40), 2)
    made = {
        name: np.stack([predictions(rng, 1, skill=rate + gain)[0] for rate in ease])
        for name, gain in (("one", 0.03), ("other", 0.0))
    }
    read = tables(made, per_group=2)
    one, other = counts(read, "one"), counts(read, "other")
    estimate = difference(one, other)
    assert estimate.value == pytest.approx(one.miou - other.miou)
    assert estimate.se < 0.5 * np.hypot(miou(one).se, miou(other).se)
    assert estimate.low > 0
    back = difference(other, one)
    assert (back.value, back.low, back.high) == pytest.approx(
        (-estimate.value, -estimate.high, -estimate.low), abs=1e-3
    )


def test_a_class_in_one_image_alone_never_vanishes_from_a_replicate():
    rng = np.random.default_rng(3)
    made = {"one": predictions(rng, 60, rare=2), "other": predictions(rng, 60, rare=2)}
    read = tables(made)
    estimate = difference(counts(read, "one"), counts(read, "other"))
    assert np.isfinite([estimate.low, estimate.high, estimate.se]).all()


def test_a_class_that_is_nowhere_is_missing_and_not_zero(pair):
    read = tables(pair, classes=4)
    one, other = counts(read, "one"), counts(read, "other")
    assert np.isnan(one.iou[3])
    assert one.miou == pytest.approx(true_iou(pair["one"]).mean())
    estimate = class_differences(one, other)
    assert np.isnan(estimate.loc[3, ["difference", "low", "p_holm"]].to_numpy(dtype=float)).all()
    assert np.isfinite(difference(one, other).se)


def test_class_differences_are_one_family(pair):
    read = tables(pair)
    estimate = class_differences(counts(read, "one"), counts(read, "other"))
    assert estimate["difference"].to_numpy() == pytest.approx(true_iou(pair["one"]) - true_iou(pair["other"]))
    assert (estimate["p_holm"] >= estimate["p"]).all()
    assert ((estimate["low"] > 0) | (estimate["high"] < 0)).equals(estimate["p_holm"] < 0.05)
    assert estimate["clusters"].tolist() == [8, 8, 8]


def drawn(correct, union, clusters):
    """Counts of images of one hundred pixels, made by hand."""
    return ClassCounts(tuple(map(str, range(len(clusters)))), clusters, correct, union, "drawn")


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_a_difference_of_one_class_is_a_t_test_over_the_clusters(confidence):
    """Where all unions are equal, the IoU is a mean over clusters."""
    rng = np.random.default_rng(6)
    clusters, union = np.repeat(np.arange(7), 3), np.full((21, 1), 100.0)
    one, other = rng.uniform(30, 90, (2, 21, 1))
    estimate = class_differences(drawn(one, union, clusters), drawn(other, union, clusters), confidence).iloc[0]
    theirs = stats.ttest_1samp((one - other).reshape(7, 3).mean(1) / 100, 0.0)
    assert estimate["p"] == pytest.approx(theirs.pvalue)
    assert estimate[["low", "high"]].tolist() == pytest.approx(list(theirs.confidence_interval(confidence)))


def test_clusters_are_counted_in_which_a_class_occurs():
    union = np.full((6, 2), 100.0)
    union[:4, 1] = 0.0
    counted = drawn(union / 2, union, np.repeat(np.arange(3), 2))
    assert class_differences(counted, counted)["clusters"].tolist() == [3, 1]


def test_what_an_image_adds_is_the_slope_of_the_miou_in_its_weight(pair):
    one, step = counts(tables(pair, classes=4), "one"), 1e-6
    weights = np.where(np.arange(80) == 17, 1 + step, 1.0)[:, None]
    moved = drawn(one.correct * weights, one.union * weights, one.clusters)
    assert one.per_image[17] == pytest.approx((moved.miou - one.miou) / step, rel=1e-4)


def test_the_last_evaluation_of_a_trial_is_looked_at(pair):
    read = tables(pair)
    read["evaluations"] = pd.DataFrame(
        [("other", "trial", 2, "select"), ("one", "trial", 1, "select")],
        columns=["eval_id", "trial_id", "epoch", "role"],
    )
    assert evaluation_of(read, "trial") == "other"


def test_the_same_predictions_differ_by_nothing(pair):
    one = counts(tables(pair), "one")
    estimate = difference(one, one)
    assert (estimate.value, estimate.se, estimate.low, estimate.high) == (0.0, 0.0, 0.0, 0.0)
    assert class_differences(one, one)["p_holm"].tolist() == [1.0, 1.0, 1.0]


def test_the_worst_image_adds_least(pair):
    spoiled = pair["one"].copy()
    spoiled[17] = np.roll(spoiled[17], 1, axis=1)
    read = tables({"one": spoiled, "other": pair["other"]})
    one, other = counts(read, "one"), counts(read, "other")
    assert one.images[np.argmin(one.per_image - other.per_image)] == "frame017"


def test_other_images_cannot_be_compared(pair):
    read = tables({"one": pair["one"][:40], "other": pair["other"]})
    with pytest.raises(AnalysisError, match="got 40 and 80 images, 40 of them in common"):
        difference(counts(read, "one"), counts(read, "other"))


def test_an_evaluation_without_counts_is_named(pair):
    read = tables(pair)
    assert evaluation_of(read, "one") == "one"
    assert evaluation_of(read, "one", role="test") is None
    with pytest.raises(AnalysisError, match="got 'nobody'"):
        counts(read, "nobody")
