"""Simulated sweeps in which headline and table are compared: does the sentence on top say what the rows say?

A sweep has a baseline and up to five other studies with two finalists each, on two to ten fresh seeds of correlated
scores. Some comparisons are refused, some fresh or final seeds have no score, and some sweeps are frozen.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.formats import signed
from analysis.report.headline import Headline, Scene, Statement, before_the_freeze
from analysis.report.held_out import HeldOut
from analysis.report.verdict import stated
from analysis.report.wording import NOT_SEPARATED, SEPARATED, wording_of
from analysis.selection.final_seeds import FinalScores, judged_difference
from analysis.selection.one_standard_error import decide
from analysis.selection.stage import Stage
from analysis.stats.seed_contrasts import effects
from analysis.stats.words import ENOUGH_SEEDS

SMALLEST = 0.003
_NAN = float("nan")


@dataclass(frozen=True)
class Told:
    """A simulated sweep with what its report would say first."""

    scene: Scene
    found: HeldOut | None
    finished: bool
    selection: Statement
    stage: Stage
    statement: Statement


def told(rng: np.random.Generator, rho: float, others: int) -> Told:
    """One sweep, its truth and its accidents drawn at random.

    Args:
        rng: Random numbers.
        rho: Correlation of two configs on the same seed.
        others: Studies beside the baseline.
    """
    seeds = int(rng.choice([2, 3, 5, 10]))
    spread, gain = float(rng.choice([0.002, 0.01])), float(rng.choice([0.0, 0.005, 0.03]))
    studies = ["none", *(f"kd{number}" for number in range(others))]
    truth = {study: 0.4 + gain * rng.normal() * (study != "none" or rng.random() < 0.5) for study in studies}
    luck = rng.normal(0, spread, seeds)
    configs = []
    for study in studies:
        for number in range(2):
            own = rng.normal(0, spread, seeds)
            scores = truth[study] - 0.002 * number + np.sqrt(rho) * luck + np.sqrt(1 - rho) * own
            there = np.sort(rng.permutation(seeds)[: seeds - (seeds > 2 and rng.random() < 0.1)])
            configs.append(_finalist(study, number, there, scores, seeds, spent=rng.lognormal()))
    ranked = decide(pd.DataFrame(configs))
    refused = {study for study in studies[1:] if rng.random() < 0.1}
    comparison = _comparison(ranked, studies, refused)
    scene = Scene(comparison, ranked, {study: int(rng.choice([1, 3])) for study in studies})
    finished = bool(rng.random() < 0.9)
    found = _held_out(rng, scene, truth, spread) if finished and rng.random() < 0.5 else None
    selection = before_the_freeze(scene, finished)
    stage, statement = stated(scene, selection, found, finished)
    return Told(scene, found, finished, selection, stage, statement)


def scene_with(scores: Mapping[str, Sequence[float]], refused: Collection[str] = (), cheap: str = "none") -> Scene:
    """A sweep in which every study has one finalist with these scores, on seeds 0, 1, ...

    Args:
        scores: By study; the baseline is `none`.
        refused: Studies that may not be compared with the baseline.
        cheap: The study whose training costs least.
    """
    configs = [
        _finalist(study, 0, np.arange(len(values)), np.asarray(values), len(values), spent=1.0 + (study != cheap))
        for study, values in scores.items()
    ]
    ranked = decide(pd.DataFrame(configs))
    return Scene(_comparison(ranked, list(scores), set(refused)), ranked, {})


def contradictions(sweep: Told) -> list[str]:
    """Where the headline says what the rows do not, each in words; empty if they agree."""
    headline, wrong = sweep.statement.headline, []
    rows = {row["study"]: wording_of(row) for _, row in sweep.scene.comparison.iterrows()}
    winner = sweep.scene.winner
    on_final = sweep.finished and sweep.found is not None and bool(sweep.found.chosen.scores)
    better = [study for study, said in rows.items() if said is not None and said.better]
    lower = headline.lower()
    if not on_final:
        if any(phrase.lower() in lower for phrase in (Headline.BASELINE_BEST, Headline.BASELINE_HELD)) and better:
            wrong.append(f"nothing beat the baseline, but {better[0]} is separated and better")
        if Headline.BASELINE_BEST.lower() in lower and not all(
            said is not None and said.worse for study, said in rows.items() if study != "none"
        ):
            wrong.append("the baseline is called the best, but another is not separated from it")
        if sweep.finished and better and f" {SEPARATED} " not in headline.replace(NOT_SEPARATED, ""):
            wrong.append(f"{better[0]} is separated and better, and the headline says nothing of it")
        own = rows[winner["study"]]
        if not winner["is_baseline"]:
            wrong += _of_the_word(headline, own if sweep.finished else None)
    else:
        assert sweep.found is not None
        wrong += _of_the_word(headline, sweep.found.said)
    if not sweep.finished and any(word in headline for word in (SEPARATED, "equivalent")):
        wrong.append("a word in an unfinished sweep")
    seeds = [int(count) for count in re.findall(r"separated from[^;]*? over (\d+) seeds", headline)]
    bare = headline.replace(NOT_SEPARATED, "")
    if f" {SEPARATED} from" in bare and any(count < ENOUGH_SEEDS for count in seeds) and "alone" not in bare:
        wrong.append("separated on few seeds without a reservation")
    if sweep.finished and not lower.startswith(("provisional", "held out")):
        wrong.append("neither provisional nor held out")
    return wrong


def _of_the_word(headline: str, said: object) -> list[str]:
    """Whether the first word of a headline, and its difference, are those of the row."""
    first = headline.split("; but ")[0]
    heads = re.search(r"is (not separated|separated|equivalent) ", first)
    if said is None:
        return [] if heads is None else ["a word where the row has none"]
    word, difference, low = (getattr(said, name) for name in ("word", "difference", "low"))
    if heads is None or heads[1] != word:
        return [f"the row says {word}, the headline {heads[1] if heads else 'nothing'}"]
    return [] if f"{signed(difference)} points [{signed(low)}," in first else ["other numbers than those of the row"]


def _finalist(
    study: str, number: int, there: np.ndarray, scores: np.ndarray, planned: int, spent: float
) -> dict[str, object]:
    values = [float(scores[seed]) for seed in there]
    return {
        "study": study,
        "config_id": f"{study}-c{number}",
        "trial_id": f"{study}-{number}",
        "seeds": [int(seed) for seed in there],
        "scores": values,
        "mean": float(np.mean(values)),
        "n": len(values),
        "planned_seeds": planned,
        "confirmed": True,
        "rounds": 1,
        "unstable": None if len(values) == planned else f"seed {min(set(range(planned)) - set(there))} diverged",
        "fastest_s": _NAN,
        "training_macs": spent,
        "params": 1.0,
        "distance": 0.0,
    }


def _comparison(ranked: pd.DataFrame, studies: list[str], refused: set[str]) -> pd.DataFrame:
    """The rows of ``compare`` from its own parts: best finalists, one family of differences, refusals."""
    tops = ranked.drop_duplicates("study").set_index("study", drop=False)
    long = pd.DataFrame(
        [
            (study, seed, score)
            for study in studies
            for seed, score in zip(tops.loc[study, "seeds"], tops.loc[study, "scores"], strict=True)
        ],
        columns=["config", "seed", "score"],
    )
    claims = {}
    if len(studies) > 1:
        claims = {row["config"]: row for row in effects(long, "none", SMALLEST).frame.to_dict("records")}
    base = dict(zip(tops.loc["none", "seeds"], tops.loc["none", "scores"], strict=True))
    rows = []
    for study in tops.index:
        top, claim = tops.loc[study], claims.get(study, {})
        pairs = [score - base[seed] for seed, score in zip(top["seeds"], top["scores"], strict=True) if seed in base]
        missing_seeds = top["n"] < top["planned_seeds"]
        silent = study == "none" or study in refused or missing_seeds or not pairs
        rows.append(
            {
                **top[["study", "trial_id", "config_id", "seeds", "scores", "mean", "n", "confirmed", "chosen"]],
                "is_baseline": study == "none",
                "control": None,
                "searched_parameters": 1,
                "search_trials": 3,
                "differences": [] if study == "none" else pairs,
                "difference": _NAN if study == "none" or study in refused or not pairs else float(np.mean(pairs)),
                **{name: _NAN if silent else claim[name] for name in ("low", "high", "mde")},
                "word": None if silent else claim["word"],
                "refused": ["the baseline was not searched"] if study in refused else [],
                "withheld": "a planned seed has no score" if missing_seeds else "",
            }
        )
    return pd.DataFrame(rows)


def _held_out(rng: np.random.Generator, scene: Scene, truth: dict[str, float], spread: float) -> HeldOut:
    planned = int(rng.choice([3, 5, 8]))
    winner = scene.winner

    def scored(study: str) -> FinalScores:
        there = sorted(rng.permutation(planned)[: planned - int(rng.choice([0, 0, 0, 1, planned]))].tolist())
        scores = tuple(float(truth[study] + rng.normal(0, spread)) for _ in there)
        return FinalScores(study, f"{study}-c0", tuple(there), planned, scores, scores)

    chosen = scored(winner["study"])
    if winner["is_baseline"]:
        return HeldOut(chosen, None, True, None)
    baseline = scored("none")
    difference = judged_difference(chosen, baseline, SMALLEST)
    return HeldOut(chosen, baseline, False, difference)
