"""What every search returned, scored on fresh seeds that had no part in the choice: so that noisy methods gain nothing.

The best of several finalists was lucky on the seeds that it was chosen by, the more so the noisier its method is.
So a search stands by the finalist that led before the last round, scored on the seeds of the last round alone.
"""

import pandas as pd

from analysis.selection.failures import counted_scores
from analysis.tables.files import Tables
from analysis.tables.states import Phase

COLUMNS = ["study", "search", "config", "seed", "score"]


def held_out_scores(tables: Tables) -> pd.DataFrame:
    """One row per study, search and seed that did not choose: the score of what the search returned.

    Of the finalists in the last round of a search the one with the best mean over the seeds of earlier rounds stands
    for it; where there is one round, the one with the best score in the search. Failed trainings count (see
    ``analysis.selection.failures``). The scores are of role ``select``; the final seeds of a frozen selection are not
    used, because only the chosen config and the baseline have them.

    Returns:
        Columns ``study, search, config, seed, score`` (fraction). Searches that returned the same config on the same
        seeds share ``config``: they share its trainings.
    """
    trials = tables["trials"]
    trials = trials.assign(counted=counted_scores(tables))
    left_out = trials.loc[trials["phase"] == Phase.LEFT_OUT, "trial_id"]
    confirm = trials[(trials["phase"] == Phase.CONFIRM) & ~trials["candidate_of"].isin(left_out)]
    screens = trials[trials["phase"] == Phase.SEARCH].set_index("trial_id")["score"]
    rows = []
    for (study, search), group in confirm.groupby(["study", "search"], sort=False):
        runs = group.sort_values("counted", na_position="first", kind="stable").drop_duplicates(
            ["config_id", "seed"], keep="last"
        )
        config, scores = _returned(runs, screens)
        shared = f"{config} {sorted(scores.index)}"
        rows += [(study, search, shared, seed, score) for seed, score in zip(scores.index, scores, strict=True)]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"score": "float64"})


def _returned(runs: pd.DataFrame, screens: pd.Series) -> tuple[str, pd.Series]:
    """The config that a search returned before its last round, and its scores on the seeds of the last round."""
    seeds = {str(config): set(group["seed"]) for config, group in runs.groupby("config_id", sort=False)}
    most = max(map(len, seeds.values()))
    last = [config for config, its_seeds in seeds.items() if len(its_seeds) == most]
    earlier = set().union(*(its_seeds for config, its_seeds in seeds.items() if config not in last))
    mine = runs[runs["config_id"].isin(last)]
    if earlier:
        chose = mine[mine["seed"].isin(earlier)].groupby("config_id", sort=False)["counted"].mean()
    else:
        screened = mine.drop_duplicates("config_id").set_index("config_id")["candidate_of"].map(screens)
        chose = screened.astype("float64")
    config = last[0] if chose.isna().all() else str(chose.idxmax())
    of_last = mine[(mine["config_id"] == config) & ~mine["seed"].isin(earlier)]
    return config, of_last.set_index("seed")["counted"].dropna().sort_index()
