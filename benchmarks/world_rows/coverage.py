"""How often the intervals that are printed for one quantity contain it."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from world_rows.row import Row, Simulate
from world_rows.scores import UNIT, Noise, judged, scores_of

from analysis.selection.claims import share_of_gap
from analysis.stats.cell_means import cell_means
from analysis.stats.spread import own_spreads, pooled_spread

TOPIC = "coverage of single intervals"
LEAST, MOST = 0.93, 0.97
GAP = 10.0
"""From baseline to teacher, in `UNIT`; the config covers half of it."""


def _covering(covers: Callable[[np.ndarray], float], **world: object) -> Simulate:
    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        return np.array([covers(scores) for scores in scores_of(rng, worlds, **world)])  # type: ignore[arg-type]

    return simulate


def difference(truth: float) -> Callable[[np.ndarray], float]:
    """Whether the interval of the difference of the first two configs contains the truth."""

    def covers(scores: np.ndarray) -> float:
        row = judged(scores).frame.iloc[0]
        return float(row["low"] <= UNIT * truth <= row["high"])

    return covers


def means(scores: np.ndarray) -> float:
    """The share of the cells whose interval contains their mean."""
    configs, seeds = scores.shape
    made = cell_means(pd.DataFrame({"cell": np.repeat(np.arange(configs), seeds), "score": scores.ravel()}))
    return float(((made["low"] <= 0.6) & (made["high"] >= 0.6)).mean())


def share(scores: np.ndarray) -> float:
    """Whether the interval of the share of the gap contains one half."""
    low, high = share_of_gap(scores[1], scores[0], 0.6 + GAP * UNIT)
    return float(not np.isfinite(low) or low <= 0.5 <= high)


def own(sd: Sequence[float]) -> Callable[[np.ndarray], float]:
    """The share of the configs whose interval contains their standard deviation."""

    def covers(scores: np.ndarray) -> float:
        made = own_spreads(scores)
        return float(np.mean([each.low <= UNIT * true <= each.high for each, true in zip(made, sd, strict=True)]))

    return covers


def pooled(sd: Sequence[float]) -> Callable[[np.ndarray], float]:
    """Whether the interval of the pooled standard deviation contains the root mean square of all."""
    true = UNIT * float(np.sqrt(np.mean(np.square(sd))))

    def covers(scores: np.ndarray) -> float:
        made = pooled_spread(scores)
        return float(made.low <= true <= made.high)

    return covers


def _rows() -> Iterator[Row]:
    single = {"least": LEAST, "most": MOST}
    pairs = {"equal noise": (1.0, 1.0), "sd 0.1 and 2": (0.1, 2.0), "sd 2 and 0.1": (2.0, 0.1)}
    for seeds in (2, 3, 5, 8, 10):
        for words, sd in pairs.items():
            for rho in (0.0, 0.8):
                world = f"{words}, correlation {rho:g}, n = {seeds}"
                drawn = {"sd": sd, "seeds": seeds, "rho": rho}
                yield Row(
                    *(TOPIC, world, "difference of 2 configs (truth 1)"),
                    _covering(difference(1.0), truth=[0.0, 1.0], **drawn),
                    **single,
                )
                yield Row(
                    *(TOPIC, world, "share of the gap"),
                    _covering(share, truth=[0.0, GAP / 2], **drawn),
                    **single,
                )
        yield Row(
            TOPIC,
            f"sd 0.1, 1 and 2, n = {seeds}",
            "mean of a cell",
            _covering(means, sd=(0.1, 1, 2), seeds=seeds),
            **single,
        )
        for words, sd_of, rho in (
            ("5 configs of sd 1", (1.0,) * 5, 0.0),
            ("5 configs of sd 1, correlation 0.8", (1.0,) * 5, 0.8),
            ("sd 0.1, 0.1, 2", (0.1, 0.1, 2.0), 0.0),
        ):
            drawn = {"sd": sd_of, "seeds": seeds, "rho": rho}
            world = f"{words}, n = {seeds}"
            yield Row(TOPIC, world, "sd of a config", _covering(own(sd_of), **drawn), **single)
            yield Row(TOPIC, world, "pooled sd", _covering(pooled(sd_of), **drawn), least=LEAST)
    for noise in ("t3", "collapses"):
        kind: Noise = noise  # type: ignore[assignment]
        yield Row(
            *(TOPIC, f"{noise}, n = 10", "difference of 2 configs"),
            _covering(difference(0.0), sd=(1, 1), seeds=10, noise=kind),
            **single,
        )


ROWS = list(_rows())
