"""Which gain of each study its fresh seeds will detect, before a sweep runs, and what that assumes."""

import math
from collections import Counter

from analysis.formats import plural
from analysis.selection.halving import all_seeds
from analysis.stats.power import UNPAIRED, PairedTest
from analysis.stats.seed_plan import in_sds
from sweeps.driver.allocation import confirms
from sweeps.spec.controls import control_kinds
from sweeps.spec.spec import SweepSpec

_SEEDS = (3, 5, 10, 20)
POWER = "in 80 of 100 sweeps"
"""How often a gain is detected that a line calls detectable."""
ASSUMED_SD = 0.01
"""Of a training's mIoU over seeds (a fraction), where no sweep has shown it."""
_ASSUMPTION = (
    f"if the score of a training has an sd of {100 * ASSUMED_SD:.1f} points over seeds, to which it is proportional"
)


def comparisons(spec: SweepSpec) -> int:
    """The comparisons in the largest family of a sweep."""
    if spec.cells:
        families = Counter((cell.design, cell.family) for cell in spec.cells if cell.role != "reference")
        return max(families.values(), default=1)
    controls = control_kinds(spec)
    return max(1, sum(study.name not in controls for study in spec.studies) - 1)


def lines_without_noise(spec: SweepSpec) -> list[str]:
    """What seeds buy where the noise is not known: in units of the spread over seeds, and for an assumed spread."""
    if not confirms(spec):
        return []
    family, planned = comparisons(spec), all_seeds(spec.confirm.rounds)
    seeds = sorted({planned, *_SEEDS} - {0, 1})
    gains = ", ".join(f"{n} seeds {sds:.1f}" for n, sds in zip(seeds, in_sds(seeds, family), strict=True))
    return [
        f"seeds: {planned} of each config of the last round; the smallest gain found {POWER}, in sds of a training "
        f"over seeds: {gains} (the sd is known once configs were trained on several: on CamVid it was 0.2 to 4.4 "
        "points, docs/camvid.md; --like D takes noise and times of the sweep D)",
        *study_lines(spec, ASSUMED_SD * UNPAIRED, _ASSUMPTION),
    ]


def study_lines(spec: SweepSpec, sd: float, assumption: str) -> list[str]:
    """The smallest gain of every study over the baseline that its seeds detect.

    Args:
        spec: The sweep.
        sd: The spread over seeds of a difference of two configs (a fraction).
        assumption: What this spread rests on.

    Returns:
        One line, since all studies have as many seeds; none for a sweep that compares nothing with a baseline on fresh
        seeds.
    """
    baseline, controls = spec.baseline, control_kinds(spec)
    if baseline is None or spec.cells or not confirms(spec):
        return []
    compared = [study.name for study in spec.studies if study != baseline and study.name not in controls]
    if not compared:
        return []
    seeds = all_seeds(spec.confirm.rounds)
    gain = PairedTest(sd, comparisons(spec)).smallest(seeds)
    text = "no gain, which takes 2 seeds," if math.isnan(gain) else f"{100 * gain:.1f} points of mIoU"
    return [
        f"smallest gain of {', '.join(compared)} over {baseline.name} that is detected {POWER}: {text} with "
        f"{plural(seeds, 'seed')}, {assumption}"
    ]
