"""What the choice of a config is worth: its regret, whether the tie set is right, and the chance to be the best."""

from collections.abc import Callable, Iterator

import numpy as np
from world_rows.row import Row, Simulate
from world_rows.scores import UNIT, judged

from analysis.selection.halving import schedule, survivors, trainings
from analysis.selection.one_standard_error import pooled_sd, within_one_se
from analysis.selection.standings import standings

TOPIC = "choice"
BUDGET, SEEDS = 72, 4
TOP = max(4, BUDGET // 12)
ROUNDS = schedule(TOP, SEEDS)
SCREENED = BUDGET - trainings(ROUNDS, TOP)
FLAT = 0.58
"""Spread of the true means over a search space, in points."""
SHARES = {0.4: 0.70, 0.8: 0.64, 0.2: None}
"""Regret as a share of that of the best single seed, by the spread of the seeds: what a pooled spread gives."""


def regret(seed_sd: float) -> Simulate:
    """Regret of the choice as a share of that of the best single seed, at equal cost."""

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        regrets = np.array([_regrets(rng, seed_sd) for _ in range(worlds)])
        return regrets[:, 0] / regrets[:, 2].mean()

    return simulate


def more_than_pooled(seed_sd: float) -> Simulate:
    """Regret of the choice minus that of the cheapest within one pooled standard error, in points."""

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        return np.array([_regrets(rng, seed_sd) for _ in range(worlds)]) @ [1.0, -1.0, 0.0]

    return simulate


def _regrets(rng: np.random.Generator, seed_sd: float) -> tuple[float, float, float]:
    """Of the cheapest within one standard error, of that within a pooled one, and of the best of 72 single seeds."""
    truth, cost = rng.normal(60.0, FLAT, BUDGET), rng.lognormal(3.0, 0.3, BUDGET)
    seeds = sum(each.seeds for each in ROUNDS)
    scores = truth[:, None] + rng.normal(0.0, 0.1, (BUDGET, 1)) + rng.normal(0.0, seed_sd, (BUDGET, 1 + seeds))
    luckiest = int(scores[:, 0].argmax())
    alive = [int(config) for config in np.argsort(-scores[:SCREENED, 0])[:TOP]]
    ran: dict[int, list[float]] = {config: [] for config in alive}
    for number, each in enumerate(ROUNDS):
        if number:
            alive = survivors({config: ran[config] for config in alive}, each.alive)
        for config in alive:
            first = 1 + len(ran[config])
            ran[config] += scores[config, first : first + each.seeds].tolist()
    raced = np.array([ran[config] for config in alive])
    means, margin = raced.mean(1), pooled_sd(raced.tolist()) / np.sqrt(raced.shape[1])
    rules = (within_one_se([dict(enumerate(row)) for row in raced]), means >= means.max() - margin)
    chosen = [alive[int(np.where(tied, cost[alive], np.inf).argmin())] for tied in rules]
    own, pooled, single = truth.max() - truth[[*chosen, luckiest]]
    return own, pooled, single


def tied_though_separated(configs: int, seeds: int, rho: float) -> Simulate:
    """Whether a config that is separated from the best is in the tie set."""

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        outcomes = []
        for _ in range(worlds):
            own = np.sqrt(1 - rho) * rng.normal(size=(configs, seeds)) + np.sqrt(rho) * rng.normal(size=(1, seeds))
            scores = 0.6 + UNIT * (rng.normal(size=(configs, 1)) + rng.choice([0.1, 1.0], (configs, 1)) * own)
            scores = scores[np.argsort(-scores.mean(1))]
            words = list(judged(scores).words.values())
            tied = within_one_se([dict(enumerate(row)) for row in scores])[1:]
            outcomes.append(any(word == "separated" and is_tied for word, is_tied in zip(words, tied, strict=True)))
        return np.array(outcomes)

    return simulate


def best_of(seeds: int, sd: Callable[[np.random.Generator, int], np.ndarray], rho: float, configs: int = 4) -> Simulate:
    """For configs that are said to be the best with 60 to 95 %: that chance minus whether they are."""

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        outcomes = []
        while len(outcomes) < worlds:
            truth, spread = rng.normal(size=configs), sd(rng, configs)
            own = np.sqrt(1 - rho) * rng.normal(size=(configs, seeds)) + np.sqrt(rho) * rng.normal(size=(1, seeds))
            scores = truth[:, None] + spread[:, None] * own
            ranks = standings([dict(enumerate(row)) for row in scores]) or []
            outcomes += [
                standing.best - (config == truth.argmax())
                for config, standing in enumerate(ranks)
                if 0.6 <= standing.best <= 0.95
            ]
        return np.array(outcomes[:worlds])

    return simulate


def _equal(rng: np.random.Generator, configs: int) -> np.ndarray:
    return np.ones(configs)


def _unequal(rng: np.random.Generator, configs: int) -> np.ndarray:
    return np.exp(0.6 * rng.standard_normal(configs))


def _rows() -> Iterator[Row]:
    for sd in SHARES:
        world = f"landscape {FLAT}, seed sd {sd}, 72 trainings"
        share = "regret, as a share of that of the best single seed"
        yield Row(TOPIC, world, share, regret(sd), most=SHARES[sd])
        more = "regret minus that of the rule with a pooled spread (points)"
        yield Row(TOPIC, world, more, more_than_pooled(sd), most=0.0, percent=False)
    for seeds, rho in ((3, 0.0), (3, 0.95), (10, 0.95)):
        yield Row(
            *(TOPIC, f"4 configs, sd 0.1 or 1, correlation {rho:g}, n = {seeds}", "separated from the best and tied"),
            tied_though_separated(4, seeds, rho),
            most=0.0,
        )
    for seeds in (2, 3, 5):
        for words, spreads, rho in (("equal", _equal, 0.0), ("unequal", _unequal, 0.0), ("equal", _equal, 0.8)):
            yield Row(
                *(TOPIC, f"4 configs, {words} noise, correlation {rho:g}, n = {seeds}"),
                "chance to be the best where it is 60 to 95 %, minus how often",
                best_of(seeds, spreads, rho),
                least=-0.25 if rho and seeds < 3 else -0.1,
                most=0.08,
            )


ROWS = list(_rows())
