"""What each part of a config is worth: every cell of an ablation beside its reference."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, islice
from typing import Any

import numpy as np
import pandas as pd

from analysis.conditions.hardware import Mix, different_code, mixed
from analysis.selection.failures import StudyFailures, study_failures
from analysis.selection.final_seeds import selection_ended
from analysis.selection.finalists import finalists
from analysis.selection.study_row import StudyRow, study_rows
from analysis.selection.withheld import burden, incomplete, unseen_loss, why_weakened
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
_DOUBTS = ["withheld", "weakened", "unstable", "failed"]
_COLUMNS = [*CELL, "control", "against", *_MEASURED, *_JUDGED, *_DOUBTS, "estimator", "runs", "seconds"]
_LAYERS = (".student_layer", ".teacher_layer")


def ablate(tables: Tables, ranked: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row per cell of every ablation design; the reference of a design first, then by difference.

    A difference is the cell minus the reference: negative where the change hurts. It is estimated family by family by
    ``seed_contrasts.effects``; the controls of a design are a family of their own, and are compared with the config
    that it takes apart (``analysis.tables.controls.subject_of``), which is the reference of most designs. The cells of
    a factorial are not judged one by one: the comparisons declared for it are its main effects and interactions
    (``factorial.factorial_effects``).

    Args:
        tables: The tables of a sweep.
        ranked: From ``finalists``, which is computed where it is not given.

    Returns:
        Columns ``design, cell, role, factor, level, family, retuned, published, source``; ``control`` (its kind) and
        ``against`` (the study that it is compared with), both may be missing; ``seeds, scores, mean``
        of the cell, ``paired_seeds, differences`` to the reference seed by seed, ``difference``, ``n`` (number of
        pairs, for the reference its number of seeds); ``low, high, p_holm, word, mde`` from
        ``seed_contrasts.Effects.frame``; ``withheld``, a sentence that says why nothing is judged (see
        ``analysis.selection.withheld``), empty where it is; ``weakened``, one that says why failures took a stronger
        word; what is ``unstable`` about the seeds and the ``estimator``, both in words; how many seeds ``failed``;
        ``runs`` and ``seconds`` spent on the cell in all. Missing values and empty lists where a cell
        has no complete trial. Empty if the sweep is no ablation.
    """
    cells = tables["cells"]
    if cells.empty:
        return pd.DataFrame(columns=_COLUMNS)
    ranked = finalists(tables) if ranked is None else ranked
    scores, spent = cell_scores(ranked), _spent(tables["trials"])
    threshold, looks = smallest_effect(tables["sweeps"]), looks_of(tables["sweeps"])
    frames = []
    controls = controls_of(tables)
    judge = partial(effects, smallest=threshold, looks=looks)
    burdens = _Burdens.of(tables, ranked, controls)
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
        judged = _judged(scores, rows[of_controls | (not factorial)], judge, burdens)
        frame = rows.merge(judged, on="cell", how="left")
        frame["difference"] = frame.pop("estimate").fillna(frame["difference"])
        frame = frame.assign(_first=frame["role"] != "reference")
        frames.append(frame.sort_values(["_first", "difference"], kind="stable").drop(columns="_first"))
    joined = pd.concat(frames, ignore_index=True).merge(spent, left_on="cell", right_index=True, how="left")
    tops = _first_of_each(ranked)
    joined["unstable"], failed = joined["cell"].map(tops["unstable"]), tops["failed_seeds"].map(len)
    joined["failed"] = joined["cell"].map(failed).fillna(0).astype(int)
    reasons, mixes = unjudged(tables, ranked), mixed(tables)
    joined["withheld"] = [
        "" if against is None else "; ".join(why_unjudged(reasons, mixes, cell, against)) or doubt
        for cell, against, doubt in zip(joined["cell"], joined["against"], joined["doubt"].fillna(""), strict=True)
    ]
    joined[_JUDGED] = joined[_JUDGED].mask(joined["withheld"] != "")
    joined["weakened"] = joined["weakened"].fillna("").mask(joined["withheld"] != "", "")
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


def estimators(ablation: pd.DataFrame) -> str:
    """How the differences of every family of comparisons were estimated, in sentences.

    Args:
        ablation: From ``ablate``.
    """
    said = ablation[ablation["estimator"].fillna("") != ""].drop_duplicates(["family", "estimator"])
    single = said["estimator"].nunique() < 2
    texts = [
        how if single else f"{family}: {how}" for family, how in zip(said["family"], said["estimator"], strict=True)
    ]
    return " ".join(f"{each[0].upper()}{each[1:]}." for each in dict.fromkeys(texts))


def cell_scores(ranked: pd.DataFrame) -> dict[str, dict[int, float]]:
    """Score by seed for every study, of its best finalist.

    Args:
        ranked: From ``analysis.selection.finalists.finalists``.
    """
    return {
        str(study): dict(zip(map(int, top["seeds"]), map(float, top["scores"]), strict=True))
        for study, top in _first_of_each(ranked).to_dict("index").items()
    }


def unjudged(tables: Tables, ranked: pd.DataFrame) -> dict[str, str]:
    """Why the fresh seeds of some studies carry no word, by study; empty before the sweep has finished.

    Args:
        tables: The tables of a sweep.
        ranked: From ``analysis.selection.finalists.finalists``.
    """
    if not selection_ended(tables):
        return {}
    return {row.study: reason for row in study_rows(tables, ranked) if (reason := incomplete(row))}


