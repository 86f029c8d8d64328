"""The finalists of a sweep: configs trained again on fresh seeds, so that a lucky search does not count."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd

from analysis.conditions.hardware import mixed
from analysis.conditions.time_spent import recording
from analysis.formats import points
from analysis.selection.collapse import Runs, collapsed
from analysis.selection.failures import counted_scores, failed_by_method
from analysis.selection.final_seeds import selection_ended
from analysis.selection.halving import Round, all_seeds, entered, rounds_of
from analysis.selection.one_standard_error import decide
from analysis.tables.controls import controls_of
from analysis.tables.files import Tables
from analysis.tables.fixed import once
from analysis.tables.json_columns import ConfigView, read_config, read_frozen_selection
from analysis.tables.ranges import distance
from analysis.tables.states import Phase, State


@dataclass(frozen=True)
class Finalist:
    """A config that stands for its study, before costs and ranks; scores are fractions 0..1.

    Attributes:
        sweep_id: Its sweep.
        study: Its study.
        search: The number of the search that proposed it, of several the first; 1 for a config that was not searched.
        trial_id: The search trial that proposed it; None for a config that was not searched.
        config_id: The config.
        screen_score: The score of that trial.
        seeds: Its seeds that have a score, those of failed trainings included.
        scores: One score per seed, as in ``analysis.selection.failures.counted_scores``.
        mean: Their mean.
        sd: Their standard deviation (n - 1); None for one seed.
        n: How many they are.
        planned_seeds: How many seeds will have a score.
        optimism: ``screen_score`` minus ``mean``.
        confirmed: Whether the seeds are fresh.
        rounds: The round of the race over fresh seeds that it reached.
        study_rounds: The round that the furthest config of its study reached.
        failed_seeds: The fresh seeds that diverged, failed or collapsed.
        unstable: What went wrong with these, in words.
        level: What it reaches where nothing fails, see ``analysis.selection.collapse``.
        cost_s: Seconds of one training, without its share of the teacher's.
        fastest_s: Seconds of its fastest training.
        epochs: Epochs of one training.
        macs: Multiply-accumulates of the student for one image.
        params: Parameters of the student.
        config_json: The config as it was trained.
    """

    sweep_id: str
    study: str
    search: int
    trial_id: str | None
    config_id: str
    screen_score: float | None
    seeds: list[int]
    scores: list[float]
    mean: float
    sd: float | None
    n: int
    planned_seeds: int
    optimism: float | None
    confirmed: bool
    rounds: int
    study_rounds: int
    failed_seeds: list[int]
    unstable: str | None
    level: float
    cost_s: float
    fastest_s: float
    epochs: int
    macs: float
    params: float
    config_json: str


COLUMNS = [*(field.name for field in fields(Finalist)), "training_macs", "distance"]
_BROKEN = {State.COMPLETE: "ended without a score"}
_FORWARD_AND_BACKWARD = 3
"""A step costs about three forward passes."""


@once
def finalists(tables: Tables, limit: float | None = None) -> pd.DataFrame:
    """Every config that stands for its study, over all its searches: the chosen one first, then best first.

    A config that two searches of a study found is one finalist, and each of its fresh seeds counts once.

    A finalist is a config that was trained on fresh seeds (phase ``confirm``), as many as the rounds that it came
    through gave it (``rounds``, see ``analysis.selection.halving``). ``rank`` goes by round. Within a round those that
    are ``unstable`` (a fresh seed diverged, failed or collapsed) come last, before them those that lack a seed, and
    the others go by mean over those seeds. Failed trainings count, see ``analysis.selection.failures``. ``optimism`` is
    the score that made a config a finalist (``screen_score``, from its search trial ``trial_id``) minus its fresh mean.

    Of those of the last round that are stable and lack nothing, all within one standard error of the best are
    the tie set (``tie``), and the cheapest of it is ``chosen``, with the reason in ``why``; a frozen selection stays
    what it is. ``cost_s`` are the seconds of one training, its share of the teacher's fitting and recording included;
    ``training_macs`` is the same counted: multiply-accumulates for each image of role train, the teacher's included.

    A study that is a control (``control``, its kind) is ranked behind the others and never chosen, nor in the tie set.

    Without any confirmed config the best trial of each study stands in (``confirmed`` is False): one seed,
    the very score by which it was chosen, so its optimism is unknown, and the highest is chosen.

    Args:
        tables: The tables of a sweep.
        limit: One of several limits of cost (``analysis.tables.json_columns.read_limits``): only configs whose student
            is within it; a frozen selection, which is that of the largest limit, then decides nothing.

    Returns:
        One row per finalist with ``COLUMNS`` and ``control, rank, tie, chosen, why``; ``trial_id``, ``screen_score``
        and ``optimism`` are missing for a config that was not searched, ``sd`` (n - 1) for one seed. Empty if no trial
        is complete.
    """
    trials = tables["trials"]
    complete = trials[(trials["state"] == State.COMPLETE) & trials["score"].notna()]
    if limit is not None:
        complete = complete[complete["target_cost"] <= limit]
    controls, rows = controls_of(tables), _confirmed(tables, complete, limit)
    if all(row.study in controls for row in rows):
        rows = _screened(complete) or rows
    if not rows:
        kinds = {"confirmed": "bool", "n": "int64", "rank": "int64", "tie": "bool", "chosen": "bool"}
        return pd.DataFrame(columns=[*COLUMNS, "control", "rank", "tie", "chosen", "why"]).astype(kinds)

    def timed(tied: pd.DataFrame) -> bool:
        return not any(mix.kind == "hardware" and mix.spans(tied["study"]) for mix in mixed(tables))

    frame = _with_costs(tables, pd.DataFrame([asdict(row) for row in rows]))
    frame = frame.assign(control=frame["study"].map(controls).astype(object))
    return decide(frame, timed, read_frozen_selection(tables) if limit is None else None)


def trials_of(tables: Tables, finalist: pd.Series) -> pd.DataFrame:
    """The complete trials behind the scores of a finalist, one for each seed.

    Args:
        tables: The tables of its sweep.
        finalist: Anything with ``study, config_id, confirmed, seeds``.
    """
    trials = tables["trials"]
    runs = trials[
        (trials["study"] == finalist["study"])
        & (trials["config_id"] == finalist["config_id"])
        & (trials["phase"] == (Phase.CONFIRM if finalist["confirmed"] else Phase.SEARCH))
        & (trials["state"] == State.COMPLETE)
        & trials["seed"].isin(list(finalist["seeds"]))
    ]
    return runs.sort_values("seed", kind="stable").drop_duplicates("seed")


def _confirmed(tables: Tables, complete: pd.DataFrame, limit: float | None) -> list[Finalist]:
    trials = tables["trials"]
    trials = trials.assign(counted=counted_scores(tables), broken=failed_by_method(trials))
    left_out = trials.loc[trials["phase"] == Phase.LEFT_OUT, "trial_id"]
    confirm = trials[(trials["phase"] == Phase.CONFIRM) & ~trials["candidate_of"].isin(left_out)]
    if limit is not None:
        confirm = confirm[confirm["target_cost"] <= limit]
    sweeps = tables["sweeps"]
    race = _Race(rounds_of(sweeps), selection_ended(tables), complete[complete["phase"] == Phase.SEARCH])
    rows = [row for study, group in confirm.groupby("study") for row in race.of_study(str(study), group)]
    return sorted(rows, key=lambda row: (row.study, row.config_id))


@dataclass(frozen=True)
class _Race:
    """What all finalists are judged by: the rounds, whether more seeds are to come, and the trials of the search."""

    rounds: Sequence[Round]
    finished: bool
    searched: pd.DataFrame

    def of_study(self, study: str, confirm: pd.DataFrame) -> list[Finalist]:
        """The finalists of one study, from its trials of phase ``confirm``, with their ``counted`` scores."""
        seeds = confirm.groupby(["search", "config_id"])["seed"].nunique()
        in_round = seeds.map(lambda count: entered(self.rounds, count))
        went_out = (in_round < in_round.groupby("search").transform("max")).groupby("config_id").all()
        groups = [group for _, group in confirm.groupby("config_id")]
        furthest = max(entered(self.rounds, group["seed"].nunique()) for group in groups)
        screens = [self._screen(group) for group in groups]
        scored = [_once(group[group["counted"].notna()]) for group in groups]
        runs = [
            Runs(done.loc[~done["broken"], "counted"].tolist(), None if screen is None else float(screen["score"]))
            for done, screen in zip(scored, screens, strict=True)
        ]
        collapses = collapsed(runs)
        return [
            self._finalist(
                study, furthest, bool(went_out[done["config_id"].iloc[0]]), group, done, screen, run.level, collapse
            )
            for group, done, screen, run, collapse in zip(groups, scored, screens, runs, collapses, strict=True)
            if len(done)
        ]

    def _screen(self, group: pd.DataFrame) -> pd.Series | None:
        """The search trial that proposed a config."""
        proposed = self.searched[self.searched["trial_id"].isin(group["candidate_of"].dropna())]
        return proposed.iloc[0] if len(proposed) else None

    def _finalist(
        self,
        study: str,
        furthest: int,
        went_out: bool,
        group: pd.DataFrame,
        done: pd.DataFrame,
        screen: pd.Series | None,
        level: float,
        collapse: Sequence[bool],
    ) -> Finalist:
        origin = group["candidate_of"].dropna()
        mean, begun = float(done["counted"].mean()), group["seed"].nunique()
        last_round = entered(self.rounds, begun)
        all_begun = self.finished or went_out  # or there is no more to come
        trained = done[~done["broken"]]
        collapses = dict(zip(trained.index, collapse, strict=True))
        fell = np.array([collapses.get(place, True) for place in done.index], dtype=bool)
        costs = trained if len(trained) else done
        return Finalist(
            sweep_id=done["sweep_id"].iloc[0],
            study=study,
            search=int(group["search"].iloc[0]),
            trial_id=origin.iloc[0] if len(origin) else None,
            config_id=done["config_id"].iloc[0],
            screen_score=None if screen is None else float(screen["score"]),
            seeds=done["seed"].tolist(),
            scores=done["counted"].tolist(),
            mean=mean,
            sd=float(done["counted"].std(ddof=1)) if len(done) > 1 else None,
            n=len(done),
            planned_seeds=begun if all_begun else max(all_seeds(self.rounds), begun),
            optimism=None if screen is None else float(screen["score"]) - mean,
            confirmed=True,
            rounds=last_round,
            study_rounds=furthest,
            failed_seeds=done.loc[fell, "seed"].tolist(),
            unstable=_failures(done[fell]),
            level=level,
            cost_s=costs["seconds"].mean(),
            fastest_s=costs["seconds"].min(),
            epochs=int(costs["epochs_run"].max()),
            macs=costs["macs"].max(),
            params=costs["params"].max(),
            config_json=(done.iloc[0] if screen is None else screen)["config_json"],
        )


def _once(runs: pd.DataFrame) -> pd.DataFrame:
    """One training per seed: several searches may have found the same config."""
    once = runs.assign(sound=~runs["broken"]).sort_values("sound", kind="stable").drop_duplicates("seed", keep="last")
    return once.drop(columns="sound").sort_values("seed")


def _screened(complete: pd.DataFrame) -> list[Finalist]:
    ordered = complete[complete["phase"] == Phase.SEARCH].sort_values(
        ["score", "number"], ascending=[False, True], kind="stable"
    )
    return [
        Finalist(
            sweep_id=trial["sweep_id"],
            study=trial["study"],
            search=int(trial["search"]),
            trial_id=trial["trial_id"],
            config_id=trial["config_id"],
            screen_score=trial["score"],
            seeds=[int(trial["seed"])],
            scores=[trial["score"]],
            mean=trial["score"],
            sd=None,
            n=1,
            planned_seeds=1,
            optimism=None,
            confirmed=False,
            rounds=0,
            study_rounds=0,
            failed_seeds=[],
            unstable=None,
            level=trial["score"],
            cost_s=trial["seconds"],
            fastest_s=trial["seconds"],
            epochs=int(trial["epochs_run"]),
            macs=trial["macs"],
            params=trial["params"],
            config_json=trial["config_json"],
        )
        for _, trial in ordered.drop_duplicates("study").iterrows()
    ]


def _failures(runs: pd.DataFrame) -> str | None:
    """Of the fresh seeds of one config, those that failed, and the score at which they count."""
    failed: dict[str, list[tuple[int, str]]] = {}
    for seed, broken, state, counted in zip(runs["seed"], runs["broken"], runs["state"], runs["counted"], strict=True):
        what = f"{_BROKEN.get(state, state)}, counted as" if broken else "collapsed to"
        failed.setdefault(what, []).append((seed, points(counted)))
    return " and ".join(_failed(what, runs_of) for what, runs_of in failed.items()) or None


def _failed(what: str, runs: Sequence[tuple[int, str]]) -> str:
    """Seeds that failed in the same way: ``seed 3 collapsed to 10.00``, ``seeds 3, 4 collapsed to 10.00, 12.00``."""
    seeds = ", ".join(str(seed) for seed, _ in runs)
    scores = ", ".join(dict.fromkeys(score for _, score in runs))
    return f"seed{'s' if len(runs) > 1 else ''} {seeds} {what} {scores}"


def _with_costs(tables: Tables, frame: pd.DataFrame) -> pd.DataFrame:
    """What a choice between equals goes by: the teacher's share as well, and the distance from published values."""
    configs = frame["config_json"].map(read_config)
    with_teacher = configs.map(lambda config: config.uses_teacher).astype("float64")
    pairs = zip(frame["study"], frame["trial_id"], strict=True)
    return frame.assign(
        cost_s=frame["cost_s"].astype("float64") + with_teacher * _teacher_share(tables),
        training_macs=_training_macs(tables, frame, configs.tolist()),
        distance=[distance(tables, study, trial_id) for study, trial_id in pairs],
    )[COLUMNS]


