"""When a comparison says no word about a study, or a weaker one: planned seeds are missing, or trainings failed.

The best of several finalists is often one whose seeds did not fail by luck. So a word also has to hold if the config
loses what failures cost on average in its study, and a gain if the failed seeds of the baseline are left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.formats import plural, points
from analysis.selection.claims import Claim, claim_of
from analysis.selection.failures import StudyFailures
from analysis.selection.study_row import StudyRow
from analysis.stats.judge import word_that_holds
from analysis.stats.seed_contrasts import Effects


@dataclass(frozen=True)
class Claims:
    """The claims about all studies: from the scores as they are, and under the burden of failures.

    Attributes:
        baseline: The baseline; None in a sweep without a baseline.
        failures: Of every study.
        every: The family of claims by the scores as they are, then after each burden; empty where none can be made.
    """

    baseline: StudyRow | None
    failures: Mapping[str, StudyFailures]
    every: Sequence[Effects] = ()

    @classmethod
    def of(
        cls,
        rows: Sequence[StudyRow],
        baseline: StudyRow | None,
        failures: Mapping[str, StudyFailures],
        judge: Callable[[Mapping[str, float]], Effects | None],
    ) -> "Claims":
        """The claims of a sweep.

        Args:
            rows: All studies of the sweep.
            baseline: The baseline; None in a sweep without a baseline.
            failures: Of every study.
            judge: Takes what is taken from the scores of every study (fraction), and returns the claims about the rest.
        """
        plain = judge({})
        if plain is None or baseline is None:
            return cls(baseline, failures)
        of_others = {row.study: burden(row, baseline, failures) for row in rows if row is not baseline}
        of_baseline = {baseline.study: unseen_loss(baseline, failures)}
        burdened = (judge(each) for each in (of_others, of_baseline) if any(each.values()))
        return cls(baseline, failures, [plain, *(each for each in burdened if each is not None)])

    def about(self, row: StudyRow, teacher: float) -> Claim:
        """The claim about one study beside the baseline; it may say no more than why no word is said."""
        baseline = self.baseline
        if baseline is None or not row.best.n:
            return Claim()
        if reason := no_word(row, baseline):
            return Claim(withheld=reason)
        if not self.every or not set(row.best.seeds) & set(baseline.best.seeds):
            return Claim()
        plain, *burdened = (claim_of(each, row, baseline, teacher) for each in self.every)
        return weakened(plain, burdened, row, baseline, self.failures)


def no_word(row: StudyRow, baseline: StudyRow) -> str:
    """Why no word is said about a study that may otherwise be compared; empty if one is."""
    return "; ".join(filter(None, (incomplete(row), incomplete(baseline, f"the baseline {baseline.study}"))))


def burden(row: StudyRow, baseline: StudyRow, failures: Mapping[str, StudyFailures]) -> float:
    """By how much failures may flatter a study against its baseline (fraction).

    The loss that its own seeds do not show, and the loss that the baseline's seeds show.
    """
    return unseen_loss(row, failures) + baseline.best.loss


def unseen_loss(row: StudyRow, failures: Mapping[str, StudyFailures]) -> float:
    """What failures cost a config on average, beyond what they cost on its own seeds (fraction)."""
    of_study = failures.get(row.study, StudyFailures())
    return max(0.0, of_study.expected_loss(row.best.failures) - row.best.loss)


def weakened(
    claim: Claim, burdened: Sequence[Claim], row: StudyRow, baseline: StudyRow, failures: Mapping[str, StudyFailures]
) -> Claim:
    """A claim that also holds under the burden of failures: it is never stronger than without it.

    Args:
        claim: From the scores as they are.
        burdened: The claims after a `burden` was taken from the study's scores, or `unseen_loss` from the baseline's.
        row: The study.
        baseline: The baseline's.
        failures: Of every study.
    """
    every = [claim, *burdened]
    word = word_that_holds([str(other.word) for other in every], [other.difference for other in every])
    names = {baseline.study: f"the baseline {baseline.study}"}
    gains = claim.difference > 0
    reason = why_weakened(str(claim.word), gains, row, baseline, failures, names) if word != claim.word else ""
    return replace(
        claim,
        low=min(other.low for other in every),
        high=max(other.high for other in every),
        p_holm=max(other.p_holm for other in every),
        word=word,
        withheld=reason or claim.withheld,
    )


def incomplete(row: StudyRow, name: str = "") -> str:
    """Why the fresh seeds of a study carry no word, whatever it is compared with; empty if they do.

    Args:
        row: The study.
        name: What the sentence calls the study; by default its name.
    """
    best, name = row.best, name or row.study
    if not best.n:
        return f"{name} has no score: {_ends(row)}"
    if best.failures.total and best.failures.failed == best.failures.total:
        seeds = "the only fresh seed" if best.n == 1 else f"all {best.n} fresh seeds"
        return f"{seeds} of {name} failed ({best.unstable})"
    if best.rounds < best.study_rounds:
        return (
            f"{name} is represented by a config that went out in round {best.rounds} of {best.study_rounds}, because "
            "no config of a later round has a score"
        )
    if (lacking := best.planned_seeds - best.n) > 0:
        return f"{lacking} of {plural(best.planned_seeds, 'planned fresh seed')} of {name} {_are(lacking)} missing"
    return ""


def why_weakened(
    word: str,
    gains: bool,
    row: StudyRow,
    other: StudyRow,
    failures: Mapping[str, StudyFailures],
    names: Mapping[str, str] | None = None,
) -> str:
    """Why a word does not hold under the burden of failures, with the counts.

    Args:
        word: By the scores as they are.
        gains: Whether these say that the study is above the other one.
        row: The study.
        other: What it is compared with.
        failures: Of every study.
        names: What the sentence calls some studies; the others by their names.
    """
    named, charged = {each.study: each.study for each in (row, other)} | dict(names or {}), row if gains else other
    parts = []
    if (loss := unseen_loss(charged, failures)) > 0:
        of_study = failures[charged.study]
        parts.append(
            f"{of_study.all} trainings of {named[charged.study]} failed or collapsed ({of_study.search} in the "
            f"search, {of_study.fresh} on fresh seeds), which costs {points(loss)} points more on average than the "
            "fresh seeds of its best config show"
        )
    if gains and other.best.loss > 0:
        parts.append(
            f"{other.best.failures} fresh seeds of {named[other.study]} failed or collapsed, which lowers "
            f"its mean by {points(other.best.loss)} points"
        )
    return f"{word} by the seeds alone, but {' and '.join(parts)}"


def _ends(row: StudyRow) -> str:
    """How the trials of a study ended."""
    ends = [f"{count} {state}" for state, count in row.spent.states.items() if count]
    return f"of its trials {', '.join(ends)}" if ends else "it has no trial"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
