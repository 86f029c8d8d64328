"""The comparison of methods: each study's best finalist against the searched baseline, with warnings."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import numpy as np
import pandas as pd

from analysis.conditions.hardware import mixed
from analysis.errors import AnalysisError
from analysis.formats import missing
from analysis.selection.claims import Claim, config_claims
from analysis.selection.doubts import SMALLEST_GAP, Doubts
from analysis.selection.failures import StudyFailures, study_failures
from analysis.selection.final_seeds import selection_ended
from analysis.selection.finalists import finalists, trials_of
from analysis.selection.refusals import refused
from analysis.selection.study_row import NAN, StudyRow, last_evaluations, study_rows
from analysis.selection.withheld import Claims, unseen_loss
from analysis.stats.looks import looks_of
from analysis.stats.seed_contrasts import smallest_effect
from analysis.tables.controls import controls_of
from analysis.tables.files import Tables
from analysis.tables.fixed import once
from analysis.tables.ranges import edges
from analysis.tables.states import Role


def compare(tables: Tables, ranked: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row per study, represented by its best finalist, best first; studies without a finalist come last.

    Scores are mIoU on role ``select`` (fractions 0..1). Claims are about these configs (see
    ``analysis.stats.seed_contrasts``): all best finalists over their fresh seeds, in one family. There is no claim
    while the sweep is unfinished, or if the comparison is refused (see ``analysis.selection.refusals``): then a row
    has only its seeds and scores.

    Args:
        tables: The tables of a sweep.
        ranked: From ``finalists``, which is computed where it is not given.

    Returns:
        Columns ``study, method, citation, is_baseline, searched_parameters, budget_trials, budget_epochs``, ``control``
        (its kind, see ``analysis.tables.controls``);
        ``finalists`` (how many the study has); of the best one ``config_id, trial_id, screen_score, optimism,
        seeds, scores, mean, minimum, maximum, n, planned_seeds, confirmed, chosen`` (of all);
        ``paired_seeds, differences, difference`` to the baseline's best finalist, seed by seed; the claim ``low, high,
        p_holm, word, mde`` (see ``claims.Claim``), ``unstable`` (what is wrong with the fresh seeds, in words), and
        ``refused``, sentences that say why there is no claim;
        ``withheld``, a sentence that says why there is no word or a weaker one (see ``analysis.selection.withheld``);
        ``success, success_low, success_high``, the share of the best config's fresh seeds that did not fail, with its
        95 % interval; ``search_broken, search_runs, fresh_broken, fresh_runs``, how many trainings of the study's
        search and of all its finalists failed or collapsed, and of how many (see ``analysis.selection.failures``);
        ``loss``, by how much the failed seeds of the best config lower its mean, and ``unseen_loss``, what failures
        cost a config of the study on average beyond that (fractions);
        ``gap_closed, gap_low, gap_high``, the share of the way from baseline to teacher (NaN below ``SMALLEST_GAP``);
        ``budget_ratio, time_ratio``, the cost of the search relative to the baseline's search, in the unit of the
        budget and in seconds;
        ``test_scores, test_mean`` on role ``test``, if evaluated; ``params, latency_ms``;
        ``search_trials, search_epochs, search_s, confirm_s`` and one count of trials per state;
        ``warnings``, a list of sentences.

    Raises:
        AnalysisError: The tables hold no study.
    """
    if tables["studies"].empty or tables["sweeps"].empty:
        raise AnalysisError(
            "the tables hold no study: no study was planned, or the tables are old; run `kdsweep tables D`, D being "
            "the folder of the sweep"
        )
    return _of_all(tables) if ranked is None else _comparison(tables, ranked)


@once
def _of_all(tables: Tables) -> pd.DataFrame:
    return _comparison(tables, finalists(tables))


def _comparison(tables: Tables, ranked: pd.DataFrame) -> pd.DataFrame:
    rows = study_rows(tables, ranked)
    baseline = next((row for row in rows if row.facts.is_baseline), None)
    teacher, refusals = teacher_miou(tables), refused(tables, rows)
    finished = selection_ended(tables)
    sweeps, failures = tables["sweeps"], study_failures(tables, ranked)
    controls = controls_of(tables)
    judge = partial(config_claims, rows, smallest_effect(sweeps), looks_of(sweeps), controls=controls)
    claims = Claims.of(rows, baseline, failures, judge) if finished else None
    proposed = [row.best.trial_id for row in rows if row.best.trial_id is not None]
    is_ablation = bool(tables["sweeps"]["purpose"].eq("ablation").all())
    doubts = Doubts(baseline, teacher, finished, mixed(tables), edges(tables, proposed), is_ablation)
    columns = []
    for row in rows:
        contrast, claim = _contrast(row, baseline, teacher), Claim()
        if refusals[row.study]:  # only seeds and scores stay
            contrast = replace(contrast, difference=NAN, gap_closed=NAN)
        elif claims is not None and row is not baseline:
            claim = claims.about(row, baseline.best.mean + _gap(baseline, teacher) if baseline else NAN)
            if not missing(claim.difference):
                contrast = replace(contrast, difference=claim.difference)
        claimed = {name: value for name, value in asdict(claim).items() if name != "difference"}
        warnings = doubts.of(row, bool(contrast.differences), claim.withheld, _copies(row, rows, baseline))
        further = {"refused": refusals[row.study], **asdict(contrast), **claimed, "warnings": warnings}
        further |= _shares(row, failures.get(row.study, StudyFailures()))
        further |= {"loss": row.best.loss, "unseen_loss": unseen_loss(row, failures)}
        columns.append({**row.columns(), **further})
    place = {study: position for position, study in enumerate(ranked["study"].unique())}
    order = sorted(range(len(rows)), key=lambda index: place.get(rows[index].study, len(place)))
    frame = pd.DataFrame([columns[index] for index in order])
    chosen = set(ranked.loc[ranked["chosen"], "study"])
    return frame.assign(chosen=frame["study"].isin(chosen), control=frame["study"].map(controls))


