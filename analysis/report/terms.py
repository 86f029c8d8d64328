"""What every loss term came to in a training: its values, and how hard it pulled at the student."""

import pandas as pd

from analysis.formats import MISSING, share
from analysis.report.findings import Findings
from analysis.report.html import Cell, figure, key, number, table
from analysis.selection.finalists import trials_of
from analysis.tables.files import Tables

COLUMNS = ["study", "trial_id", "term", "first", "last", "weighted", "share_first", "share_last"]


def terms(tables: Tables, trials: list[str]) -> pd.DataFrame:
    """The terms of some trials, from the metrics ``term/<name>/<part>``.

    Args:
        tables: The tables of a sweep; of ``metrics`` at least the rows of these trials.
        trials: Their ids.

    Returns:
        One row per trial and term: ``study, trial_id, term``, its raw value in the ``first`` and the ``last`` epoch in
        which it was computed, its ``weighted`` value in the last epoch, and its share of the lengths of all terms'
        gradients where that was looked at first and last; missing where there is none.
    """
    metrics = tables["metrics"]
    mine = metrics[metrics["trial_id"].isin(trials) & metrics["name"].str.startswith("term/")].sort_values("epoch")
    parts = mine["name"].str.extract(r"^term/(?P<term>.+)/(?P<part>[^/]+)$")
    values = mine[["trial_id", "epoch", "value"]].join(parts)
    ends = values.groupby(["trial_id", "term", "part"], sort=False)["value"].agg(["first", "last"]).unstack("part")
    found = pd.DataFrame(
        {
            name: ends.get((end, part), float("nan"))
            for name, end, part in (
                ("first", "first", "raw"),
                ("last", "last", "raw"),
                ("weighted", "last", "weighted"),
                ("share_first", "first", "gradient_share"),
                ("share_last", "last", "gradient_share"),
            )
        },
        index=ends.index,
    ).reset_index()
    studies = tables["trials"].set_index("trial_id")["study"]
    return found.assign(study=found["trial_id"].map(studies))[COLUMNS]


def standing(found: Findings) -> list[str]:
    """One trial for every study: of its best config, the first one."""
    rows = (trials_of(found.tables, row) for _, row in found.comparison.iterrows())
    return [str(mine["trial_id"].iloc[0]) for mine in rows if len(mine)]


def section(found: Findings) -> str:
    """The terms of every study's best config as HTML; ``metrics`` must hold the rows of the ``standing`` trials."""
    frame = terms(found.tables, standing(found))
    if frame.empty:
        return ""
    rows = [
        [
            Cell(html=key(row["study"], found.palette[row["study"]])),
            Cell(row["term"]),
            *(number(_short(row[name]), row[name]) for name in ("first", "last", "weighted")),
            *(number(share(row[name]), row[name]) for name in ("share_first", "share_last")),
        ]
        for study in found.comparison["study"]
        for _, row in frame[frame["study"] == study].iterrows()
    ]
    columns = ["Study", "Term", "Raw, first epoch", "Raw, last", "Weighted, last", "Share of gradient, first", "last"]
    return figure(
        table(columns, rows),
        "What the losses came to.",
        "One training per study, of its best config. Share of gradient: the length of the weighted term's "
        "gradient at all weights of the student, beside the sum of these lengths over the terms, for one batch in the "
        "middle of the epoch; a term with a share near 0 was switched on but taught nothing.",
    )


def _short(value: float) -> str:
    return MISSING if value != value else f"{value:.3g}"
