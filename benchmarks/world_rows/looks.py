"""Sweeps that are looked at more than once: grown after their words were read, or trained until they are decided."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from world_rows.false_words import alternating
from world_rows.row import Row, Simulate
from world_rows.scores import UNIT, judged, scores_of

from analysis.selection.decided import final_alpha, follows
from analysis.selection.said import Said
from analysis.stats.looks import Looks, planned_looks
from analysis.stats.power import first_step
from analysis.stats.seed_contrasts import Effects

GROWN, DECIDED = "grown after its words were read", "until: decided"
SEEDS = (3, 5, 8, 12)


@dataclass(frozen=True)
class End:
    """How a sweep ended: the words at its last look, and how many seeds that took."""

    found: Effects
    seeds: int


def grown(scores: np.ndarray, seeds: Sequence[int] = SEEDS) -> bool:
    """Whether something is separated at any look of someone who goes on until it is."""
    looks = Looks()
    for n in seeds:
        if "separated" in judged(scores[:, :n], looks=looks).words.values():
            return True
        looks = looks.after(n)
    return False


def until_decided(scores: np.ndarray, first: int = SEEDS[0]) -> End:
    """What the driver does with a sweep whose configs would score so."""
    most = scores.shape[1]
    looks, planned = Looks(most=most), planned_looks(first, most)
    for n in planned:
        now = scores[:, :n]
        found = judged(now, looks=looks)
        rows = found.frame.assign(mean=now[1:].mean(1)).sort_values("mean", ascending=False, kind="stable")
        said = tuple(
            Said(row.config, row.word, row.difference, row.low, row.high, n) for row in rows.itertuples(index=False)
        )
        level = first_step(final_alpha(n, most, looks), len(said))
        decision = follows(said, "c0", list(now[1:] - now[0]), most, 0.0, level)
        if n == most or not decision.goes_on:
            return End(found, n)
        looks = looks.after(n)
    raise AssertionError("the last look ends it")


def false_words(sd: Sequence[float], rho: float = 0.0, renewed: bool = False) -> Simulate:
    """Whether a sweep without a difference shows one at some look.

    Args:
        sd: Of every config.
        rho: Correlation by seed.
        renewed: Whether it grows by its search: other finalists on as many seeds at every look.
    """

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        if not renewed:
            return np.array([grown(scores) for scores in scores_of(rng, worlds, sd, SEEDS[-1], rho)])
        return np.array([_renewed(rng, sd) for _ in range(worlds)])

    return simulate


def _renewed(rng: np.random.Generator, sd: Sequence[float], seeds: int = 5, times: int = 4) -> bool:
    looks, reference = Looks(), next(scores_of(rng, 1, sd, seeds))[:1]
    for _ in range(times):
        others = next(scores_of(rng, 1, sd, seeds))[1:]
        if "separated" in judged(np.vstack([reference, others]), looks=looks).words.values():
            return True
        looks = looks.after(seeds)
    return False


def decided(measure: str, configs: int, gain: float, rho: float = 0.0) -> Simulate:
    """What is measured of sweeps that run until they are decided; the second config has a gain."""
    truth = np.zeros(configs)
    truth[1] = gain

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        outcomes = []
        for scores in scores_of(rng, worlds, [1.0] * configs, SEEDS[-1], rho, truth=truth):
            end = until_decided(scores)
            frame = end.found.frame
            first = frame.iloc[0]
            outcomes.append(
                {
                    "seeds": end.seeds,
                    "false": bool((frame["word"].eq("separated") & (truth[1:] == 0)).any()),
                    "power": first["word"] == "separated" and first["difference"] > 0,
                    "fixed": judged(scores).words["c1"] == "separated",
                    "covers": first["low"] <= UNIT * gain <= first["high"],
                }[measure]
            )
        return np.array(outcomes)

    return simulate


def _rows() -> Iterator[Row]:
    at = ", ".join(map(str, SEEDS))
    for configs in (2, 5, 30):
        for rho in (0.0, 0.8):
            world = f"{configs} configs, correlation {rho:g} by seed, looks at {at} seeds"
            yield Row(
                *(GROWN, world, "any false separated at any look", false_words([1] * configs, rho)),
                most=0.05,
                most_worlds=1000 if configs > 5 else None,
            )
    for quiet in (True, False):
        world = f"sd 0.1 and 2.0 in turns, {'quiet' if quiet else 'noisy'} baseline, 5 configs, looks at {at} seeds"
        yield Row(
            *(GROWN, world, "any false separated at any look", false_words(alternating(5, quiet))),
            most=0.05,
        )
    world = "5 configs, 5 seeds, other finalists at each of 4 looks"
    yield Row(GROWN, world, "any false separated at any look", false_words([1] * 5, renewed=True), most=0.05)
    for configs in (2, 5):
        world = f"{configs} configs, 3 to 12 seeds"
        yield Row(DECIDED, f"{world}, no gain", "any false separated", decided("false", configs, 0.0), most=0.05)
        for gain in (0.0, 1.0, 2.0):
            what = f"{world}, gain {gain:g} sd"
            yield Row(DECIDED, what, "seeds", decided("seeds", configs, gain), most=11.5, percent=False)
            yield Row(DECIDED, what, "the interval at the stop covers", decided("covers", configs, gain), least=0.95)
            if gain:
                yield Row(DECIDED, what, "separated", decided("power", configs, gain))
                yield Row(DECIDED, what, "separated by a fixed number of 12", decided("fixed", configs, gain))


ROWS = list(_rows())
