"""IoU of every class: chosen config, baseline, teacher; and which gains the choice of images does not explain."""

import pandas as pd

from analysis.figures import results as plots
from analysis.figures.canvas import BASELINE, TEACHER
from analysis.formats import interval, plural, points, signed
from analysis.report import html as page
from analysis.report.findings import Findings
from analysis.report.html import TableCell, number
from analysis.stats.image_bootstrap import class_differences

MANY_CLASSES = 40
CHECKPOINT_CLAIM = "A claim about two checkpoints on such images, not about training their configs again."


def section(findings: Findings) -> str:
    """The classes as dots over seeds, as differences of two checkpoints with their intervals, and as a table."""
    chosen = findings.chosen()
    if chosen is None or findings.classes["best"].isna().all():
        return ""
    frame, study = findings.classes, chosen["study"]
    gain = frame["best"] - frame["baseline"]
    order = gain.sort_values().index
    shown = frame if len(frame) <= MANY_CLASSES else frame.loc[[*order[:15], *order[-15:]]]
    looks = {f"best ({study})": findings.palette[study], "baseline": BASELINE}
    looks |= {"teacher": TEACHER} if frame["teacher"].notna().any() else {}
    better, compared = int((gain > 0).sum()), int(gain.notna().sum())
    claim = f"{study} is above the baseline in {better} of {compared} classes." if compared else "IoU of every class."
    partly = "" if len(shown) == len(frame) else f" The 15 largest losses and gains of {len(frame)} classes."
    teacher = ", the upright mark is the teacher (one network)" if "teacher" in looks else ""
    rest = (
        f"Dots are means over {plural(chosen['n'], 'seed')}, the bar joins baseline and best{teacher}.{partly} "
        "IoU on the role select; a class that is absent there has no dot. "
        "With so many classes some differences are large by chance."
    )
    differences = checkpoint_differences(findings)
    drawing = page.keys(looks) + plots.per_class(shown, study, findings.palette).draw()
    return (
        page.figure(drawing, claim, rest)
        + _of_checkpoints(findings, differences, differences[differences.index.isin(shown.index)], study)
        + f"<details><summary>As a table</summary>{_table(frame, differences)}</details>"
    )


def checkpoint_differences(findings: Findings) -> pd.DataFrame:
    """IoU of the best minus that of the baseline, one checkpoint each, over the same images.

    Returns:
        The columns of ``image_bootstrap.class_differences``, indexed by class name, for the classes that both
        checkpoints have. Empty where the counts of one of them were not stored, and where both are the same training.
    """
    counts, checkpoints = findings.checkpoint_counts, findings.checkpoints
    if len(counts) < 2 or checkpoints["best"] == checkpoints["baseline"]:
        return pd.DataFrame(columns=["difference", "low", "high"])
    if counts["best"].images != counts["baseline"].images:
        return pd.DataFrame(columns=["difference", "low", "high"])
    frame = class_differences(counts["best"], counts["baseline"])
    return frame.set_index(findings.classes.index).dropna(subset="difference")


def _of_checkpoints(findings: Findings, differences: pd.DataFrame, shown: pd.DataFrame, study: str) -> str:
    """Which classes differ by more than the choice of images explains."""
    if differences.empty:
        return ""
    apart = int(((differences["low"] > 0) | (differences["high"] < 0)).sum())
    best = findings.checkpoint_counts["best"]
    clusters = int(best.clusters.max()) + 1
    rest = (
        f"{CHECKPOINT_CLAIM} IoU of {study} minus the baseline on {len(best.images)} images of the role select: trials "
        f"{findings.checkpoints['best']} and {findings.checkpoints['baseline']}. Intervals: 95 %, over images "
        f"({clusters} clusters: {best.clustering}), Holm over {len(differences)} classes. Filled: the interval leaves "
        "out 0. An interval is too narrow for a class that occurs in very few clusters."
    )
    claim = (
        f"Two checkpoints differ in {apart} of {len(differences)} classes by more than the choice of images explains."
    )
    return page.figure(plots.class_differences(shown, study, findings.palette).draw(), claim, rest)


def _table(frame: pd.DataFrame, differences: pd.DataFrame) -> str:
    joined = frame.join(differences[["difference", "low", "high"]].astype(float))
    rows = []
    for name, row in zip(map(str, joined.index), joined.to_dict("records"), strict=True):
        cells = [TableCell(name)]
        cells += [number(points(row[column]), row[column]) for column in ("baseline", "best", "teacher")]
        cells.append(number(signed(gain := row["best"] - row["baseline"]), gain))
        if len(differences):
            limits = interval(row["low"], row["high"])
            cells.append(number(signed(row["difference"]), row["difference"], limits))
        rows.append(cells)
    columns = ["Class", "Baseline", "Best", "Teacher", "Best over baseline"]
    return page.table([*columns, *(["Two checkpoints"] if len(differences) else [])], rows)
