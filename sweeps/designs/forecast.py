"""What an ablation will cost and could see, before anything runs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from analysis.formats import duration
from analysis.selection.halving import all_seeds, trainings
from analysis.stats.looks import alpha_at
from analysis.stats.power import UNPAIRED, PairedTest, detectable_ses, first_step
from sweeps.designs.controls import FAMILY as CONTROLS
from sweeps.designs.factorial import FAMILY as FACTORIAL
from sweeps.designs.measured import ASSUMED_SD, Measured
from sweeps.driver.allocation import confirms, most_trials
from sweeps.spec.controls import control_kinds
from sweeps.spec.settings import Cell
from sweeps.spec.spec import SweepSpec
from sweeps.spec.study import Study

MOST_RUNS = 200
"""More trainings than this need `--yes`."""


@dataclass(frozen=True)
class Family:
    """Comparisons among which errors are counted together."""

    design: str
    name: str
    comparisons: int
    detectable: float
    """The smallest effect found with 80 % power after Holm (fraction); NaN where nothing can be found."""
    what: str


@dataclass(frozen=True)
class Forecast:
    """An ablation before it runs."""

    cells: int
    seeds: int
    runs: int
    epochs: int
    hours: float | None
    sd: float
    sd_source: str
    families: tuple[Family, ...]
    retuned: tuple[str, ...]
    notes: tuple[str, ...]
    smallest_effect: float

    def lines(self) -> list[str]:
        """The forecast to be read."""
        cost = f", about {duration(3600 * self.hours)} of training" if self.hours is not None else ""
        lines = [
            f"{self.cells} cells x {self.seeds} fresh seeds: {self.runs} runs, {self.epochs} epochs{cost}",
            f"seeds spread by {100 * self.sd:.2f} points ({self.sd_source})",
        ]
        lines += [f"family {each.design}/{each.name}: {each.what}; {_sees(each)}" for each in self.families]
        weakest = max((f.detectable for f in self.families if not math.isnan(f.detectable)), default=0.0)
        if 100 * weakest > self.smallest_effect:
            lines.append(
                f"effects between {self.smallest_effect:g} points, the smallest that matters, and {100 * weakest:.1f} "
                "points will mostly not be found: more seeds narrow the gap"
            )
        lines += [f"searched again in each cell: {text}" for text in self.retuned]
        return lines + [f"note: {note}" for note in self.notes]


def forecast(spec: SweepSpec, measured: Measured | None = None) -> Forecast:
    """What an ablation will cost, and the smallest effects that it could see (80 % power, 5 % after Holm).

    Args:
        spec: The ablation.
        measured: From an earlier sweep; without it a spread of seeds is assumed.
    """
    facts = measured or Measured()
    sd = facts.sd if facts.sd is not None else ASSUMED_SD
    source = f"measured in {facts.name}, {facts.df} degrees of freedom" if facts.sd is not None else "assumed"
    counts = {study.name: runs(spec, study) for study in spec.studies}
    epochs = {study.name: counts[study.name] * spec.epochs[study.name] for study in spec.studies}
    return Forecast(
        cells=len(spec.studies),
        seeds=(spec.confirm.most or spec.confirm.first) if confirms(spec) else 1,
        runs=sum(counts.values()),
        epochs=sum(epochs.values()),
        hours=_hours(spec, epochs, facts),
        sd=sd,
        sd_source=source,
        families=tuple(_families(spec, sd)),
        retuned=tuple(dict.fromkeys(cell.retuned for cell in spec.cells if cell.retuned)),
        notes=spec.notes,
        smallest_effect=spec.smallest_effect,
    )


def runs(spec: SweepSpec, study: Study) -> int:
    """Trainings of a study at most: its searches, and the fresh seeds of what they find."""
    space = spec.space_of(study)
    searched = most_trials(spec, study) if space else 0
    if not confirms(spec):
        return spec.repeats_of(study) * searched or 1
    rounds = spec.confirm.rounds
    return spec.repeats_of(study) * (searched + trainings(rounds, searched)) if space else all_seeds(rounds)


def _sees(family: Family) -> str:
    if math.isnan(family.detectable):
        return "one seed per cell sees nothing"
    points = 100 * family.detectable
    if family.name == FACTORIAL:  # an interaction is a difference of two differences
        return (
            f"sees main effects from {points:.1f} points and interactions from {2 * points:.1f} on in 80 of 100 cases"
        )
    return f"sees effects from {points:.1f} points on in 80 of 100 cases"


def _hours(spec: SweepSpec, epochs: dict[str, int], facts: Measured) -> float | None:
    if facts.taught is None or facts.untaught is None:
        return None
    pace = {True: facts.taught, False: facts.untaught}
    seconds = sum(count * pace[spec.config_for(spec.study(name)).uses_teacher] for name, count in epochs.items())
    return seconds / 3600


def _families(spec: SweepSpec, sd: float) -> Iterator[Family]:
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in spec.cells:
        design = cell.design or spec.design or spec.purpose
        if cell.role != "reference":
            groups.setdefault((design, cell.family), []).append(cell)
    groups |= _controls_of_factorials(spec, groups)
    n = spec.confirm.most or spec.confirm.first
    for (design, name), cells in groups.items():
        if name == FACTORIAL:
            factors = len(cells[0].levels or {})
            effects = factors + factors * (factors - 1) // 2
            detectable = _main_effect(sd, len(cells) + 1, n, effects)
            interactions = f"{effects - factors} interaction{'s' * (effects - factors > 1)}"
            what = f"{factors} main effects and {interactions} of {len(cells) + 1} cells"
            yield Family(design, name, effects, detectable, what)
            continue
        detectable = PairedTest(sd * UNPAIRED, len(cells)).smallest(n)
        compared = f"{len(cells)} comparison{'s' * (len(cells) > 1)} with the reference"
        yield Family(design, name, len(cells), detectable, compared)


def _controls_of_factorials(
    spec: SweepSpec, groups: Mapping[tuple[str, str], Sequence[Cell]]
) -> dict[tuple[str, str], list[Cell]]:
    """The families of controls with the cells of factorials that are controls too, such as cross-entropy alone."""
    kinds, known = control_kinds(spec), {cell.study for cell in spec.cells if cell.role == "control"}
    families: dict[tuple[str, str], list[Cell]] = {}
    for (design, name), cells in groups.items():
        further = [cell for cell in cells if cell.study in kinds and cell.study not in known]
        if name == FACTORIAL and further:
            families[design, CONTROLS] = [*groups.get((design, CONTROLS), ()), *further]
    return families


def _main_effect(sd: float, cells: int, n: int, effects: int) -> float:
    """The smallest main effect of a factorial that is detected: the difference of two halves of all runs.

    The degrees of freedom are those that `analysis.ablation.factorial` finds where all cells spread alike: with few
    seeds some seem to spread further, which costs some. With one seed per cell higher interactions are the noise.
    """
    df = cells * (n - 1) ** 2 / (n + 1) if n > 1 else cells - 1 - effects
    if df <= 0:
        return math.nan
    return 2 * sd / math.sqrt(cells * n) * detectable_ses(df, first_step(alpha_at(n), effects))
