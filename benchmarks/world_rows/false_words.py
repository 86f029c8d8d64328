"""How often configs that are equally good are called separated, in a family of comparisons with one reference."""

from collections.abc import Iterator, Sequence

import numpy as np
from world_rows.row import Row, Simulate
from world_rows.scores import Noise, judged, scores_of

UNEQUAL, EQUAL = "unequal noise", "same noise"
LARGEST, LEAST = 0.05, 0.03
QUIET, NOISY = 0.1, 2.0


def wrong(sd: Sequence[float], seeds: int, rho: float = 0.0, noise: Noise = "normal") -> Simulate:
    """Whether any config is called separated though none differs."""

    def simulate(rng: np.random.Generator, worlds: int) -> np.ndarray:
        drawn = scores_of(rng, worlds, sd, seeds, rho, noise)
        return np.array(["separated" in judged(scores).words.values() for scores in drawn])

    return simulate


def alternating(configs: int, quiet_baseline: bool) -> list[float]:
    """Quiet and noisy configs in turns."""
    return [QUIET if (number % 2 == 0) == quiet_baseline else NOISY for number in range(configs)]


def _rows() -> Iterator[Row]:
    false = "any false separated"
    for configs, counts in ((5, (3, 5)), (8, (3, 10)), (30, (3,))):
        for seeds in counts:
            for quiet in (True, False):
                world = f"sd {QUIET} and {NOISY} in turns, {'quiet' if quiet else 'noisy'} baseline, {configs} configs"
                yield Row(
                    *(UNEQUAL, f"{world}, n = {seeds}", false, wrong(alternating(configs, quiet), seeds)), most=LARGEST
                )
    for seeds in (3, 5):
        yield Row(
            *(UNEQUAL, f"baseline sd 2, rest 1, 5 configs, n = {seeds}", false, wrong([2, 1, 1, 1, 1], seeds)),
            most=LARGEST,
        )
        yield Row(
            *(UNEQUAL, f"one of 30 configs sd 4, rest 1, n = {seeds}", false, wrong([1] * 29 + [4], seeds)),
            most=LARGEST,
        )
    for seeds in (2, 3, 5, 10):
        for configs in (2, 5, 8, 30):
            yield Row(
                *(EQUAL, f"{configs} configs, n = {seeds}", false, wrong([1] * configs, seeds)),
                least=LEAST,
                most=LARGEST,
            )
    for seeds in (3, 5, 10):
        for configs in (2, 5, 30):
            for noise, rho, words in (
                ("normal", 0.8, "correlation 0.8 by seed"),
                ("t3", 0.0, "t with 3 df"),
                ("collapses", 0.0, "5 % collapsed"),
            ):
                yield Row(
                    *(EQUAL, f"{words}, {configs} configs, n = {seeds}", false),
                    wrong([1] * configs, seeds, rho, noise),
                    least=LEAST,
                    most=LARGEST,
                )


ROWS = list(_rows())
