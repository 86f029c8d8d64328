"""What each part of a config is worth: every cell of an ablation beside its reference."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.conditions.hardware import Mix, different_code, mixed
from analysis.selection.failures import loss_by_failures
from analysis.selection.final_seeds import selection_ended
from analysis.selection.finalists import finalists
from analysis.selection.study_row import study_rows
from analysis.selection.withheld import incomplete
from analysis.stats.judge import word_that_holds
from analysis.stats.looks import looks_of
from analysis.stats.seed_contrasts import Effects, effects, smallest_effect
from analysis.tables.controls import controls_of, subject_of_group
from analysis.tables.files import Tables
from analysis.tables.json_columns import read_levels
from analysis.tables.states import Control, State

Levels = dict[str, str]

CELL = ["design", "cell", "role", "factor", "level", "family", "retuned", "published", "source"]
CONTROLS = "controls"
"""The family of the controls of a design, whatever its cells are compared for; cross-entropy alone in a factorial is
one of them."""
_WAYS = {"leave-one-out": "beside the others", "add-one-in": "alone"}
_JUDGED = ["low", "high", "p_holm", "word", "mde"]
_MEASURED = ["seeds", "scores", "mean", "paired_seeds", "differences", "difference", "n"]
_COLUMNS = [*CELL, "control", "against", *_MEASURED, *_JUDGED, "withheld", "unstable", "estimator", "runs", "seconds"]
_LAYERS = (".student_layer", ".teacher_layer")


def ablate(tables: Tables) -> pd.DataFrame:
    """One row per cell of every ablation design; the reference of a design first, then by difference.

    A difference is the cell minus the reference: negative where the change hurts. It is estimated family by family by
    ``seed_contrasts.effects``; the controls of a design are a family of their own, and are compared with the config
    that it takes apart (``analysis.tables.controls.subject_of``), which is the reference of most designs. The cells of
    a factorial are not judged one by one: the comparisons declared for it are its main effects and interactions
    (``factorial.factorial_effects``).

    Returns:
        Columns ``design, cell, role, factor, level, family, retuned, published, source``; ``control`` (its kind) and
        ``against`` (the study that it is compared with), both may be missing; ``seeds, scores, mean``
        of the cell, ``paired_seeds, differences`` to the reference seed by seed, ``difference``, ``n`` (number of
        pairs, for the reference its number of seeds); ``low, high, p_holm, word, mde`` from
        ``seed_contrasts.Effects.frame``; ``withheld``, a sentence that says why nothing is judged (see
        ``analysis.selection.withheld``), empty where it is; what is ``unstable`` about the seeds and the ``estimator``,
        both in words; ``runs`` and ``seconds`` spent on the cell in all. Missing values and empty lists where a cell
        has no complete trial. Empty if the sweep is no ablation.
    """
    cells = tables["cells"]
    if cells.empty:
        return pd.DataFrame(columns=_COLUMNS)
    ranked = finalists(tables)
    scores, spent = _scores(ranked), _spent(tables["trials"])
    threshold, looks = smallest_effect(tables["sweeps"]), looks_of(tables["sweeps"])
    frames = []
    controls = controls_of(tables)
    judge = partial(effects, smallest=threshold, looks=looks)
    lost = {study: loss for study, loss in _losses(ranked).items() if study in controls}
    judged_controls: set[str] = set()
    for _, group in cells.groupby("design", sort=False):
        against = _against(group, controls)
        rows = pd.DataFrame([_measured(cell, scores, against[cell["cell"]]) for cell in group.to_dict("records")])
        rows = rows.assign(control=rows["cell"].map(controls).astype(object))
        factorial = is_factorial(group)
        of_controls = rows["role"].eq("control") | (
            rows["control"].notna() & factorial & ~rows["cell"].isin(judged_controls)
        )
        judged_controls |= set(rows.loc[of_controls, "cell"])
        rows = rows.assign(family=rows["family"].mask(of_controls, CONTROLS))
        judged = _judged(scores, rows[of_controls | (not factorial)], judge, lost)
        frame = rows.merge(judged, on="cell", how="left")
        frame["difference"] = frame.pop("estimate").fillna(frame["difference"])
        frame = frame.assign(_first=frame["role"] != "reference")
        frames.append(frame.sort_values(["_first", "difference"], kind="stable").drop(columns="_first"))
    joined = pd.concat(frames, ignore_index=True).merge(spent, left_on="cell", right_index=True, how="left")
    joined["unstable"] = joined["cell"].map(_first_of_each(ranked)["unstable"])
    reasons, mixes = unjudged(tables, ranked), mixed(tables)
    joined["withheld"] = [
        "" if against is None else "; ".join(_reasons(reasons, mixes, cell, against)) or doubt
        for cell, against, doubt in zip(joined["cell"], joined["against"], joined["doubt"].fillna(""), strict=True)
    ]
    joined[_JUDGED] = joined[_JUDGED].mask(joined["withheld"] != "")
    return joined.astype({"runs": "Int64"}).fillna({"runs": 0, "seconds": 0.0})[_COLUMNS]


def worth(ablation: pd.DataFrame) -> pd.DataFrame:
    """What each term brings where all others are there, and what it brings alone: positive where it helps.

    Args:
        ablation: From ``ablate``.

    Returns:
        Rows of leave-one-out (``way`` ``beside the others``, signs turned) and add-one-in (``alone``) with ``label``
        (the term) and ``way``; empty if the sweep has neither.
    """
    single = ablation[ablation["role"].eq("cell") & ablation["design"].isin(_WAYS)]
    turned = np.where(single["design"] == "leave-one-out", -1.0, 1.0)
    seedwise = [[sign * each for each in values] for sign, values in zip(turned, single["differences"], strict=True)]
    low, high = single["low"].astype(float), single["high"].astype(float)
    return single.assign(
        label=single["factor"],
        way=single["design"].map(_WAYS),
        difference=turned * single["difference"].astype(float),
        low=np.where(turned > 0, low, -high),
        high=np.where(turned > 0, high, -low),
        differences=pd.Series(seedwise, index=single.index, dtype=object),
    ).reset_index(drop=True)


def cell_scores(tables: Tables) -> dict[str, dict[int, float]]:
    """Score by seed for every study, of its best finalist."""
    return _scores(finalists(tables))


def unjudged(tables: Tables, ranked: pd.DataFrame) -> dict[str, str]:
    """Why the fresh seeds of some studies carry no word, by study; empty before the sweep has finished.

    Args:
        tables: The tables of a sweep.
        ranked: From ``analysis.selection.finalists.finalists``.
    """
    if not selection_ended(tables):
        return {}
    return {row.study: reason for row in study_rows(tables, ranked) if (reason := incomplete(row))}


def _reasons(reasons: Mapping[str, str], mixes: Sequence[Mix], cell: str, against: str) -> list[str]:
    """Why a cell is not judged beside another."""
    return [reasons[study] for study in (cell, against) if study in reasons] + different_code(mixes, cell, against)


def _scores(ranked: pd.DataFrame) -> dict[str, dict[int, float]]:
    return {
        str(study): dict(zip(map(int, top["seeds"]), map(float, top["scores"]), strict=True))
        for study, top in _first_of_each(ranked).to_dict("index").items()
    }


def _first_of_each(ranked: pd.DataFrame) -> pd.DataFrame:
    """The best finalist of every study, indexed by study."""
    return ranked.drop_duplicates("study").set_index("study")


def designed(group: pd.DataFrame) -> pd.DataFrame:
    """The cells of one design without its controls as rows, the factors that all of them have as columns."""
    cells = group[(group["role"] != "control") & group["levels_json"].notna()]
    table = pd.DataFrame(list(map(read_levels, cells["levels_json"])), index=list(cells["cell"]), dtype=object)
    return table.dropna(axis=1)


def is_grid(table: pd.DataFrame) -> bool:
    """Whether a design (from ``designed``) pairs layers of the student with layers of the teacher."""
    names = list(map(str, table.columns))
    return len(names) == 2 and all(sum(name.endswith(end) for name in names) == 1 for end in _LAYERS)


def is_factorial(group: pd.DataFrame) -> bool:
    """Whether the cells of a design, as planned, form a factorial or a regular fraction of one.

    That is: two levels per factor, each in half of the cells, and every two factors independent.
    """
    table = designed(group)
    if table.shape[1] < 2 or is_grid(table) or any(table[name].nunique() != 2 for name in table):
        return False
    signs = np.column_stack([np.where(table[name] == table[name].iloc[0], 1, -1) for name in table])
    return not signs.sum(0).any() and not np.triu(signs.T @ signs, 1).any()


def _against(group: pd.DataFrame, controls: Mapping[str, Control]) -> dict[str, str | None]:
    """With which study each cell of a design is compared; None for the reference, or where there is none."""
    references = group.loc[group["role"] == "reference", "cell"]
    reference, subject = references.iloc[0] if len(references) else None, subject_of_group(group)
    against: dict[str, str | None] = {}
    for cell in group["cell"]:
        other = subject if subject is not None and cell in controls else reference
        against[cell] = None if cell in (reference, other) else other
    return against


def _measured(
    cell: Mapping[Hashable, Any], scores: dict[str, dict[int, float]], against: str | None
) -> dict[str, object]:
    mine = scores.get(cell["cell"], {})
    is_reference = cell["role"] == "reference"
    other = {} if against is None else scores.get(against, {})
    paired = sorted(set(mine) & set(other))
    differences = [mine[seed] - other[seed] for seed in paired]
    return {
        **{name: cell.get(name) for name in CELL},
        "against": against,
        "seeds": sorted(mine),
        "scores": [mine[seed] for seed in sorted(mine)],
        "mean": float(np.mean(list(mine.values()))) if mine else np.nan,
        "paired_seeds": paired,
        "differences": differences,
        "difference": float(np.mean(differences)) if differences else np.nan,
        "n": len(mine) if is_reference else len(paired),
    }


def _losses(ranked: pd.DataFrame) -> dict[str, float]:
    """By how much the failed seeds of every study's best finalist lower its mean (fraction)."""
    losses = {}
    for study, top in _first_of_each(ranked).to_dict("index").items():
        by_seed = dict(zip(top["seeds"], top["scores"], strict=True))
        losses[str(study)] = loss_by_failures(by_seed, top["failed_seeds"], top["level"])
    return losses


