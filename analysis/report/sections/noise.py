"""How much scores vary by chance: with the seed of a training, and with the choice of images."""

import numpy as np
import pandas as pd

from analysis.formats import interval, missing, plural, points, text
from analysis.report import html as page
from analysis.report.findings import Findings
from analysis.report.html import TableCell, number
from analysis.stats.image_bootstrap import ClassCounts, Estimate, difference, miou
from analysis.stats.seed_contrasts import Effects, effects, smallest_effect


def seed_noise(findings: Findings) -> Effects | None:
    """All finalists in one family, the baseline's best as the reference (the first of all without one).

    None before two configs have fresh seeds.
    """
    ranked = findings.ranked[findings.ranked["confirmed"]]
    if len(ranked) < 2:
        return None
    origins = ranked["trial_id"].where(ranked["trial_id"].map(text) != "", ranked["study"] + " " + ranked["config_id"])
    names = [str(name) for name in origins]
    rows = [
        (name, seed, score)
        for name, seeds, scores in zip(names, ranked["seeds"], ranked["scores"], strict=True)
        for seed, score in zip(seeds, scores, strict=True)
    ]
    baseline = findings.baseline()
    study = ranked["study"].iloc[0] if baseline is None else baseline["study"]
    reference = next(
        (name for name, its_study in zip(names, ranked["study"], strict=True) if its_study == study), names[0]
    )
    long = pd.DataFrame(rows, columns=["config", "seed", "score"])
    return effects(long, reference, smallest_effect(findings.tables["sweeps"]))


def iid_error(counts: ClassCounts) -> float:
    """Standard error of the mIoU if every image were independent of every other (fraction)."""
    images = len(counts.images)
    return float(np.sqrt(images / (images - 1) * (counts.per_image**2).sum())) if images > 1 else float("nan")


def section(findings: Findings) -> str:
    """The spread over seeds and over images; empty where nothing is known."""
    rows = [*_of_seeds(findings), *_of_images(findings)]
    if not rows:
        return ""
    table = page.table(["Noise", "Points", "Where it comes from"], rows)
    note = (
        "The spread over seeds says what training a config again gives; the spread over images says what other images "
        "of the same kind would give for one checkpoint. One does not stand for the other."
    )
    return f'{table}<p class="aside">{note}</p>'


def _of_seeds(findings: Findings) -> list[list[TableCell]]:
    model = seed_noise(findings)
    if model is None:
        return []
    configs = len(model.frame) + 1
    pooled = (
        f"one score, over seeds; pooled over {plural(configs, 'config')} with {plural(model.n, 'seed')} or more each"
    )
    spread = model.spread
    deviation = number(points(spread.sd), spread.sd, f"[{points(spread.low)}, {points(spread.high)}]")
    rows = [[TableCell("Standard deviation over seeds"), deviation, TableCell(pooled, wide=True)]]
    estimated = not missing(model.rho)
    correlation = f"{model.rho:.2f} [{model.rho_low:.2f}, {model.rho_high:.2f}]" if estimated else "unknown"
    meaning = (
        "of the scores of two configs on the same seed; only where it is clearly above 0 does pairing by seed help"
    )
    rows.append(
        [
            TableCell("Correlation of paired seeds"),
            number(correlation, model.rho if estimated else None),
            TableCell(meaning, wide=True),
        ]
    )
    ranked = findings.ranked[findings.ranked["confirmed"] & findings.ranked["unstable"].notna()]
    unstable = [f"{row['study']} {row['config_id']}: {row['unstable']}" for row in ranked.to_dict("records")]
    steady = "none: every fresh seed was trained to its end, and none collapsed"
    rows.append(
        [
            TableCell("Unstable configs"),
            number(str(len(unstable)), len(unstable)),
            TableCell("; ".join(unstable) or steady),
        ]
    )
    return rows + [[TableCell("Note"), number("", None), TableCell(note, wide=True)] for note in model.notes]


def _of_images(findings: Findings) -> list[list[TableCell]]:
    stored = findings.checkpoint_counts
    if not stored:
        return []
    name, checkpoint = next(iter(stored.items()))
    estimate = miou(checkpoint)
    independent = f"mIoU of one checkpoint ({name}), images as if independent (n={len(checkpoint.images)})"
    rows = [
        _row("Standard error over images, independent", iid_error(checkpoint), independent),
        _row("Standard error over images, clustered", estimate.se, f"the same checkpoint, {_clusters(estimate)}"),
    ]
    if len(stored) == 2 and stored["best"].images == stored["baseline"].images:
        gap = difference(stored["best"], stored["baseline"])
        meaning = (
            f"best minus baseline, one checkpoint each, 95 % over images, {_clusters(gap)}; "
            "not a claim about the config"
        )
        limits = interval(gap.low, gap.high)
        rows.append(
            [TableCell("These two checkpoints"), number(points(gap.value), gap.value, limits), TableCell(meaning)]
        )
    return rows


def _clusters(estimate: Estimate) -> str:
    return f"{estimate.clusters} clusters: {estimate.clustering}"


def _row(name: str, value: float, where: str) -> list[TableCell]:
    return [TableCell(name), number(points(value), value), TableCell(where, wide=True)]
