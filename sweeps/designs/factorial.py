"""What is each factor worth on average over the others, and which of them work together or against each other?"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdtrain.errors import InputError
from sweeps.designs.arms import OFF, ON, TERMS, Arm, Arms, Request, reference, short, slug, text, without

FAMILY = "factorial"
"""Main effects and interactions of two are one family."""
_MOST_FACTORS = 9
_ROMAN = {3: "III", 4: "IV", 5: "V", 6: "VI", 7: "VII", 8: "VIII", 9: "IX"}


@dataclass(frozen=True)
class Factor:
    """A factor with two levels: that of the config, and the changed one."""

    name: str
    level: str
    changed_level: str
    path: str | None = None
    """Of a value; none for a term, which is on or off."""
    value: Any = None
    """The value at the changed level."""

    @property
    def slug(self) -> str:
        """The changed level, as part of a study's name."""
        return self.name if self.path is None else slug(self.name, self.changed_level)


def full(request: Request) -> Arms:
    """All combinations of the factors' two levels; the config itself is one of them."""
    factors = _factors(request, "factorial")
    corners = itertools.product((False, True), repeat=len(factors))
    return Arms(tuple(_arm(request, factors, corner) for corner in corners))


def fractional(request: Request) -> Arms:
    """A part of all combinations that still tells the main effects apart; the config itself is in it.

    Resolution IV keeps main effects apart from interactions of two, V these from each other as well. What stays
    mixed is in the notes.
    """
    factors = _factors(request, "fractional")
    signs, resolution = _fraction(len(factors), request.resolution)
    order = sorted(range(len(signs)), key=lambda row: int((signs[row] < 0).sum()))
    arms = tuple(_arm(request, factors, tuple(bool(sign < 0) for sign in signs[row])) for row in order)
    share = 2 ** len(factors) // len(signs)
    mixed = aliases([factor.name for factor in factors], signs)
    notes = [
        f"fractional: {len(signs)} of {2 ** len(factors)} combinations (1/{share}), resolution {_ROMAN[resolution]}; "
        + (f"cannot be told apart: {'; '.join(mixed)}" if mixed else "no two interactions of two are mixed")
    ]
    return Arms(arms, tuple(notes))


def aliases(names: Sequence[str], signs: np.ndarray) -> list[str]:
    """Which main effects and interactions of two the rows of a design cannot tell apart, as `a:b = c:d`.

    Args:
        names: Of the factors.
        signs: `(cells, factors)`, 1 or -1.
    """
    effects = {name: signs[:, index] for index, name in enumerate(names)}
    for (i, first), (j, second) in itertools.combinations(enumerate(names), 2):
        effects[f"{first}:{second}"] = signs[:, i] * signs[:, j]
    groups: dict[tuple[float, ...], list[str]] = {}
    for name, column in effects.items():
        groups.setdefault(tuple(column * column[0]), []).append(name)
    return [" = ".join(group) for group in groups.values() if len(group) > 1]


def _fraction(count: int, resolution: int | None) -> tuple[np.ndarray, int]:
    """The smallest fraction with at least a resolution (by default V, or IV where V would be the whole)."""
    import pyDOE3  # slow to import, and every `kdsweep` would wait for it

    if not 4 <= count <= _MOST_FACTORS:
        raise InputError(
            f"design fractional: needs 4 to {_MOST_FACTORS} factors, but there are {count}"
            + ("; take factorial, which has few enough cells" if count < 4 else "")
        )
    for least in (resolution,) if resolution else (5, 4):
        for erased in range(count - 3, 0, -1):
            generators, _, _ = pyDOE3.fracfact_opt(count, erased)
            signs = np.asarray(pyDOE3.fracfact(generators), dtype=float)
            if (reached := _resolution(signs)) >= least:
                return signs, reached
    raise InputError(
        f"--resolution: {resolution} is not possible with less than all combinations of {count} factors; "
        f"take {count - 1 if count > 4 else 4} or less, or the design factorial"
    )


def _resolution(signs: np.ndarray) -> int:
    """The length of the shortest word that is constant."""
    count = signs.shape[1]
    for length in range(1, count + 1):
        for columns in itertools.combinations(range(count), length):
            if len(set(signs[:, columns].prod(axis=1))) == 1:
                return length
    return count + 1


def _factors(request: Request, design: str) -> list[Factor]:
    values = request.paths()
    named = request.factors or not values
    terms = request.removable(design) if named else ()
    factors = [Factor(name, ON, OFF) for name in terms]
    for path, both in values.items():
        level = request.value(path)
        others = [value for value in both if value != level]
        if len(both) > 2 or len(others) != 1:
            raise InputError(
                f"--values: {short(path)} needs two levels in the design {design}, one of them that of the config "
                f"({text(level)}), got {', '.join(map(text, both))}"
            )
        if path.startswith(TERMS) and path.split(".")[1] in terms:
            raise InputError(
                f"design {design}: {short(path)} means nothing where {path.split('.')[1]} is off; leave that out of "
                "--factors"
            )
        factors.append(Factor(short(path), text(level), text(others[0]), path, others[0]))
    if len(factors) < 2:
        raise InputError(
            f"design {design}: needs at least two factors, but there is only {factors[0].name}; take leave-one-out"
        )
    if len(factors) > _MOST_FACTORS:
        raise InputError(f"design {design}: takes at most {_MOST_FACTORS} factors, got {len(factors)}")
    return factors


def _arm(request: Request, factors: Sequence[Factor], changed: Sequence[bool]) -> Arm:
    """One corner: `changed` says which factors are at their changed level."""
    levels = {f.name: f.changed_level if off else f.level for f, off in zip(factors, changed, strict=True)}
    moved = [factor for factor, off in zip(factors, changed, strict=True) if off]
    if not moved:
        return reference(request, FAMILY, levels)
    gone = [factor.name for factor in moved if factor.path is None]
    set_to = [factor for factor in moved if factor.path is not None]
    terms = without(request.terms, gone)
    if not set_to and terms == request.plain:
        name = "none"
    else:
        name = "+".join((["without_" + "+".join(gone)] if gone else []) + [factor.slug for factor in set_to])
    cell = {
        "factor": " + ".join(factor.name for factor in moved),
        "level": " + ".join(factor.changed_level for factor in moved) if set_to else OFF,
        "family": FAMILY,
        "levels": levels,
    }
    return Arm(name, terms, {f.path: f.value for f in set_to if f.path is not None}, cell)
