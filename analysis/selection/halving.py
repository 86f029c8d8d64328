"""Sequential halving over fresh seeds: how many configs are trained again, on how many seeds, and which go on.

Single-seed screening scores favor the lucky. So the best few are trained again in rounds, every survivor on the
same new seeds, and after each round the better half goes on (Karnin et al. 2013, sequential halving).
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
GROWN = "confirm.seeds"
"""The field of a spec that grows a sweep by seeds."""


@dataclass(frozen=True)
class Round:
    """One round: how many configs are in it, and how many new seeds each of them is trained on."""

    alive: int
    seeds: int


def schedule(top: int, seeds: int, most: int = 0) -> tuple[Round, ...]:
    """The rounds of a race of `top` configs with a budget of ``top * seeds`` trainings.

    ceil(log2 top) rounds share the budget evenly, rounded down, at least one seed each. One or two configs get `seeds`
    seeds each in a single round. Empty where there is nothing to train.

    Args:
        top: Configs in the first round.
        seeds: Seeds per config on average.
        most: The most seeds of the config that comes first: in a last round it goes on alone, see
            ``analysis.selection.decided``.
    """
    if top < 1 or seeds < 1:
        return ()
    rounds, alive = [], top
    number = max(1, math.ceil(math.log2(top)))
    for _ in range(number):
        rounds.append(Round(alive, max(1, top * seeds // (number * alive))))
        alive = math.ceil(alive / 2)
    if (extra := most - all_seeds(rounds)) > 0:
        rounds.append(Round(1, extra))
    return tuple(rounds)


def rounds_of(sweeps: "pd.DataFrame") -> tuple[Round, ...]:
    """The rounds of a sweep, from the table ``sweeps``; none if that is empty."""
    import pandas as pd

    if sweeps.empty:
        return ()
    top, seeds, most = (sweeps[f"confirm_{name}"].max() for name in ("top", "seeds", "most"))
    return schedule(int(top), int(seeds), 0 if pd.isna(most) else int(most))


def all_seeds(rounds: Sequence[Round]) -> int:
    """Seeds of a config that comes through every round."""
    return sum(each.seeds for each in rounds)


def trainings(rounds: Sequence[Round], configs: int) -> int:
    """Trainings of a race that only so many configs enter."""
    return sum(min(each.alive, configs) * each.seeds for each in rounds)


def entered(rounds: Sequence[Round], seeds: int) -> int:
    """The round (from 1) that a config with so many seeds has reached."""
    before = 0
    for number, each in enumerate(rounds, start=1):
        before += each.seeds
        if seeds <= before:
            return number
    return max(1, len(rounds))


def survivors(scores: Mapping[T, Sequence[float | None]], alive: int, unstable: Collection[T] = ()) -> list[T]:
    """The configs that go on, in their given order: the best `alive` by mean.

    Args:
        scores: Per config, in order of preference among equals, its score on every fresh seed so far; None for a
            seed that is missing. A config with such a seed comes after all without.
        alive: How many go on.
        unstable: Configs of which a training failed; they come after all others.
    """

    def worth(config: T) -> tuple[bool, bool, float]:
        finite = [score for score in scores[config] if score is not None]
        mean = sum(finite) / len(finite) if finite else -math.inf
        return config not in unstable, len(finite) == len(scores[config]), mean

    best = sorted(scores, key=worth, reverse=True)[:alive]  # a stable sort, also in reverse
    return [config for config in scores if config in best]