def _training_macs(tables: Tables, frame: pd.DataFrame, configs: Sequence[ConfigView]) -> list[float]:
    """Multiply-accumulates of one training of each config, for each image of role train; NaN where not comparable."""
    of_teacher = tables["teachers"]["macs"].astype("float64").max()
    areas = [config.crop_area for config in configs]
    if len(set(areas)) > 1 and None in areas:  # the size of an image that is not cropped is not in the tables
        return [math.nan] * len(configs)
    per_image = [
        _FORWARD_AND_BACKWARD * float(macs) / config.eval_scale**2 + (of_teacher if config.uses_teacher else 0.0)
        for macs, config in zip(frame["macs"].astype("float64"), configs, strict=True)
    ]
    return [
        epochs * macs * config.images_per_labelled * (area or 1.0)
        for epochs, macs, config, area in zip(frame["epochs"], per_image, configs, areas, strict=True)
    ]


def _teacher_share(tables: Tables) -> float:
    """Seconds of fitting the teacher and of recording its answers, shared by all trials that led to the choice."""
    spent = tables["teachers"]["seconds"].sum() + recording(tables)["record_teacher"]
    trials = tables["trials"]
    trials = trials[trials["phase"] != Phase.FINAL]
    of_teacher = [
        study
        for study, text in trials.groupby("study")["config_json"].first().items()
        if read_config(text).uses_teacher
    ]
    return float(spent) / max(1, int(trials["study"].isin(of_teacher).sum()))
