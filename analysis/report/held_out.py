"""The verdict after a freeze: the chosen config and the baseline on final seeds, which chose nothing."""

import math
from dataclasses import dataclass

import pandas as pd

from analysis.formats import each, missing, plural, points, signed
from analysis.report.headline import Headline, Scene, Statement
from analysis.report.line import Line, Mark
from analysis.report.wording import EQUIVALENT, NOT_SEPARATED, SEPARATED, Wording, wording_of
from analysis.selection.final_seeds import Difference, FinalScores, final_difference, final_scores
from analysis.tables.files import Tables


@dataclass(frozen=True)
class HeldOut:
    """What the final seeds say so far.

    Attributes:
        chosen: The frozen config.
        baseline: The baseline's config; None in a sweep without one, and where the chosen config is the baseline.
        is_baseline: Whether the chosen config is the baseline.
        difference: Chosen minus baseline; None where no seed has both.
    """

    chosen: FinalScores
    baseline: FinalScores | None
    is_baseline: bool
    difference: Difference | None

    @property
    def said(self) -> Wording | None:
        """The word on the final seeds; None while it is withheld."""
        found = self.difference
        if found is None or found.word is None:
            return None
        return Wording(found.word, found.mean, found.low, found.high, len(found.seeds), found.weakened)

    @property
    def complete(self) -> int:
        """The final seeds that every config has a score on."""
        return min(len(config.seeds) for config in (self.chosen, self.baseline) if config is not None)

    @property
    def short(self) -> bool:
        """Whether a planned final seed lacks a score."""
        return self.complete < self.chosen.planned

    @property
    def where(self) -> str:
        """The seeds and images of the scores."""
        return f"{plural(len(self.chosen.seeds), 'final seed')} on role {self.chosen.role}"


def held_out(tables: Tables) -> HeldOut | None:
    """What the final seeds say; None before the freeze, and after one that trains on no final seeds."""
    chosen, baseline = final_scores(tables), final_scores(tables, "baseline")
    if chosen is None or not chosen.planned:
        return None
    same = baseline is not None and (baseline.study, baseline.config_id) == (chosen.study, chosen.config_id)
    return HeldOut(chosen, None if same else baseline, same, final_difference(tables))


def after_the_freeze(found: HeldOut, selection: Statement, scene: Scene) -> Statement:
    """The headline once the final seeds are trained, or how far they are.

    Args:
        found: What the final seeds say.
        selection: The headline by the selection.
        scene: The rows of the selection.
    """
    chosen, name = found.chosen, scene.named(scene.winner)
    if not chosen.scores:
        return Statement(
            f"{Headline.PROVISIONAL}, frozen, none of {chosen.planned} final seeds complete: {selection.headline}",
            selection.said,
        )
    complete = f", frozen, {found.complete} of {chosen.planned} final seeds complete" if found.short else ""
    begin = f"{Headline.PROVISIONAL if found.short else Headline.HELD_OUT}{complete}, on role {chosen.role}"
    score = f"{points(chosen.mean)} mIoU over {plural(len(chosen.seeds), 'final seed')}"
    short = _short(chosen)
    if found.is_baseline:
        return Statement(f"{begin}: the baseline {Headline.CHOSEN}, {chosen.study}, {name}: {score}{short}")
    if found.baseline is None:
        return Statement(f"{begin}: {name} scores {score}{short}; there is no baseline to compare it with")
    against = f"the baseline {found.baseline.study}"
    if said := found.said:
        failed = _how_many_failed(found)
        decided = said.word != NOT_SEPARATED and not said.few and not said.worse and not failed
        return Statement(f"{begin}: {name} is {said.clause(against)}{failed}", said, "" if decided else "amber")
    if found.difference is None:
        return Statement(f"{begin}: {name} scores {score}{short}; {against} has no score on the same seeds", mark="red")
    apart = f"{signed(found.difference.mean)} points from {against}"
    all_failed = any(len(config.broken) == len(config.seeds) for config in (chosen, found.baseline))
    headline = f"{begin}: {name} differs by {apart}, {Headline.NO_WORD}: {found.difference.withheld}"
    return Statement(headline, mark="red" if all_failed else "amber")


