"""What every loss term came to in a training: its values, and its share of the gradient."""

from collections.abc import Mapping

import pandas as pd

from analysis.tables.metric_names import TermPart, is_term, parse_terms

COLUMNS = ["study", "trial_id", "term", "first", "last", "weighted", "share_first", "share_last"]
_SOURCES = {
    "first": ("first", TermPart.RAW),
    "last": ("last", TermPart.RAW),
    "weighted": ("last", TermPart.WEIGHTED),
    "share_first": ("first", TermPart.GRADIENT_SHARE),
    "share_last": ("last", TermPart.GRADIENT_SHARE),
}
"""For every column whether it is the first or the last value, and of which part of a term."""


def loss_terms(metrics: pd.DataFrame, studies: Mapping[str, str]) -> pd.DataFrame:
    """The loss terms of some trials, from the metrics ``term/<name>/<part>``.

    Args:
        metrics: Rows of the table ``metrics``, at least all of these trials.
        studies: The trials, each with its study.

    Returns:
        One row per trial and term: ``study, trial_id, term``, its raw value in the ``first`` and the ``last`` epoch in
        which it was computed, its ``weighted`` value in the last epoch, and its share of the sum of all terms' gradient
        lengths where that was first and last measured; missing where it was not.
    """
    rows = metrics[metrics["trial_id"].isin(list(studies)) & is_term(metrics["name"])]
    rows = rows.sort_values("epoch")
    values = rows[["trial_id", "epoch", "value"]].join(parse_terms(rows["name"]))
    ends = values.groupby(["trial_id", "term", "part"], sort=False)["value"].agg(["first", "last"]).unstack("part")
    columns = {column: ends.get(source, float("nan")) for column, source in _SOURCES.items()}
    frame = pd.DataFrame(columns, index=ends.index).reset_index()
    return frame.assign(study=frame["trial_id"].map(dict(studies)))[COLUMNS]
