"""The claim about a checkpoint: is this file better on images like these? Only images can tell.

mIoU is a mean of ratios of sums, so counts are added up before anything is divided, in every replicate as in the
score itself. Frames of one video are not independent: whole clusters of them are drawn. Says nothing about another
training of the same config, whose result differs by far more.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import special

from analysis.errors import AnalysisError
from analysis.formats import plural
from analysis.stats.step_down import holm
from analysis.tables.files import Tables
from analysis.tables.states import Role

REPLICATES = 2000
ENOUGH_GROUPS = 5
BLOCK = 10
"""With fewer groups (videos) than enough, blocks of about this many consecutive images take their place."""


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Pixels of one evaluation, by image and class.

    Attributes:
        images: Image ids, sorted (G).
        clusters: Number of the cluster of each image, 0.. (G,).
        correct: Pixels of a class that were predicted as it (G, C).
        union: Pixels of a class or predicted as it (G, C).
        clustering: What was taken as a cluster, for a caption.
    """

    images: tuple[str, ...]
    clusters: np.ndarray
    correct: np.ndarray
    union: np.ndarray
    clustering: str

    @cached_property
    def iou(self) -> np.ndarray:
        """IoU per class over all images (C,); NaN for a class that is in neither truth nor prediction."""
        return _iou(self.correct.sum(0), self.union.sum(0))

    @property
    def miou(self) -> float:
        """Mean over the classes that occur (fraction)."""
        return float(np.nanmean(self.iou))

    @cached_property
    def influence(self) -> np.ndarray:
        """What each cluster adds to the IoU of each class, to first order (M, C); sums to 0 over the clusters.

        ``sum of (correct - IoU * union) over the cluster / union of all``, NaN for an absent class.
        """
        residual = self.correct - np.nan_to_num(self.iou) * self.union
        return _sums(residual, self.clusters) / np.where(np.isnan(self.iou), np.nan, self.union.sum(0))

    @property
    def per_image(self) -> np.ndarray:
        """What each image adds to the mIoU, to first order (G,)."""
        residual = self.correct - np.nan_to_num(self.iou) * self.union
        return np.nanmean(residual / np.where(np.isnan(self.iou), np.nan, self.union.sum(0)), axis=1)


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty from the choice of images alone, for these checkpoints.

    With 10 clusters an interval of 95 % covers 90 %, with 20 93 %, with 40 94 % (simulated, one class in four rare).

    Attributes:
        value: mIoU, or a difference of two (fraction).
        se: Its standard error from the influence of the clusters, which needs no replicates.
        low: Lower end of the bootstrap interval.
        high: Upper end.
        images: How many.
        clusters: How many clusters were drawn.
        clustering: What was taken as a cluster.
    """

    value: float
    se: float
    low: float
    high: float
    images: int
    clusters: int
    clustering: str


def counts(tables: Tables, eval_id: str) -> ClassCounts:
    """The counts of one evaluation, from the table ``confusion``.

    Clusters are the groups of the images (video sequences). With fewer than ``ENOUGH_GROUPS`` of them they are
    blocks of about ``BLOCK`` images of one group that are consecutive by image id.

    Raises:
        AnalysisError: Nothing was stored of this evaluation.
    """
    confusion = tables["confusion"]
    rows = confusion[confusion["eval_id"] == eval_id]
    if rows.empty:
        raise AnalysisError(f"eval_id: must be an evaluation with a confusion matrix per image, got '{eval_id}'")
    classes = int(tables["sweeps"]["num_classes"].max())
    image, images = pd.factorize(rows["image_id"], sort=True)
    truth, predicted = rows["gt"].to_numpy(), rows["pred"].to_numpy()
    pixels, shape = rows["n"].to_numpy(dtype=float), (len(images), classes)

    def table(label: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return np.bincount(image * classes + label, weight, shape[0] * classes).reshape(shape)

    correct = table(truth, pixels * (truth == predicted))
    groups = rows.drop_duplicates("image_id").set_index("image_id")["group_id"].loc[list(images)].to_numpy()
    clusters, clustering = _clusters(groups)
    union = table(truth, pixels) + table(predicted, pixels) - correct
    return ClassCounts(tuple(map(str, images)), clusters, correct, union, clustering)


def evaluation_of(tables: Tables, trial_id: str, role: str = Role.SELECT) -> str | None:
    """The last evaluation of a trial on a role of which the counts are stored; None if there is none."""
    evaluations = tables["evaluations"]
    rows = evaluations[(evaluations["trial_id"] == trial_id) & (evaluations["role"] == role)]
    rows = rows[rows["eval_id"].isin(tables["confusion"]["eval_id"].unique())].sort_values("epoch")
    return str(rows["eval_id"].iloc[-1]) if len(rows) else None


def miou(evaluation: ClassCounts, confidence: float = 0.95, seed: int = 0) -> Estimate:
    """The mIoU of one checkpoint with its interval over images."""
    weights = _weights(evaluation, seed)
    return _estimate(evaluation, evaluation.miou, evaluation.influence, _replicates(evaluation, weights), confidence)


def difference(evaluation: ClassCounts, reference: ClassCounts, confidence: float = 0.95, seed: int = 0) -> Estimate:
    """The mIoU of ``evaluation`` minus that of ``reference``, paired: every replicate weights the same images for both.

    Raises:
        AnalysisError: They were evaluated on different images.
    """
    _same_images(evaluation, reference)
    weights = _weights(evaluation, seed)
    replicates = _replicates(evaluation, weights) - _replicates(reference, weights)
    value, influence = evaluation.miou - reference.miou, _mean(evaluation.influence) - _mean(reference.influence)
    return _estimate(evaluation, value, influence[:, None], replicates, confidence)


def class_differences(evaluation: ClassCounts, reference: ClassCounts, confidence: float = 0.95) -> pd.DataFrame:
    """IoU of ``evaluation`` minus that of ``reference`` class by class, paired by image, Holm over the classes.

    t intervals from the influence of the clusters, which agree with ``p_holm``
    (see ``analysis.stats.step_down``). Too narrow for
    a class that occurs in very few clusters.

    Returns:
        Columns ``class_id, difference, se, low, high, p, p_holm, clusters`` (in how many the class occurs);
        NaN where either of them never has the class.

    Raises:
        AnalysisError: They were evaluated on different images.
    """
    _same_images(evaluation, reference)
    value = evaluation.iou - reference.iou
    se = _standard_error(evaluation.influence - reference.influence)
    df = len(evaluation.influence) - 1
    t = np.divide(np.abs(value), se, out=np.zeros(len(se)), where=se > 0)
    p = np.where(np.isnan(value), np.nan, np.where(se > 0, 2 * special.stdtr(df, -t), value == 0))
    p_holm, levels = holm(p, 1 - confidence)
    half = special.stdtrit(df, 1 - levels / 2) * se
    occurs = (_sums(np.maximum(evaluation.union, reference.union), evaluation.clusters) > 0).sum(0)
    columns = {"difference": value, "se": se, "low": value - half, "high": value + half, "p": p, "p_holm": p_holm}
    return pd.DataFrame({"class_id": np.arange(len(value)), **columns, "clusters": occurs})


def _clusters(groups: np.ndarray) -> tuple[np.ndarray, str]:
    """Cluster of each image, the images being in the order of their ids."""
    codes, names = pd.factorize(groups)
    if len(names) >= ENOUGH_GROUPS:
        return codes, f"{len(names)} sequences"
    clusters, first = np.zeros(len(codes), dtype=int), 0
    for group in range(len(names)):
        members = np.flatnonzero(codes == group)
        blocks = max(1, round(len(members) / BLOCK))
        clusters[members] = first + np.arange(len(members)) * blocks // len(members)
        first += blocks
    sequences = plural(len(names), "sequence")
    return clusters, f"{plural(first, 'block')} of about {BLOCK} consecutive images ({sequences}: too few to draw from)"


def _sums(values: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Sum over the images of each cluster: (G, C) to (M, C)."""
    sums = np.zeros((clusters.max() + 1, values.shape[1]))
    np.add.at(sums, clusters, values)
    return sums


