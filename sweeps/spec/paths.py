"""Dotted paths into the plain content of a config, and what the domains of a search space contain."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdtrain.errors import InputError
from kdtrain.explain import did_you_mean
from kdtrain.models import Network
from kdtrain.space import Choice, Domain, Range, Scalar

Space = Mapping[str, Domain]
STUDENT = "student."
"""What the paths of a student's fields begin with."""
_OPTIONS = ["student", "options"]
"""The part of a config that may have further keys: the options of an architecture."""
_LEFT_OUT = {
    f"{STUDENT}{name}": field.default for name, field in Network.model_fields.items() if field.exclude_if is not None
}
"""Fields that the plain content of a config leaves out where they have their default."""


def lookup(content: Any, path: str) -> Any:
    """The value at a dotted path; a term is addressed by its name, as in `terms.channel_wise.weight`.

    None for an option of the student that has the default of its architecture.

    Raises:
        InputError: If there is no such path.
    """
    holder, key = _holder(content, path)
    return holder.get(key, _LEFT_OUT.get(path)) if isinstance(holder, Mapping) else holder[key]


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


def extremes(domain: Domain) -> tuple[Any, ...]:
    """The values that have to be valid for the whole domain to be: both ends, or every choice."""
    if isinstance(domain, Choice):
        return domain.choices
    return (_number(domain, domain.low), _number(domain, domain.high))


def in_words(domain: Domain) -> str:
    """A domain in words."""
    value = f"{domain.prior:g}" if isinstance(domain.prior, float) else str(domain.prior)
    sure = f"{domain.confidence} confidence" if "confidence" in domain.model_fields_set else ""
    prior = "".join(f", {each}" for each in (f"prior {value}" if domain.has_prior else "", sure) if each)
    if isinstance(domain, Choice):
        return ", ".join(map(str, domain.choices)) + prior
    kind = (", log" if domain.log else "") + (", whole" if domain.integer else "")
    return f"{domain.low:g} to {domain.high:g}{kind}{prior}"


def size(space: Space) -> float:
    """How many different configs the space holds, an int if it is finite; infinite if anything in it is continuous."""
    counts = [_count(domain) for domain in space.values()]
    return math.inf if math.inf in counts else math.prod(counts)


def config_at(space: Space, index: int) -> dict[str, Scalar]:
    """The config at an index of a finite space, from 0 to its size - 1; the last parameter changes first."""
    params: dict[str, Scalar] = {}
    for path, domain in reversed(tuple(space.items())):
        index, place = divmod(index, int(_count(domain)))
        params[path] = domain.choices[place] if isinstance(domain, Choice) else int(domain.low) + place
    return {path: params[path] for path in space}


def drawn(space: Space, shares: Sequence[float]) -> dict[str, Scalar]:
    """The config at some place of a space.

    Args:
        space: The space.
        shares: For each of its parameters how far along its domain, from 0 to 1; uniform shares give uniform configs,
            on the log scale of log ranges.
    """
    return {path: at_share(domain, share) for (path, domain), share in zip(space.items(), shares, strict=True)}


def recipe_of(space: Space) -> Space:
    """The part of a space that does not belong to a method's terms: the same question in every study."""
    return {path: domain for path, domain in space.items() if not path.startswith("terms.")}


def shares(space: Space, params: Mapping[str, Any]) -> list[float]:
    """How far along its domain each parameter lies, from 0 to 1: shares at which `drawn` gives these parameters."""
    return [share_of(domain, params[path]) for path, domain in space.items()]


def identity(space: Space, params: Mapping[str, Scalar]) -> tuple[object, ...]:
    """What makes parameters the same: numbers of a range by their value, choices by value and type."""
    return tuple(
        repr(params.get(path)) if isinstance(domain, Choice) else params.get(path) for path, domain in space.items()
    )


def at_share(domain: Domain, share: float) -> Scalar:
    """The value at a share of a domain, see `drawn`."""
    if isinstance(domain, Choice):
        return domain.choices[min(int(share * len(domain.choices)), len(domain.choices) - 1)]
    low, high, _ = own_scale(domain)
    if domain.integer and not domain.log:
        return min(int(domain.low) + int(share * (high - low)), int(domain.high))
    value = low + share * (high - low)
    value = min(max(math.exp(value) if domain.log else value, domain.low), domain.high)
    return round(value) if domain.integer else value


def share_of(domain: Domain, value: Any) -> float:
    """How far along a domain a value lies, from 0 to 1; see `shares`."""
    if isinstance(domain, Choice):
        place = next(n for n, choice in enumerate(domain.choices) if choice == value and type(choice) is type(value))
        return (place + 0.5) / len(domain.choices)
    low, high, scaled = own_scale(domain)
    return min(max((scaled(value) - low) / (high - low), 0.0), 1.0)


def own_scale(domain: Range) -> tuple[float, float, Callable[[float], float]]:
    """Where the shares 0 and 1 of a range lie on its own scale, and how values come there.

    Whole numbers that are not on a log scale have equal parts, which end half a step beyond the outer numbers.
    """
    if domain.log:
        return math.log(domain.low), math.log(domain.high), math.log
    beyond = 0.5 if domain.integer else 0.0
    return domain.low - beyond, domain.high + beyond, float


def _count(domain: Domain) -> float:
    if isinstance(domain, Choice):
        return len(domain.choices)
    return int(domain.high) - int(domain.low) + 1 if domain.integer else math.inf


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
        if depth == len(steps) - 1 and (steps[:-1] == _OPTIONS or path in _LEFT_OUT) and isinstance(at, Mapping):
            return at, step
        if step not in keys:
            where = ".".join(steps[:depth]) or "the config"
            raise InputError(f"{path}: {where} has no {step}{did_you_mean(step, keys)}")
        if depth == len(steps) - 1:
            return at, keys[step]
        at = at[keys[step]]
    raise AssertionError("a path has at least one step")
