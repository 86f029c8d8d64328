"""How often early stopping has lost the best config, from the stopped trials that were trained to their end later."""

import pandas as pd

from analysis.stats.share_interval import share_interval
from analysis.tables.files import Tables
from analysis.tables.states import Phase, State


def losses_by_stopping(tables: Tables) -> pd.DataFrame:
    """How many audited trials of every study end higher than the best complete trial of their search.

    Audited trials are a random share of the stopped ones, so their share of losses estimates that of all.

    Returns:
        Columns ``study, stopped, audited, lost, low, high``: trials that were stopped; audits that have ended; those of
        them that were better than the best found; the ends of the interval of Clopper and Pearson (95 %) for the
        share of stopped trials that were. One row per study with an audit that has ended.
    """
    audits, trials = tables["audits"], tables["trials"]
    ended = audits[audits["lost"].notna()]
    is_stopped = (trials["phase"] == Phase.SEARCH) & (trials["state"] == State.PRUNED)
    stopped = trials[is_stopped].groupby("study")["trial_id"].size()
    rows = []
    for study, group in ended.groupby("study", sort=False):
        n, lost = len(group), int(group["lost"].astype(bool).sum())
        rows.append([study, int(stopped.get(study, 0)), n, lost, *share_interval(lost, n)])
    return pd.DataFrame(rows, columns=["study", "stopped", "audited", "lost", "low", "high"])
