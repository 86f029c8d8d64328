"""What a method is worth beside the controls of a sweep: a gain that a control has as well is no distillation."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from analysis.conditions.hardware import different_code, mixed
from analysis.formats import text
from analysis.selection.final_seeds import selection_ended
from analysis.selection.study_row import NAN
from analysis.stats.judge import word_that_holds
from analysis.stats.looks import looks_of
from analysis.stats.seed_contrasts import Effects, effects, smallest_effect
from analysis.tables.controls import controls_of
from analysis.tables.files import Tables
from analysis.tables.states import Control, State

NEARLY_EQUAL = 0.9
"""A control that trains for this share of a method's time trains about as long."""
WORDS = {
    Control.NONE: "cross-entropy",
    Control.EQUAL_TIME: "cross-entropy of equal time",
    Control.PLACEBO: "the placebo",
    Control.SMOOTHED: "cross-entropy with smoothed labels",
}
"""What the kinds of controls are called in sentences; others are called by their study."""
ESSENTIAL = (Control.NONE, Control.EQUAL_TIME, Control.PLACEBO)
"""The controls without which a gain cannot be called distillation."""


@dataclass(frozen=True)
class ControlContrast:
    """A method minus a control, seed by seed. Scores are fractions 0..1.

    Attributes:
        subject: The study of the method.
        control: The study of the control.
        kind: Its kind.
        name: What it is called in sentences.
        difference: Mean of the differences; NaN where they share no seed.
        low: Lower end of its interval; NaN where nothing was tested.
        high: Upper end.
        word: One of ``analysis.stats.judge.WORDS``; None where nothing was tested.
        seeds: How many seeds they share.
    """

    subject: str
    control: str
    kind: Control
    name: str
    difference: float = NAN
    low: float = NAN
    high: float = NAN
    word: str | None = None
    seeds: int = 0

    def untested(self) -> "ControlContrast":
        """The same without interval and word, as in a sweep that has not finished."""
        return replace(self, low=NAN, high=NAN, word=None)


def comparison_contrasts(tables: Tables, comparison: pd.DataFrame) -> list[ControlContrast]:
    """The chosen config of a comparison minus every control, over fresh seeds.

    Where the baseline is chosen, the best method takes its place. The comparisons of all methods with all controls are
    one family, because the method that is named was chosen among them.

    Args:
        tables: The tables of a sweep.
        comparison: From ``analysis.selection.compare.compare``.
    """
    controls = controls_of(tables)
    methods = comparison[~comparison["study"].isin(controls) & ~comparison["is_baseline"] & (comparison["n"] > 0)]
    first = methods.sort_values("chosen", ascending=False, kind="stable")["study"]
    if first.empty or tables["sweeps"]["purpose"].iloc[0] != "search":
        return []
    subject, finished = str(first.iloc[0]), selection_ended(tables)
    names, rows = control_names(tables, controls, subject), {str(row["study"]): row for _, row in comparison.iterrows()}
    made, mixes = [], mixed(tables)
    for control, kind in controls.items():
        contrast = ControlContrast(subject, control, kind, names[control])
        whole = _whole(rows[control]) and _whole(rows[subject]) and not different_code(mixes, subject, control)
        if finished and whole:
            compared = [rows[study] for study in (control, *methods["study"]) if rows[study]["confirmed"]]
            scores = [
                (row["study"], *pair) for row in compared for pair in zip(row["seeds"], row["scores"], strict=True)
            ]
            frame = pd.DataFrame(scores, columns=["config", "seed", "score"])
            family, looks = len(methods) * len(controls), looks_of(tables["sweeps"])
            judge = partial(effects, smallest=smallest_effect(tables["sweeps"]), planned=family, looks=looks)
            contrast = _judged(contrast, frame, judge, rows[subject], rows[control])
        made.append(_counted(contrast, rows[subject], rows[control]))
    return sorted(made, key=lambda contrast: list(Control).index(contrast.kind))


def _judged(
    contrast: ControlContrast,
    scores: pd.DataFrame,
    judge: Callable[..., Effects],
    subject: pd.Series,
    control: pd.Series,
) -> ControlContrast:
    """A contrast with a word that also holds under the burden of failures, see ``analysis.selection.withheld``."""
    burdens = [0.0, float(subject["unseen_loss"] + control["loss"]), -float(control["unseen_loss"])]
    found = []
    for burden in dict.fromkeys(burdens):
        raised = scores["score"] + burden * (scores["config"] == contrast.control)
        effect = judge(scores.assign(score=raised), contrast.control).frame
        found.append(effect[effect["config"] == contrast.subject].iloc[0])
    return replace(
        contrast,
        difference=float(found[0]["difference"]),
        low=float(min(each["low"] for each in found)),
        high=float(max(each["high"] for each in found)),
        word=word_that_holds([str(each["word"]) for each in found], [float(each["difference"]) for each in found]),
    )


def _whole(row: pd.Series) -> bool:
    """Whether a study has a score on every planned fresh seed, and its failures leave it its word."""
    return bool(row["confirmed"]) and row["n"] >= row["planned_seeds"] and not text(row.get("withheld"))


def _counted(contrast: ControlContrast, subject: pd.Series, control: pd.Series) -> ControlContrast:
    """A contrast with its number of shared seeds, and their mean difference where nothing was tested."""
    of_control = dict(zip(control["seeds"], control["scores"], strict=True))
    shared = [
        score - of_control[seed]
        for seed, score in zip(subject["seeds"], subject["scores"], strict=True)
        if seed in of_control
    ]
    if contrast.word is not None or not shared:
        return replace(contrast, seeds=len(shared))
    return replace(contrast, seeds=len(shared), difference=float(np.mean(shared)))


def control_names(tables: Tables, controls: dict[str, Control], subject: str) -> dict[str, str]:
    """What the controls are called beside a method: two of one kind with their studies.

    Cross-entropy with more epochs is of equal time where its trainings took about as long as the method's.
    """
    seconds = _seconds(tables["trials"])
    names = {}
    for study, kind in controls.items():
        name = WORDS.get(kind, f"the control {study}")
        if kind is Control.EQUAL_TIME and seconds.get(study, NAN) < NEARLY_EQUAL * seconds.get(subject, NAN):
            name = "cross-entropy with more epochs"
        names[study] = name
    given = list(names.values())
    return {study: f"{name} ({study})" if given.count(name) > 1 else name for study, name in names.items()}


def lacking(contrasts: Iterable[ControlContrast]) -> list[str]:
    """The essential controls that are not among some, by name."""
    kinds = {contrast.kind for contrast in contrasts}
    return [WORDS[kind] for kind in ESSENTIAL if kind not in kinds]


def _seconds(trials: pd.DataFrame) -> dict[str, float]:
    """Median seconds of a complete training, by study."""
    complete = trials[trials["state"] == State.COMPLETE]
    return {str(study): float(median) for study, median in complete.groupby("study")["seconds"].median().items()}
