"""The search of a sweep as Optuna studies, for optuna-dashboard and Optuna's own plots and importances."""

from collections.abc import Iterator, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from analysis.errors import AnalysisError
from analysis.search.optuna_values import JOURNALS, STATES, distribution, open_storage, optuna_value
from analysis.tables.domains import Space
from analysis.tables.files import Tables
from analysis.tables.json_columns import read_spaces, read_spec, read_value
from analysis.tables.scores import METRIC
from analysis.tables.scores import curve as score_curve
from analysis.tables.states import Phase


def export_optuna(tables: Tables, out: Path) -> dict[str, int]:
    """Write one Optuna study per study of the sweep, named ``<sweep>/<study>``: its search, one seed per trial.

    A trial keeps its curve, its times, its parameters with their ranges (widened to all values that were ever
    tried), and as user attributes ``trial_id, config_id, seed, state, reason`` and ``fresh_scores``, the scores of the
    same config on fresh seeds. Fresh seeds are no trials of their own: repeats would distort importances.

    Args:
        tables: The tables of a sweep, with the metric mIoU.
        out: The file to make: a journal if it ends in ``.journal`` or ``.log``, else an SQLite data base.

    Returns:
        How many trials each study got.

    Raises:
        AnalysisError: The file is already there.
    """
    if out.exists():
        raise AnalysisError(f"{out} is already there: give another file with --out, or --force to replace it")
    out.parent.mkdir(parents=True, exist_ok=True)
    storage = open_storage(str(out) if out.suffix in JOURNALS else f"sqlite:///{out}")
    ended = tables["trials"][(tables["trials"]["phase"] == Phase.SEARCH) & tables["trials"]["state"].isin(list(STATES))]
    name, counts, spaces = tables["sweeps"]["name"].iloc[0], {}, read_spaces(tables)
    for study_name in tables["studies"]["study"]:
        trials = ended[ended["study"] == study_name].sort_values("number")
        study = optuna.create_study(storage=storage, study_name=f"{name}/{study_name}", direction="maximize")
        study.set_user_attr("sweep_id", str(tables["sweeps"]["sweep_id"].iloc[0]))
        study.add_trials(list(_frozen(tables, trials, spaces[study_name])))
        counts[str(study_name)] = len(trials)
    return counts


def _frozen(tables: Tables, trials: pd.DataFrame, space: Space) -> Iterator[FrozenTrial]:
    params = tables["params"][(tables["params"]["role"] == "nuisance")]
    params = params[params["trial_id"].isin(trials["trial_id"])]
    values = {trial: _values(mine) for trial, mine in params.groupby("trial_id")}
    distributions = {
        name: distribution(space.get(name), [mine[name] for mine in values.values() if name in mine])
        for name in dict.fromkeys(params["name"])
    }
    metrics, last = tables["metrics"], read_spec(tables["sweeps"]["spec_json"].iloc[0]).score_evaluations
    metrics = metrics[(metrics["name"] == METRIC) & metrics["trial_id"].isin(trials["trial_id"])].dropna(subset="value")
    curves = {
        trial: score_curve(dict(zip(map(int, mine["epoch"]), map(float, mine["value"]), strict=True)), last)
        for trial, mine in metrics.groupby("trial_id")
    }
    fresh = tables["trials"][(tables["trials"]["phase"] == Phase.CONFIRM) & tables["trials"]["score"].notna()]
    again = {origin: list(map(float, mine["score"])) for origin, mine in fresh.groupby("candidate_of")}
    for number, trial in enumerate(trials.to_dict("records")):
        trial_id = trial["trial_id"]
        mine, curve = values.get(trial_id, {}), curves.get(trial_id, {})
        state, value = _outcome(trial, curve)
        texts = {key: trial[key] for key in ("trial_id", "config_id", "state", "reason") if isinstance(trial[key], str)}
        yield FrozenTrial(
            number=number,
            trial_id=number,
            state=state,
            value=value,
            datetime_start=_naive(trial["started_at"]) or _naive(trial["ended_at"]),  # a reused trial never started
            datetime_complete=_naive(trial["ended_at"]),
            params={name: optuna_value(mine[name]) for name in mine},
            distributions={name: distributions[name] for name in mine},
            user_attrs={**texts, "seed": int(trial["seed"]), "fresh_scores": again.get(trial_id, [])},
            system_attrs={},
            intermediate_values=curve,
        )


def _outcome(trial: Mapping[Any, Any], curve: dict[int, float]) -> tuple[TrialState, float | None]:
    """A pruned trial is worth what its curve last showed; a complete one without a score has failed."""
    state = STATES[trial["state"]]
    if state is TrialState.PRUNED:
        return state, curve[max(curve)] if curve else None
    if state is TrialState.COMPLETE and pd.notna(trial["score"]):
        return state, float(trial["score"])
    return TrialState.FAIL, None


def _values(params: pd.DataFrame) -> dict[str, object]:
    return {name: read_value(text) for name, text in zip(params["name"], params["value_json"], strict=True)}


def _naive(when: Any) -> Any:
    """Optuna keeps times without a zone."""
    return None if pd.isna(when) else when.tz_convert(UTC).tz_localize(None).to_pydatetime()