def teacher_miou(tables: Tables) -> float:
    """The teacher's mIoU on role ``select``; NaN if it was not measured on that role."""
    teachers = tables["teachers"]
    scores = teachers.loc[teachers["role"] == Role.SELECT, "miou"].dropna()
    return float(scores.iloc[0]) if len(scores) else NAN


def per_class(tables: Tables, comparison: pd.DataFrame) -> pd.DataFrame:
    """IoU per class of the baseline, the chosen config and the teacher, on role ``select``.

    Baseline and best are means over their seeds; a class that is absent from the images is NaN.

    Returns:
        Indexed by class name, columns ``baseline, best, teacher``, the classes in the order of the data.
    """
    classes = list(tables["sweeps"]["classes"].iloc[0])
    columns = dict.fromkeys(("baseline", "best", "teacher"), np.nan)
    frame = pd.DataFrame(columns, index=pd.Index(classes, name="class"))
    for column, flag in (("baseline", "is_baseline"), ("best", "chosen")):
        rows = comparison[comparison[flag] & (comparison["n"] > 0)]
        if len(rows):
            frame[column] = _mean_iou(tables, rows.iloc[0], len(classes))
    teachers = tables["teachers"]
    measured = teachers[(teachers["role"] == Role.SELECT) & teachers["iou"].notna()]
    if len(measured) and len(measured["iou"].iloc[0]) == len(classes):
        frame["teacher"] = np.asarray(measured["iou"].iloc[0], dtype=float)
    return frame


def _shares(row: StudyRow, failures: StudyFailures) -> dict[str, object]:
    """How often trainings failed: of the best config, and of the study."""
    success, low, high = row.best.failures.success()
    return {
        **{"success": success, "success_low": low, "success_high": high},
        **{"search_broken": failures.search.failed, "search_runs": failures.search.total},
        **{"fresh_broken": failures.fresh.failed, "fresh_runs": failures.fresh.total},
    }


def _copies(row: StudyRow, rows: Sequence[StudyRow], baseline: StudyRow | None) -> list[str]:
    """The other studies with the very scores of a study on several seeds; those of the baseline have their own word."""
    mine = dict(zip(row.best.seeds, row.best.scores, strict=True))
    return [
        other.study
        for other in rows
        if other is not row and baseline not in (row, other) and len(set(mine.values())) > 1
        if mine == dict(zip(other.best.seeds, other.best.scores, strict=True))
    ]


@dataclass(frozen=True)
class _Contrast:
    """A study's best finalist against the baseline's, seed by seed, and what both searches spent."""

    paired_seeds: list[int] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    difference: float = NAN
    gap_closed: float = NAN
    budget_ratio: float = NAN
    time_ratio: float = NAN


def _contrast(row: StudyRow, baseline: StudyRow | None, teacher: float) -> _Contrast:
    if baseline is None or row is baseline:
        return _Contrast()
    unit = row.granted_unit
    unpaired = _Contrast(
        budget_ratio=_ratio(row.spent.in_unit(unit), baseline.spent.in_unit(unit)),
        time_ratio=_ratio(row.spent.search_s, baseline.spent.search_s),
    )
    baseline_scores = dict(zip(baseline.best.seeds, baseline.best.scores, strict=True))
    scores = zip(row.best.seeds, row.best.scores, strict=True)
    pairs = [(seed, score - baseline_scores[seed]) for seed, score in scores if seed in baseline_scores]
    if not pairs:
        return unpaired
    differences = [difference for _, difference in pairs]
    return replace(
        unpaired,
        paired_seeds=[seed for seed, _ in pairs],
        differences=differences,
        difference=float(np.mean(differences)),
        gap_closed=float(np.mean(differences)) / _gap(baseline, teacher),
    )


def _gap(baseline: StudyRow, teacher: float) -> float:
    gap = teacher - baseline.best.mean
    return gap if gap >= SMALLEST_GAP else NAN


def _ratio(amount: float, of: float) -> float:
    return amount / of if of else NAN


def _mean_iou(tables: Tables, row: pd.Series, classes: int) -> np.ndarray:
    """Mean IoU per class over the seeds of one config, NaN where no seed has the class."""
    last = last_evaluations(tables, trials_of(tables, row)["trial_id"], Role.SELECT)
    stacked = [np.asarray(iou, dtype=float) for iou in last["iou"] if len(iou) == classes]
    if not stacked:
        return np.full(classes, np.nan)
    values = np.stack(stacked)
    present = np.isfinite(values)
    return np.where(present.any(0), np.where(present, values, 0).sum(0) / np.maximum(present.sum(0), 1), np.nan)