def why_unjudged(reasons: Mapping[str, str], mixes: Sequence[Mix], cell: str, against: str) -> list[str]:
    """Why a cell is not judged beside another: planned seeds are missing, all have failed, or the code was different.

    Args:
        reasons: From ``unjudged``.
        mixes: From ``analysis.conditions.hardware.mixed``.
        cell: The cell.
        against: What it is compared with.
    """
    return [reasons[study] for study in (cell, against) if study in reasons] + different_code(mixes, cell, against)


def why_unjudged_together(tables: Tables, ranked: pd.DataFrame) -> Callable[[Collection[str]], str]:
    """Why cells that one model describes carry no word together, as clauses; empty if they do.

    Args:
        tables: The tables of a sweep.
        ranked: From ``analysis.selection.finalists.finalists``.

    Returns:
        A function of the names of the cells that have a score.
    """
    reasons, mixes = unjudged(tables, ranked), mixed(tables)

    def why(cells: Collection[str]) -> str:
        code = (clause for pair in combinations(cells, 2) for clause in different_code(mixes, *pair))
        return "; ".join([*(reasons[cell] for cell in cells if cell in reasons), *islice(code, 1)])

    return why


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


@dataclass(frozen=True)
class _Burdens:
    """What failures may flatter: the cell beside its reference, the config beside a control; see ``withheld``."""

    rows: Mapping[str, StudyRow]
    failures: Mapping[str, StudyFailures]
    controls: Collection[str]

    @classmethod
    def of(cls, tables: Tables, ranked: pd.DataFrame, controls: Collection[str]) -> "_Burdens":
        rows = {row.study: row for row in study_rows(tables, ranked)}
        return cls(rows, study_failures(tables, ranked), controls)

    def taken(self, against: str, cells: Sequence[str]) -> list[dict[str, float]]:
        """What is taken from the scores of studies (fraction): each a case in which words also have to hold."""
        gains, losses = {}, {}
        for cell in cells:
            row, other = self._sides(cell, against)
            gain, loss = burden(row, other, self.failures), unseen_loss(other, self.failures)
            gains[cell] = -gain if cell in self.controls else gain
            losses[other.study] = loss
        return [case for case in (gains, losses) if any(case.values())]

    def why(self, cell: str, against: str, word: str, difference: float) -> str:
        """Why the word about a cell does not hold under them."""
        row, other = self._sides(cell, against)
        return why_weakened(word, (difference > 0) is (row.study == cell), row, other, self.failures)

    def _sides(self, cell: str, against: str) -> tuple[StudyRow, StudyRow]:
        """What may be flattered, and what it is compared with."""
        names = (against, cell) if cell in self.controls else (cell, against)
        return self.rows[names[0]], self.rows[names[1]]


def _judged(
    scores: dict[str, dict[int, float]], rows: pd.DataFrame, judge: Callable[..., Effects], burdens: _Burdens
) -> pd.DataFrame:
    """Every cell with a score to be compared: ``cell, estimate, estimator, doubt, weakened`` and ``_JUDGED``.

    Args:
        scores: By study and seed.
        rows: The cells.
        judge: ``seed_contrasts.effects`` with threshold and looks.
        burdens: Under which words also have to hold.
    """
    frames = [pd.DataFrame(columns=["cell", "estimate", "estimator", "doubt", "weakened", *_JUDGED])]
    for _, family in rows[rows["role"] != "reference"].groupby("family", sort=False):
        for against, cells in family.groupby("against", sort=False):
            names = [str(against), *cells["cell"]]
            long = [(name, seed, score) for name in names for seed, score in scores.get(name, {}).items()]
            if not scores.get(names[0]) or len({row[0] for row in long}) < 2:
                continue
            frame = pd.DataFrame(long, columns=["config", "seed", "score"])
            made = judge(frame, names[0], planned=len(family))
            cases = [made.frame]
            for taken in burdens.taken(names[0], [name for name in made.frame["config"] if name in burdens.rows]):
                rest = frame["score"] - frame["config"].map(taken).fillna(0.0)
                cases.append(judge(frame.assign(score=rest), names[0], planned=len(family)).frame)
            judged = _that_hold(cases)
            weak = zip(judged["config"], made.frame["word"], judged["word"], judged["difference"], strict=True)
            judged["weakened"] = [
                "" if word == said else burdens.why(str(cell), names[0], str(said), float(difference))
                for cell, said, word, difference in weak
            ]
            judged = judged.rename(columns={"config": "cell", "difference": "estimate"})
            doubt = judged["no_evidence"].map(lambda why: f"the scores are no evidence: {why}" if why else "")
            frames.append(
                judged[["cell", "estimate", "weakened", *_JUDGED]].assign(estimator=made.estimator, doubt=doubt)
            )
    return pd.concat(frames[1:] or frames, ignore_index=True)


def _that_hold(cases: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The differences of the first case with the words that hold in all, and intervals that cover all of them."""
    words = zip(*(case["word"].map(str) for case in cases), strict=True)
    differences = zip(*(case["difference"].map(float) for case in cases), strict=True)
    return cases[0].assign(
        low=np.min([case["low"] for case in cases], axis=0),
        high=np.max([case["high"] for case in cases], axis=0),
        p_holm=np.max([case["p_holm"] for case in cases], axis=0),
        word=[word_that_holds(said, apart) for said, apart in zip(words, differences, strict=True)],
    )


def _spent(trials: pd.DataFrame) -> pd.DataFrame:
    begun = trials[trials["state"] != State.PLANNED].groupby("study")
    return begun.agg(runs=("trial_id", "size"), seconds=("seconds", "sum"))