def lines(found: HeldOut) -> list[Line]:
    """The scores on the final seeds: the numbers to publish."""
    chosen = found.chosen
    if not chosen.scores:
        todo = f"none of the {chosen.planned} final seeds is complete; run the same command again"
        return [Line("After the freeze", f"The selection is frozen, but {todo}.", "amber")]
    scores = [f"{_scores(config)}" for config in (chosen, found.baseline) if config is not None]
    text = f"On seeds not used in the selection, role {chosen.role}: {'; '.join(scores)}."
    if (difference := found.difference) is not None:
        text += f" Seed by seed {each(difference.each, sign=True)}."
        if difference.weakened:
            text += f" {difference.weakened[0].upper()}{difference.weakened[1:]}."
        elif difference.word == NOT_SEPARATED and not missing(difference.mde):
            text += f" A true difference of {points(difference.mde)} points would be missed in 20 of 100 such tests."
        if difference.withheld:
            text += f" {Headline.NO_WORD.capitalize()}: {difference.withheld}."
    configs = [config for config in (chosen, found.baseline) if config is not None]
    doubtful = any(_short(config) or config.broken for config in configs)
    return [Line("After the freeze", text, "amber" if doubtful else "")]


def disagreements(found: HeldOut, row: pd.Series) -> tuple[list[str], Mark]:
    """Where the selection and the final seeds say different things of the chosen config, one clause each.

    Args:
        found: What the final seeds say.
        row: The chosen config's row of ``compare``.

    Returns:
        The clauses, and how severe they are. A selection that was merely less sure than the final seeds was not wrong.
    """
    final, before = found.difference, wording_of(row)
    if final is None or before is None:
        return [], ""
    numbers = f"the selection said {before.numbers}, the final seeds {signed(final.mean)}"
    sentences = []
    if final.mean * before.difference < 0 and EQUIVALENT not in (before.word, final.word):
        sentences.append(f"the sign has changed: {numbers} points")
    if final.word is not None and before.word == SEPARATED != final.word:
        sentences.append(f"the selection said {before.word}, the final seeds say {final.word}")
    if final.word is not None and _apart(before, final):
        sentences.append(f"the two differences lie further apart than their noise explains: {numbers} points")
    return sentences, "red" if sentences else ""


def _apart(before: Wording, final: Difference) -> bool:
    """Whether two differences on other seeds are further apart than both intervals together allow."""
    if before.difference > final.mean:
        return before.difference - final.mean > math.hypot(before.difference - before.low, final.high - final.mean)
    return final.mean - before.difference > math.hypot(final.mean - final.low, before.high - before.difference)


def _scores(config: FinalScores) -> str:
    if not config.scores:
        return f"{config.study} has no score"
    return f"{config.study} scored {each(config.scores)} (mean {points(config.mean)}){_short(config)}{_failed(config)}"


def _failed(config: FinalScores) -> str:
    """The seeds whose training failed, and at which scores they count."""
    scores = dict(zip(config.seeds, config.scores, strict=True))
    failed = [f"seed {seed} failed and counts at {points(scores[seed])}" for seed in config.failed]
    fell = [f"seed {seed} collapsed to {points(scores[seed])}" for seed in config.collapsed]
    return "".join(f", {what}" for what in (*failed, *fell))


def _how_many_failed(found: HeldOut) -> str:
    """How many final seeds of the chosen config and of the baseline failed; empty where none did."""
    configs = {"it": found.chosen} | ({} if found.baseline is None else {"the baseline": found.baseline})
    counts = [
        f"{len(config.broken)} of {plural(len(config.seeds), 'final seed')} of {name}"
        for name, config in configs.items()
        if config.broken
    ]
    return f"; {' and '.join(counts)} failed" if counts else ""


def _short(config: FinalScores) -> str:
    """How many of the planned seeds are there, where some are missing."""
    missing_seeds = config.planned - len(config.seeds)
    return f" ({len(config.seeds)} of {config.planned} planned seeds)" if missing_seeds else ""