def _iou(correct: np.ndarray, union: np.ndarray) -> np.ndarray:
    return np.divide(correct, union, out=np.full(union.shape, np.nan), where=union > 0)


def _mean(influence: np.ndarray) -> np.ndarray:
    """Influence on the mIoU: over the classes that occur."""
    return influence[:, ~np.isnan(influence).any(0)].mean(1)


def _standard_error(influence: np.ndarray) -> np.ndarray:
    clusters = len(influence)
    if clusters < 2:
        return np.full(influence.shape[1], np.nan)
    return np.sqrt(clusters / (clusters - 1) * (influence**2).sum(0))


def _weights(evaluation: ClassCounts, seed: int) -> np.ndarray:
    """Weights of the clusters (replicates, M): a Bayesian bootstrap, so that no class is ever absent.

    The parameter of the Dirichlet distribution gives every weight the variance 1, which makes the spread of the
    replicates that of the standard error, with its M / (M - 1), instead of a spread that is too small.
    """
    clusters = int(evaluation.clusters.max()) + 1
    concentration = max(clusters - 2, 0.5) / clusters
    draws = np.random.default_rng(seed).gamma(concentration, size=(REPLICATES, clusters))
    return draws / draws.mean(1, keepdims=True)


def _replicates(evaluation: ClassCounts, weights: np.ndarray) -> np.ndarray:
    """The mIoU under every row of weights."""
    correct, union = (_sums(pixels, evaluation.clusters) for pixels in (evaluation.correct, evaluation.union))
    return np.nanmean(_iou(weights @ correct, weights @ union), axis=1)


def _estimate(
    evaluation: ClassCounts, value: float, influence: np.ndarray, replicates: np.ndarray, confidence: float
) -> Estimate:
    """Percentile interval, expanded to the quantiles of Student's t for few clusters (Hesterberg 2015)."""
    clusters = len(influence)
    se = float(_standard_error(_mean(influence)[:, None])[0])
    low, high = float("nan"), float("nan")
    if clusters > 1:
        tail = special.ndtr(special.stdtrit(clusters - 1, (1 - confidence) / 2))
        low, high = np.quantile(replicates, [tail, 1 - tail])
    return Estimate(value, se, float(low), float(high), len(evaluation.images), clusters, evaluation.clustering)


def _same_images(evaluation: ClassCounts, reference: ClassCounts) -> None:
    if evaluation.images != reference.images:
        common = len(set(evaluation.images) & set(reference.images))
        raise AnalysisError(
            f"evaluations: both must be of the same images, got {len(evaluation.images)} and {len(reference.images)} "
            f"images, {common} of them in common"
        )