def _judged(
    scores: dict[str, dict[int, float]], rows: pd.DataFrame, judge: Callable[..., Effects], lost: Mapping[str, float]
) -> pd.DataFrame:
    """``cell, estimate, estimator, doubt`` and the columns of ``_JUDGED``, for every cell with a score to be compared.

    Args:
        scores: By study and seed.
        rows: The cells.
        judge: ``seed_contrasts.effects`` with threshold and looks.
        lost: Of the controls, by how much failed seeds lower their means: what is said beside them also has to hold if
            they do not, see ``analysis.selection.withheld``.
    """
    frames = [pd.DataFrame(columns=["cell", "estimate", "estimator", "doubt", *_JUDGED])]
    for _, family in rows[rows["role"] != "reference"].groupby("family", sort=False):
        for against, cells in family.groupby("against", sort=False):
            names = [str(against), *cells["cell"]]
            long = [(name, seed, score) for name in names for seed, score in scores.get(name, {}).items()]
            if not scores.get(names[0]) or len({row[0] for row in long}) < 2:
                continue
            frame = pd.DataFrame(long, columns=["config", "seed", "score"])
            made = judge(frame, names[0], planned=len(family))
            judged = made.frame
            if any(lost.get(name) for name in names):
                without = frame["score"] + frame["config"].map(lost).fillna(0.0)
                judged = _that_hold(judged, judge(frame.assign(score=without), names[0], planned=len(family)).frame)
            judged = judged.rename(columns={"config": "cell", "difference": "estimate"})
            doubt = judged["no_evidence"].map(lambda why: f"the scores are no evidence: {why}" if why else "")
            frames.append(judged[["cell", "estimate", *_JUDGED]].assign(estimator=made.estimator, doubt=doubt))
    return pd.concat(frames[1:] or frames, ignore_index=True)


def _that_hold(judged: pd.DataFrame, without: pd.DataFrame) -> pd.DataFrame:
    """Differences with the words that also hold without failures, and intervals that cover both."""
    pairs = zip(judged["word"], without["word"], judged["difference"], without["difference"], strict=True)
    return judged.assign(
        low=np.minimum(judged["low"], without["low"]),
        high=np.maximum(judged["high"], without["high"]),
        p_holm=np.maximum(judged["p_holm"], without["p_holm"]),
        word=[word_that_holds([str(word), str(other)], [float(a), float(b)]) for word, other, a, b in pairs],
    )


def _spent(trials: pd.DataFrame) -> pd.DataFrame:
    begun = trials[trials["state"] != State.PLANNED].groupby("study")
    return begun.agg(runs=("trial_id", "size"), seconds=("seconds", "sum"))
