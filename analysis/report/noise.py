"""How much scores vary for reasons that are no one's merit: seeds, and the choice of images."""

import numpy as np
import pandas as pd

from analysis.formats import interval, missing, plural, points, text
from analysis.report import html as page
from analysis.report.findings import Findings
from analysis.report.html import Cell, number
from analysis.selection.finalists import trials_of
from analysis.stats.image_bootstrap import ClassCounts, Estimate, counts, difference, evaluation_of, miou
from analysis.stats.seed_contrasts import Effects, effects, smallest_effect
from analysis.tables.files import Tables


def seed_noise(found: Findings) -> Effects | None:
    """All finalists in one model, the baseline's best as the reference (the first of all without one).

    None before two configs have fresh seeds.
    """
    ranked = found.ranked[found.ranked["confirmed"]]
    if len(ranked) < 2:
        return None
    origins = ranked["trial_id"].where(ranked["trial_id"].map(text) != "", ranked["study"] + " " + ranked["config_id"])
    names = [str(name) for name in origins]
    rows = [
        (name, seed, score)
        for name, seeds, scores in zip(names, ranked["seeds"], ranked["scores"], strict=True)
        for seed, score in zip(seeds, scores, strict=True)
    ]
    baseline = found.baseline()
    study = ranked["study"].iloc[0] if baseline is None else baseline["study"]
    reference = next((name for name, own in zip(names, ranked["study"], strict=True) if own == study), names[0])
    long = pd.DataFrame(rows, columns=["config", "seed", "score"])
    return effects(long, reference, smallest_effect(found.tables["sweeps"]))


def evaluated(found: Findings) -> dict[str, str]:
    """The trials that stand for the chosen config and the baseline where images are looked at: one seed of both."""
    rows = {"best": found.chosen(), "baseline": found.baseline()}
    trials = {name: trials_of(found.tables, row) for name, row in rows.items() if row is not None}
    seeds = [set(mine["seed"]) for mine in trials.values() if len(mine)]
    common = set.intersection(*seeds) if seeds else set()
    chosen = {}
    for name, mine in trials.items():
        shared = mine[mine["seed"].isin(common)] if common else mine
        if len(shared):
            chosen[name] = str(shared["trial_id"].iloc[0])
    return chosen


def iid_error(one: ClassCounts) -> float:
    """Standard error of the mIoU if every image were independent of every other (fraction)."""
    images = len(one.images)
    return float(np.sqrt(images / (images - 1) * (one.per_image**2).sum())) if images > 1 else float("nan")


def noise(found: Findings) -> str:
    """The noise card as HTML; empty where nothing can be said."""
    rows = [*_of_seeds(found), *_of_images(found)]
    if not rows:
        return ""
    table = page.table(["Noise", "Points", "Where it comes from"], rows)
    note = (
        "Seeds say what training a config again gives, images what other images of the same kind would say about one "
        "file. One does not stand for the other."
    )
    return f'{table}<p class="aside">{note}</p>'


def _of_seeds(found: Findings) -> list[list[Cell]]:
    model = seed_noise(found)
    if model is None:
        return []
    configs = len(model.frame) + 1
    pooled = (
        f"one score, over seeds; pooled over {plural(configs, 'config')} with {plural(model.n, 'seed')} or more each"
    )
    rows = [_row("Standard deviation over seeds", model.sd, pooled)]
    known = not missing(model.rho)
    told = f"{model.rho:.2f} [{model.rho_low:.2f}, {model.rho_high:.2f}]" if known else "unknown"
    meaning = (
        "of the scores of two configs on the same seed; only where it is clearly above 0 does pairing by seed help"
    )
    rows.append(
        [Cell("Correlation of paired seeds"), number(told, model.rho if known else None), Cell(meaning, wide=True)]
    )
    seen = f"smallest difference to {model.reference} found in 80 of 100 repetitions, after Holm over all finalists"
    rows.append(_row("Smallest detectable effect", model.mde, seen))
    unstable = [str(name) for name in model.frame.loc[model.frame["unstable"], "config"]]
    steady = "none: no config's seeds spread further than chance explains"
    rows.append(
        [Cell("Unstable configs"), number(str(len(unstable)), len(unstable)), Cell(", ".join(unstable) or steady)]
    )
    return rows + [[Cell("Note"), number("", None), Cell(note, wide=True)] for note in model.notes]


def _of_images(found: Findings) -> list[list[Cell]]:
    known = {name: _counts(found.tables, trial) for name, trial in evaluated(found).items()}
    stored = {name: one for name, one in known.items() if one is not None}
    if not stored:
        return []
    name, one = next(iter(stored.items()))
    estimate = miou(one)
    iid = f"mIoU of one checkpoint ({name}), images as if independent (n={len(one.images)})"
    rows = [
        _row("Standard error over images, iid", iid_error(one), iid),
        _row("Standard error over images, clustered", estimate.se, f"the same, {_drawn(estimate)}"),
    ]
    if len(stored) == 2 and stored["best"].images == stored["baseline"].images:
        gap = difference(stored["best"], stored["baseline"])
        said = (
            f"best minus baseline, one checkpoint each, 95 % over images, {_drawn(gap)}; not a claim about the config"
        )
        rows.append(
            [Cell("These two files"), number(points(gap.value), gap.value, interval(gap.low, gap.high)), Cell(said)]
        )
    return rows


def _drawn(estimate: Estimate) -> str:
    return f"{estimate.clusters} clusters: {estimate.clustering}"


def _counts(tables: Tables, trial_id: str) -> ClassCounts | None:
    eval_id = evaluation_of(tables, trial_id)
    return None if eval_id is None else counts(tables, eval_id)


def _row(name: str, value: float, where: str) -> list[Cell]:
    return [Cell(name), number(points(value), value), Cell(where, wide=True)]
