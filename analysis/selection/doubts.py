"""What makes the comparison of a study with the baseline doubtful, in short sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.conditions.hardware import Mix
from analysis.formats import points
from analysis.selection.refusals import TOLERANCE
from analysis.selection.study_row import StudyRow
from analysis.tables.states import BROKEN

SMALLEST_GAP = 0.02
"""With a teacher less than this above the baseline, a share of the gap would be noise over noise."""


@dataclass(frozen=True)
class Doubts:
    """What the doubts about every study of a sweep depend on.

    Attributes:
        baseline: The baseline; None in a sweep without a baseline.
        teacher: The teacher's mIoU (fraction); NaN where it is unknown.
        finished: Whether the sweep has finished.
        mixes: What differs between the environments of the trials.
        at_edge: By search trial, sentences about values at the edge of their range.
        is_ablation: Whether the sweep is an ablation, which compares with a reference of its own.
    """

    baseline: StudyRow | None
    teacher: float
    finished: bool
    mixes: Sequence[Mix]
    at_edge: Mapping[str, Sequence[str]]
    is_ablation: bool = False

    def of(self, row: StudyRow, paired: bool, withheld: str = "", copies: Sequence[str] = ()) -> list[str]:
        """The doubts about one study.

        Args:
            row: The study.
            paired: Whether its best finalist and the baseline's have seeds in common.
            withheld: Why no word is said about it, or a weaker one.
            copies: The studies that have the same score on every seed.
        """
        total, broken = sum(row.spent.states.values()), {state: row.spent.states[state] for state in BROKEN}
        return [
            *_seeds(row),
            *self._failed(row),
            *((f"the word is withheld: {withheld}",) if withheld else ()),
            *(
                f"the same score as {other} on every seed: both train the same, or a result was copied"
                for other in copies
            ),
            *self._baseline(row, paired),
            *(self.at_edge.get(row.best.trial_id, ()) if row.best.trial_id is not None else ()),
            *(f"{count} of {total} trials {state}" for state, count in broken.items() if count),
            *(() if self.finished else ("the sweep has not finished",)),
            *self._mixed(row),
        ]

    def _baseline(self, row: StudyRow, paired: bool) -> list[str]:
        baseline = self.baseline
        if baseline is None:
            return [] if self.is_ablation else ["no baseline study"]
        if row is baseline:
            return []
        doubts = []
        if row.facts.searched_parameters and not baseline.facts.searched_parameters:
            doubts.append("baseline was not searched")
        if row.best.n and baseline.best.n and not paired:
            doubts.append("no seed in common with the baseline")
        gap = self.teacher - baseline.best.mean
        return [*doubts, *_unequal_budget(row, baseline), *_small_gap(gap)]

    def _failed(self, row: StudyRow) -> list[str]:
        """Fresh seeds of its best config that failed, and what those of a baseline lead to."""
        if not row.best.failed_seeds:
            return []
        unstable = f"unstable, {row.best.failures} fresh seeds failed: {row.best.unstable}"
        flatters = "; a baseline that fails makes the others look better" if row is self.baseline else ""
        return [f"{unstable}{flatters}"]

    def _mixed(self, row: StudyRow) -> list[str]:
        """Whether a study and the baseline ran on different hardware, software or code."""
        compared = {row.study, row.study if self.baseline is None else self.baseline.study}
        return [mix.doubt for mix in self.mixes if mix.spans(compared)]


def _seeds(row: StudyRow) -> list[str]:
    doubts = []
    best = row.best
    if not best.n:
        doubts.append("no finalist: none of its trials is complete")
    elif not best.confirmed:
        doubts.append("n=1, not confirmed: the score by which it was chosen, optimistic")
    elif best.n == 1:
        doubts.append("n=1")
    if best.n < best.planned_seeds:
        doubts.append(f"{best.planned_seeds - best.n} of {best.planned_seeds} fresh seeds missing")
    return doubts


def _small_gap(gap: float) -> list[str]:
    """Whether the teacher has little to teach, by its lead over the baseline (fraction)."""
    if gap <= 0:
        return [f"the teacher is no better than the baseline: it scores {points(-gap)} points less"]
    return [f"the teacher leads the baseline by only {points(gap)} points"] if gap < SMALLEST_GAP else []


def _unequal_budget(row: StudyRow, baseline: StudyRow) -> list[str]:
    """Budgets are compared in the unit in which the sweep grants them; if equal, then in the time that they took."""
    unit = row.granted_unit
    amount, of_baseline = row.spent.in_unit(unit), baseline.spent.in_unit(unit)
    if amount and of_baseline and abs(amount - of_baseline) > TOLERANCE * max(amount, of_baseline):
        return [f"budgets differ by more than 10 %: {amount} {unit}, baseline {of_baseline}"]
    if baseline.spent.search_s < (1 - TOLERANCE) * row.spent.search_s:
        share = baseline.spent.search_s / row.spent.search_s
        return [f"equal {unit}, not equal time: the baseline was searched for {share:.0%} of the time of this study"]
    return []
