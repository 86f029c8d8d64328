"""How often the gain that a report states as detectable is detected, and how often half of it would be missed."""

from collections.abc import Iterator, Sequence

import numpy as np
from world_rows.row import Row, Simulate
from world_rows.scores import UNIT, judged, scores_of

from analysis.stats.looks import alpha_at
from analysis.stats.power import detectable_ses, first_step, median_unbiased
from analysis.stats.sign_flips import usable

TOPIC = "power at the stated gain"
STATED, LEAST = 0.8, 0.78


def stated(rng: np.random.Generator, sd: Sequence[float], seeds: int, rho: float = 0.0, worlds: int = 4000) -> float:
    """The median over worlds of the smallest detectable gain that `effects` states, in `UNIT`."""
    spread = np.asarray(sd, dtype=float)[:, None]
    own = rng.normal(size=(worlds, len(sd), seeds)) * np.sqrt(1 - rho)
    scores = spread * (own + np.sqrt(rho) * rng.normal(size=(worlds, 1, seeds)))
    se = (scores[:, 1:] - scores[:, :1]).std(2, ddof=1) / np.sqrt(seeds)
    ses = detectable_ses(seeds - 1.0, first_step(usable(seeds, alpha_at(seeds)), len(sd) - 1))
    return float(np.median(np.median(median_unbiased(se, seeds - 1) * ses, axis=1)))


def found(configs: int, seeds: int, rho: float = 0.0, sd: tuple[float, float] = (1.0, 1.0)) -> Simulate:
    """Whether one config that is better by the stated gain, the median over other worlds, is separated."""
    spread = [sd[0], *[sd[1]] * (configs - 1)]

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        truth = [0.0, stated(rng, spread, seeds, rho), *[0.0] * (configs - 2)]
        drawn = scores_of(rng, worlds, spread, seeds, rho, truth=truth)
        return np.array([judged(scores).words["c1"] == "separated" for scores in drawn])

    return simulate


def missed(configs: int, seeds: int, share: float) -> Simulate:
    """The stated chance to miss a share of the detectable gain, minus whether it was missed."""

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        spread = [1.0] * configs
        gain = share * stated(rng, spread, seeds)
        outcomes = []
        for scores in scores_of(rng, worlds, spread, seeds, truth=[0.0, gain, *[0.0] * (configs - 2)]):
            said = judged(scores)
            outcomes.append(said.chance_to_miss(UNIT * gain) - (said.words["c1"] != "separated"))
        return np.array(outcomes)

    return simulate


def _rows() -> Iterator[Row]:
    measure = "the stated gain is separated"
    for seeds in (2, 3, 5, 8, 10):
        for configs in (2, 5, 8, 30):
            yield Row(TOPIC, f"{configs} configs, n = {seeds}", measure, found(configs, seeds), least=LEAST)
    yield Row(TOPIC, "5 configs, n = 3, correlation 0.8", measure, found(5, 3, 0.8), least=LEAST)
    yield Row(TOPIC, "5 configs of sd 2, baseline 0.1, n = 5", measure, found(5, 5, sd=(0.1, 2.0)), least=LEAST)
    for configs, seeds in ((2, 3), (5, 3), (5, 5), (5, 10)):
        yield Row(
            *(
                TOPIC,
                f"half of the stated gain, {configs} configs, n = {seeds}",
                "stated chance to miss it, minus actual",
            ),
            missed(configs, seeds, 0.5),
            least=-0.1,
            most=0.1,
        )


ROWS = list(_rows())
