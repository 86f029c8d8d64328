"""The looks at a sweep: whenever it has finished, or a planned number of seeds is reached, its words can be read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.stats.looks import Looks
from sweeps.ledger.sweep_events import Looked


@dataclass(frozen=True)
class FreshRun:
    """A training on a fresh seed, as far as a look goes by it: whose config, which seed.

    What became of it does not count: of a training that its machine stopped nothing was said before it ran again.
    """

    trial: str
    study: str
    candidate: str | None
    seed: int


@dataclass(frozen=True)
class Look:
    """What could be read at one moment.

    Attributes:
        seeds: Fresh seeds of the finalist that has most; 0 where they cannot be compared.
        most: Those at the last planned look; 0 where looks are not planned.
        data: The trainings that the words are about. Who reads the same words again takes no second look.
    """

    seeds: int
    most: int
    data: frozenset[FreshRun]


@dataclass(frozen=True, slots=True)
class LastLook:
    """A planned look.

    Attributes:
        look: What was decided.
        data: The trainings that its words were about.
        failed: Those of them that had failed: once one has run again, there is more to read.
    """

    look: Looked
    data: frozenset[FreshRun]
    failed: frozenset[str]


def look_at(spec: Mapping[str, Any], fresh: Iterable[FreshRun]) -> Look:
    """The look that can be taken now.

    Args:
        spec: The spec of the sweep in plain values.
        fresh: The trainings on fresh seeds, without those of configs that a correction has left out.
    """
    data = frozenset(fresh)
    by_config: dict[tuple[str, str | None], set[int]] = {}
    for run in data:
        by_config.setdefault((run.study, run.candidate), set()).add(run.seed)
    seeds = max(map(len, by_config.values()), default=0)
    # One seed says nothing about a difference (but about the effects of a factorial), nor does one study.
    compares = seeds > (0 if spec.get("cells") else 1) and len({run.study for run in data}) > 1
    return Look(seeds if compares else 0, most_seeds(spec), data)


def most_seeds(spec: Mapping[str, Any]) -> int:
    """The seeds of the last planned look in a spec of plain values; 0 where looks are not planned."""
    seeds = (spec.get("confirm") or {}).get("seeds", 0)
    return int(seeds[1]) if isinstance(seeds, Sequence) else 0


def taken(looks: Sequence[Look], look: Look) -> list[Look]:
    """The looks once a look is taken; those of before if it shows nothing new, or nothing that could be compared."""
    return [*looks, look] if look.seeds and not shows_the_same(looks, look) else list(looks)


def shows_the_same(looks: Sequence[Look], look: Look) -> bool:
    """Whether a look shows what the last one has shown."""
    return bool(looks) and looks[-1].data == look.data


def before(looks: Sequence[Look], now: Look) -> Looks:
    """The looks before the one that can be taken now, and what they have spent."""
    spent = Looks()
    for look in looks[:-1] if shows_the_same(looks, now) else looks:
        spent = Looks(spent.seeds, spent.spent, look.most).after(look.seeds)
    # Words that are read again keep the plan under which they were read first.
    plan = looks[-1].most if shows_the_same(looks, now) else now.most
    return Looks(spent.seeds, spent.spent, plan)
