"""The searches of every study: what each of them spent, which config it found, and what that scores on fresh seeds.

A comparison of configs (``analysis.selection.compare``) has one row per study instead. The best of several finalists
was lucky on the seeds that chose it, so the claim about methods (``analysis.search.method_claim``) rests on
``analysis.selection.held_out_seeds``, and not on the means of these rows.
"""

import pandas as pd

from analysis.selection.finalists import finalists
from analysis.tables.files import Tables
from analysis.tables.states import Phase, State

_OF_FINALIST = (
    *("config_id", "trial_id", "screen_score", "confirmed", "seeds", "scores", "mean", "n", "planned_seeds"),
    *("rounds", "unstable"),
)
_OF_SEARCH = ("search_trials", "search_epochs", "search_s")
COLUMNS = ("study", "search", "is_baseline", *_OF_FINALIST, "same_as", *_OF_SEARCH)


def searches(tables: Tables) -> pd.DataFrame:
    """One row per study and search, each with the best finalist of that search, in the order of the table ``studies``.

    The finalists of a search are ranked among themselves (see ``analysis.selection.finalists``). Their scores come
    from the fresh seeds of the race alone, on role ``select``: the final seeds of a frozen selection, which only the
    chosen config and the baseline have, do not enter. So the rows stay comparable after a freeze.

    A training counts once in a row, but two searches of a study that found the same config share its trainings:
    ``same_as`` says so, and the scores of the later row are no new evidence about the noise of seeds. Two searches of a
    study share no search trial: each trains with a seed of its own.

    Returns:
        Columns ``study, search`` (from 1), ``is_baseline``; of the best finalist ``config_id, trial_id, screen_score,
        confirmed, seeds, scores, mean, n, planned_seeds, rounds, unstable``; ``same_as``, the first search of the
        study with the same best finalist, missing where this search is the first; ``search_trials, search_epochs,
        search_s``, what the search spent. A search without a finalist, or whose best one has no fresh seed while
        others have some, has no config, ``n`` 0 and empty lists. A study that searches nothing has one row, without
        ``trial_id``.
    """
    trials = tables["trials"]
    numbers = sorted(trials["search"].unique())
    best = {
        (str(row["study"]), int(number)): row
        for number in numbers
        for _, row in _ranked(tables if len(numbers) == 1 else _of_search(tables, number)).iterrows()
    }
    if any(row["confirmed"] for row in best.values()):
        best = {key: row for key, row in best.items() if row["confirmed"]}
    rows: list[dict[str, object]] = []
    first: dict[tuple[str, str], int] = {}
    for _, study in tables["studies"].iterrows():
        for number in range(1, int(study["repeats"]) + 1):
            name = str(study["study"])
            row: dict[str, object] = {"study": name, "search": number, "is_baseline": bool(study["is_baseline"])}
            if (finalist := best.get((name, number))) is not None:
                found_by = first.setdefault((name, finalist["config_id"]), number)
                row |= {column: finalist[column] for column in _OF_FINALIST}
                row["same_as"] = None if found_by == number else found_by
            else:
                row |= {"confirmed": False, "n": 0, "planned_seeds": 0, "rounds": 0, "seeds": [], "scores": []}
            rows.append({**row, **_spent(trials[(trials["study"] == name) & (trials["search"] == number)])})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _of_search(tables: Tables, number: int) -> Tables:
    trials = tables["trials"]
    return {**tables, "trials": trials[trials["search"] == number]}


def _ranked(tables: Tables) -> pd.DataFrame:
    """The best finalist of every study."""
    return finalists(tables).sort_values("rank").drop_duplicates("study")


def _spent(trials: pd.DataFrame) -> dict[str, object]:
    begun = trials[(trials["phase"] == Phase.SEARCH) & (trials["state"] != State.PLANNED)]
    totals = (len(begun), int(begun["epochs_run"].sum()), float(begun["seconds"].sum()))
    return dict(zip(_OF_SEARCH, totals, strict=True))
