"""Do our trainings agree with a published table? Effects are compared, not scores: recipes differ by more than methods.

The published effect of a cell is its published score minus that of the published reference. Its own noise is seldom
published; it is taken to be that of our seeds of the same two configs, for the number of runs behind the published
numbers (Patil, Peng & Leek, *What should researchers expect when they replicate studies?*, 2016: prediction intervals).
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.ablation.effects import CONTROLS, Tables, cell_scores, unjudged, why_unjudged
from analysis.conditions.hardware import mixed
from analysis.selection.finalists import finalists
from analysis.stats.looks import looks_of
from analysis.stats.seed_contrasts import SMALLEST, Effects, effects, smallest_effect

REPRODUCED, NOT, INCONCLUSIVE = "reproduced", "not", "inconclusive"
COLUMNS = [
    "design",
    "cell",
    "difference",
    "low",
    "high",
    "published",
    "expected_low",
    "expected_high",
    "verdict",
    "why",
]


def replay(
    ours: Effects, published: Mapping[str, float], smallest: float = SMALLEST, published_runs: int = 1
) -> pd.DataFrame:
    """Our effects beside published ones, with a verdict for each.

    Our interval is that of the effect, adjusted for its family. The interval of agreement around our effect is wider:
    it allows for the noise of the published numbers as well, at the same level. The rule, for gains and losses:

    * *reproduced*: the published effect lies in the interval of agreement, and either our interval lies wholly on its
      side of 0, or both say that there is no effect that matters (ours is wholly within ``smallest`` of 0, and so is
      the published one);
    * *not*: the published effect lies outside of the interval of agreement, also where ours goes the same way but is
      smaller or larger;
    * *inconclusive*: everything else; always so with one seed.

    Args:
        ours: From ``seed_contrasts.effects``.
        published: Published score by config, as a fraction; the reference must be among them.
        smallest: The smallest effect that matters, as a fraction.
        published_runs: Trainings behind each published number.

    Returns:
        One row per config with a published score: ``cell, difference, low, high, published`` (effect),
        ``expected_low, expected_high`` (the interval of agreement), ``verdict, why``.
    """
    of_reference = published.get(ours.reference)
    if of_reference is None:
        return pd.DataFrame(columns=COLUMNS[1:])
    frame = ours.frame[ours.frame["config"].isin(published)].rename(columns={"config": "cell"})
    noise = (frame["sd"] ** 2 + ours.reference_sd**2) / published_runs
    half = (frame["high"] - frame["low"]) / 2
    agreement = half * np.sqrt(1 + noise / frame["se"] ** 2)
    frame = frame.assign(
        published=[published[cell] - of_reference for cell in frame["cell"]],
        expected_low=frame["difference"] - agreement,
        expected_high=frame["difference"] + agreement,
    )
    judged = [_judge(row, smallest) for row in frame.itertuples()]
    frame = frame.assign(verdict=[verdict for verdict, _ in judged], why=[why for _, why in judged])
    return frame[COLUMNS[1:]].reset_index(drop=True)


def replays(tables: Tables, published_runs: int = 1) -> pd.DataFrame:
    """Every cell of a sweep with a published score, beside its published effect; see ``replay``.

    A cell that is not judged beside its reference (see ``analysis.ablation.effects.ablate``) is inconclusive.

    Returns:
        ``COLUMNS``; empty if nothing is published for the reference of any design.
    """
    sweeps, ranked = tables["sweeps"], finalists(tables)
    threshold, scores, looks = smallest_effect(sweeps), cell_scores(ranked), looks_of(sweeps)
    reasons, mixes = unjudged(tables, ranked), mixed(tables)
    parts = []
    for design, group in tables["cells"].groupby("design", sort=False):
        replicated = group[group["published"].notna()]
        published = dict(zip(replicated["cell"].map(str), replicated["published"].map(float), strict=True))
        references = group.loc[group["role"] == "reference", "cell"]
        reference = str(references.iloc[0]) if len(references) else ""
        if reference not in published or not scores.get(reference):
            continue
        families = group["family"].mask(group["role"] == "control", CONTROLS)
        for _, family in group[group["role"] != "reference"].groupby(families, sort=False):
            names = [reference, *family["cell"]]
            long = [(name, seed, score) for name in names for seed, score in scores.get(name, {}).items()]
            frame = pd.DataFrame(long, columns=["config", "seed", "score"])
            made = effects(frame, reference, threshold, looks=looks)
            rows = replay(made, published, threshold, published_runs).assign(design=design)
            why = pd.Series(
                ["; ".join(why_unjudged(reasons, mixes, cell, reference)) for cell in rows["cell"]], rows.index
            )
            silent = why != ""
            parts.append(
                rows.assign(verdict=rows["verdict"].mask(silent, INCONCLUSIVE), why=rows["why"].mask(silent, why))
            )
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def _judge(row: "tuple[object, ...]", smallest: float) -> tuple[str, str]:
    effect, low, high = row.published, row.low, row.high  # type: ignore[attr-defined]
    if np.isnan(low):
        return INCONCLUSIVE, "one seed says nothing about an effect"
    agrees = row.expected_low <= effect <= row.expected_high  # type: ignore[attr-defined]
    if not agrees:
        ours = row.difference  # type: ignore[attr-defined]
        if ours * effect <= 0:
            return NOT, "ours goes the other way"
        size = "smaller" if abs(ours) < abs(effect) else "larger"
        return NOT, f"ours goes the same way, but is {size} than noise explains"
    if -smallest <= low and high <= smallest and abs(effect) <= smallest:
        return REPRODUCED, "neither finds an effect that matters"
    if (low > 0 and effect > 0) or (high < 0 and effect < 0):
        return REPRODUCED, "the same direction, and the sizes agree"
    if low > 0 or high < 0:
        return INCONCLUSIVE, "ours goes the other way, but so little that noise may explain it"
    return INCONCLUSIVE, "the published effect and none at all are both compatible with ours"
