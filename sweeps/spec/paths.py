"""Dotted paths into the plain content of a config, and what the domains of a search space contain."""

import copy
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from kdtrain.errors import InputError
from kdtrain.explain import did_you_mean
from kdtrain.space import Choice, Domain, Range, Scalar

Space = Mapping[str, Domain]


def lookup(content: Any, path: str) -> Any:
    """The value at a dotted path; a term is addressed by its name, as in `terms.channel_wise.weight`.

    Raises:
        InputError: If there is no such path.
    """
    holder, key = _holder(content, path)
    return holder[key]


def replaced(content: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """A copy of a config's plain content with the values at some dotted paths replaced.

    Raises:
        InputError: If there is no such path.
    """
    result = copy.deepcopy(dict(content))
    for path, value in changes.items():
        holder, key = _holder(result, path)
        holder[key] = value
    return result


def contains(domain: Domain, value: Any) -> bool:
    """Whether a search over the domain could propose the value."""
    if isinstance(domain, Choice):
        return any(choice == value and type(choice) is type(value) for choice in domain.choices)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return domain.low <= value <= domain.high and (not domain.integer or value == int(value))


def extremes(domain: Domain) -> tuple[Any, ...]:
    """The values that have to be valid for the whole domain to be: both ends, or every choice."""
    if isinstance(domain, Choice):
        return domain.choices
    return (_number(domain, domain.low), _number(domain, domain.high))


def size(space: Space) -> float:
    """How many different configs the space holds; infinite if anything in it is continuous."""
    return math.prod(_count(domain) for domain in space.values())


def grid(space: Space) -> Iterator[dict[str, Scalar]]:
    """Every config of a finite space, in order."""
    axes = [
        domain.choices if isinstance(domain, Choice) else range(int(domain.low), int(domain.high) + 1)
        for domain in space.values()
    ]
    for values in itertools.product(*axes):
        yield dict(zip(space, values, strict=True))


def _count(domain: Domain) -> float:
    if isinstance(domain, Choice):
        return len(domain.choices)
    return domain.high - domain.low + 1 if domain.integer else math.inf


def _number(domain: Range, value: float) -> int | float:
    return int(value) if domain.integer else value


def _holder(content: Any, path: str) -> tuple[Any, Any]:
    """The container at a path's last step, and the key or index in it."""
    at, steps = content, path.split(".")
    for depth, step in enumerate(steps):
        keys: dict[str, object]
        if isinstance(at, Mapping):
            keys = {str(key): key for key in at}
        elif isinstance(at, list | tuple):
            keys = {
                item["name"]: index for index, item in enumerate(at) if isinstance(item, Mapping) and "name" in item
            }
        else:
            keys = {}
        if step not in keys:
            where = ".".join(steps[:depth]) or "the config"
            raise InputError(f"{path}: {where} has no {step}{did_you_mean(step, keys)}")
        if depth == len(steps) - 1:
            return at, keys[step]
        at = at[keys[step]]
    raise AssertionError("a path has at least one step")
