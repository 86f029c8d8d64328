"""Which numbers a field takes: a search over a field of whole numbers proposes whole numbers.

The types come from the annotations of the config's classes, those of third-party terms and data sets included. A value
without an annotation, such as an option of a network, has the type of the value that stands there.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from kdtrain.errors import InputError
from kdtrain.space import Domain, Range, parse_domain

Numbers = Literal["any", "whole", "single"]
"""All numbers between two others, whole ones alone, or only single values: true and false, or those of a list."""


def fitted(path: str, domain: Domain, config: BaseModel) -> Domain:
    """The domain as the field at the path needs it: a range over a field of whole numbers has whole numbers only.

    Args:
        path: A dotted path into the config; one that leads nowhere leaves the domain as it is.
        domain: What is searched.
        config: A config of the study, whose values decide between the members of a union.

    Raises:
        InputError: If a range is given for a field that takes only single values, or if a range of whole numbers has
            ends that are not whole.
    """
    if not isinstance(domain, Range) or domain.integer:
        return domain
    has_whole_ends = domain.low.is_integer() and domain.high.is_integer()
    annotation, value = _end_of(config, path.split("."))
    if annotation in (Any, object):
        is_whole = isinstance(value, int) and not isinstance(value, bool) and has_whole_ends
        return _whole(path, domain) if is_whole else domain
    numbers = set(_numbers(annotation))
    given = f"got low={domain.low:g}, high={domain.high:g}"
    if numbers == {"single"}:
        raise InputError(f"{path}: takes single values; give a list of them, as in [true, false], {given}")
    if "whole" not in numbers or "any" in numbers:
        return domain
    if not has_whole_ends:
        raise InputError(f"{path}: takes whole numbers, so the ends of its range must be whole, {given}")
    return _whole(path, domain)


def _whole(path: str, domain: Range) -> Domain:
    try:
        return parse_domain({**domain.model_dump(), "integer": True})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _end_of(at: Any, steps: Sequence[str], annotation: Any = Any) -> tuple[Any, Any]:
    """The annotation and the value at the end of some steps; the values on the way say which class stands there."""
    if not steps:
        return annotation, at
    step, *rest = steps
    if isinstance(at, BaseModel) and step in type(at).model_fields:
        return _end_of(getattr(at, step), rest, type(at).model_fields[step].annotation)
    if isinstance(at, Mapping) and step in at:
        arguments = get_args(annotation)
        return _end_of(at[step], rest, arguments[1] if len(arguments) == 2 else Any)
    if isinstance(at, list | tuple):
        named = [item for item in at if getattr(item, "name", None) == step]
        return _end_of(named[0], rest) if named else (Any, None)
    return Any, None


def _numbers(annotation: Any) -> Iterator[Numbers]:
    """What numbers an annotation allows; nothing where it allows none."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _numbers(arguments[0])
    elif origin in (Union, UnionType):
        for member in arguments:
            yield from _numbers(member)
    elif hasattr(annotation, "__value__"):  # of a type statement
        yield from _numbers(annotation.__value__)
    elif annotation in (Any, object):
        yield "any"
    elif origin is Literal or annotation is bool or (isinstance(annotation, type) and issubclass(annotation, Enum)):
        yield "single"
    elif isinstance(annotation, type) and issubclass(annotation, int):
        yield "whole"
    elif isinstance(annotation, type) and hasattr(annotation, "__float__"):
        yield "any"
