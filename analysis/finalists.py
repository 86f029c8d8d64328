"""The finalists of a sweep: configs trained again on fresh seeds, so that a lucky search does not count."""

from typing import Any

import pandas as pd

Tables = dict[str, pd.DataFrame]

COLUMNS = [
    "sweep_id",
    "study",
    "trial_id",
    "config_id",
    "screen_score",
    "seeds",
    "scores",
    "mean",
    "sd",
    "n",
    "planned_seeds",
    "optimism",
    "confirmed",
    "config_json",
]


def finalists(tables: Tables) -> pd.DataFrame:
    """Every config that stands for its study, best first.

    A finalist is a config that was trained on fresh seeds (phase ``confirm``). The order is by mean over
    those seeds, but configs that lack a planned seed come after all that have every one. ``optimism`` is
    the score that made a config a finalist (``screen_score``, from its search trial ``trial_id``) minus its
    fresh mean.

    Without any confirmed config the best trial of each study stands in (``confirmed`` is False): one seed,
    the very score that found it, so its optimism is unknown.

    Returns:
        One row per finalist with ``COLUMNS``; ``trial_id``, ``screen_score`` and ``optimism`` are missing
        for a config that was not searched, ``sd`` (n - 1) for one seed. Empty if no trial is complete.
    """
    trials = tables["trials"]
    complete = trials[(trials["state"] == "complete") & trials["score"].notna()]
    rows = _confirmed(tables, complete) or _screened(complete)
    if not rows:
        return pd.DataFrame(columns=COLUMNS).astype({"confirmed": "bool", "n": "int64"})
    frame = pd.DataFrame(rows, columns=COLUMNS)
    order = frame.assign(whole=frame["n"] >= frame["planned_seeds"]).sort_values(
        ["whole", "mean", "study", "config_id"], ascending=[False, False, True, True]
    )
    return frame.loc[order.index].reset_index(drop=True)


def trials_of(tables: Tables, finalist: pd.Series) -> pd.DataFrame:
    """The complete trials behind the scores of a finalist (anything with study, config_id, confirmed)."""
    trials = tables["trials"]
    mine = trials[
        (trials["study"] == finalist["study"])
        & (trials["config_id"] == finalist["config_id"])
        & (trials["phase"] == ("confirm" if finalist["confirmed"] else "search"))
        & (trials["state"] == "complete")
    ]
    return mine.sort_values("seed")


def _confirmed(tables: Tables, complete: pd.DataFrame) -> list[dict[str, Any]]:
    searched = complete[complete["phase"] == "search"].set_index("trial_id")
    confirm = tables["trials"][tables["trials"]["phase"] == "confirm"]
    sweeps = tables["sweeps"]
    planned = int(sweeps["confirm_seeds"].max()) if len(sweeps) else 0
    rows = []
    for (study, config_id), group in confirm.groupby(["study", "config_id"]):
        done = group[group.index.isin(complete.index)].drop_duplicates("seed", keep="last").sort_values("seed")
        if done.empty:
            continue
        origin = group["candidate_of"].dropna()
        trial_id = origin.iloc[0] if len(origin) else None
        screen = searched.loc[trial_id] if trial_id in searched.index else None
        mean = float(done["score"].mean())
        rows.append(
            {
                "sweep_id": done["sweep_id"].iloc[0],
                "study": study,
                "trial_id": trial_id,
                "config_id": config_id,
                "screen_score": None if screen is None else float(screen["score"]),
                "seeds": done["seed"].tolist(),
                "scores": done["score"].tolist(),
                "mean": mean,
                "sd": float(done["score"].std(ddof=1)) if len(done) > 1 else None,
                "n": len(done),
                "optimism": None if screen is None else float(screen["score"]) - mean,
                "config_json": (done.iloc[0] if screen is None else screen)["config_json"],
                "planned_seeds": max(planned, group["seed"].nunique()),
                "confirmed": True,
            }
        )
    return rows


def _screened(complete: pd.DataFrame) -> list[dict[str, Any]]:
    ordered = complete.sort_values(["score", "number"], ascending=[False, True], kind="stable")
    return [
        {
            "sweep_id": trial["sweep_id"],
            "study": trial["study"],
            "trial_id": trial["trial_id"],
            "config_id": trial["config_id"],
            "screen_score": trial["score"],
            "seeds": [int(trial["seed"])],
            "scores": [trial["score"]],
            "mean": trial["score"],
            "sd": None,
            "n": 1,
            "optimism": None,
            "config_json": trial["config_json"],
            "planned_seeds": 1,
            "confirmed": False,
        }
        for _, trial in ordered.drop_duplicates("study").iterrows()
    ]
