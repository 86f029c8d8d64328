"""Changes of a spec or config by dotted paths, as `--set` gives them, on the content as the user wrote it.

A path may name a study, a term, a cell, a watcher or a tracker by its name, or by its index; the short forms of a spec
(a study that is only a method's name, the recommended ranges of a method, a list of choices) are written out where a
path leads into them.
"""

import contextlib
import copy
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from kdtrain.errors import InputError
from kdtrain.explain import did_you_mean
from kdtrain.foreign import is_reference
from kdtrain.methods import get_method
from kdtrain.methods.base import LATEST_RANGES, RANGES, Ranges, Units, default_name
from kdtrain.space import Choice, Range
from sweeps.spec.pulls import counterpart
from sweeps.spec.settings import written_out

_Parsed = TypeVar("_Parsed")
_NAMED = (("watchers",), ("trackers",))
"""Lists whose items have a name and options."""
_DOMAIN_FIELDS = {*Range.model_fields, *Choice.model_fields}


def overridden(
    content: Mapping[str, Any], changes: Mapping[str, Any], begun: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A copy of the content with the values at some dotted paths replaced, one after the other.

    Args:
        content: As the user wrote it.
        changes: The values by path.
        begun: The fields `units` and `ranges` of the sweep that the content continues: recommended ranges follow from
            them where the content does not have these fields.

    Raises:
        InputError: If a path leads nowhere; the sentence begins with the path.
    """
    result = copy.deepcopy(dict(content))
    for path, value in changes.items():
        steps = path.split(".")
        if not all(steps):
            raise InputError(f"{path}: must be names with single points between them")
        _replace(result, steps, copy.deepcopy(value), path, (), ChainMap(result, dict(begun or {})))
    return result


def parse_changed(
    parse: Callable[[Mapping[str, Any]], _Parsed],
    content: Mapping[str, Any],
    changes: Mapping[str, Any],
    file: str,
    begun: Mapping[str, Any] | None = None,
) -> _Parsed:
    """Read the content of a file after some changes; an error names the file, and the changes if they caused it.

    `begun` is as for `overridden`.

    Raises:
        InputError: In one sentence.
    """
    try:
        return parse(overridden(content, changes, begun))
    except InputError as error:
        blamed = file
        if changes:
            with contextlib.suppress(InputError):
                parse(content)
                blamed = f"{file}, with {', '.join(changes)} changed"
        raise InputError(f"{blamed}: {error}") from None


def overlap(path: str, other: str) -> bool:
    """Whether two dotted paths lead to the same field, or one into the field of the other."""
    return path == other or path.startswith(f"{other}.") or other.startswith(f"{path}.")


def check_apart(paths: list[str], option: str) -> None:
    """Raise InputError if two of the paths change the same field."""
    for index, path in enumerate(paths):
        for earlier in paths[:index]:
            if path == earlier:
                raise InputError(f"{option}: {path} is given twice; give it once")
            if overlap(path, earlier):
                raise InputError(f"{option}: {path} and {earlier} change the same field; give one of them")


def name_of_study(item: object) -> str | None:
    """The name of a study as it is written: its own, or that of its method; none if it has neither."""
    given = item.get("name") if isinstance(item, Mapping) else None
    method = item.get("method") if isinstance(item, Mapping) else item
    if isinstance(given, str) or not isinstance(method, str):
        return given if isinstance(given, str) else None
    return get_method(method).name if is_reference(method) else method


def _replace(
    holder: Any, steps: list[str], value: Any, path: str, done: tuple[str, ...], whole: Mapping[str, Any]
) -> None:
    key, used = _match(holder, steps, value, path, done)
    inner, rest = (*done, *steps[:used]), steps[used:]
    if not rest:
        holder[key] = value
        return
    child = _written_out(holder, key, rest, done, whole)
    if not isinstance(child, dict | list):
        raise InputError(f"{path}: {'.'.join(inner)} is {child!r}, so it has no {rest[0]}")
    holder[key] = child
    _replace(child, rest, value, path, inner, whole)


def _match(holder: Any, steps: list[str], value: Any, path: str, done: tuple[str, ...]) -> tuple[Any, int]:
    """The key or index in a holder that the first steps name, and how many steps these are."""
    names = _names(holder, done)
    for used in range(len(steps), 0, -1):
        keys = list(dict.fromkeys(names.get(".".join(steps[:used]), ())))
        if len(keys) > 1:
            raise InputError(
                f"{path}: {'.'.join(done)} has {len(keys)} items called {'.'.join(steps[:used])}; give its index, "
                "0 for the first"
            )
        if keys:
            return keys[0], used
    if isinstance(holder, list):
        if steps[0].isdecimal() and steps[0].isascii() and int(steps[0]) < len(holder):
            return int(steps[0]), 1
        known = did_you_mean(steps[0], [*names, *(str(index) for index in range(len(holder)) if not names)])
        raise InputError(f"{path}: the spec has no {steps[0]} in {'.'.join(done)} to change{known}")
    if _holds_paths(done):
        if done[-1] == "space" and steps[-1] in _DOMAIN_FIELDS and not isinstance(value, list | dict):
            where, searched = ".".join(done), ".".join(steps[:-1])
            raise InputError(
                f"{path}: {where} has no range {searched} to change{did_you_mean(searched, names)}; give a new range "
                f"whole, as in '{where}.{searched}={{low: 0.01, high: 0.1}}'"
            )
        return ".".join(steps), len(steps)
    return steps[0], 1


def _names(holder: Any, done: tuple[str, ...]) -> dict[str, list[Any]]:
    """Keys and indices by the names that a path may call them."""
    if isinstance(holder, dict):
        return {str(key): [key] for key in holder}
    names: dict[str, list[Any]] = {}
    for index, item in enumerate(holder):
        item = written_out(item) if done in _NAMED else item
        name = name_of_study(item) if done == ("studies",) else _name_of_item(item)
        if name is not None:
            names.setdefault(name, []).append(index)
    if done == ("studies",):
        by_method: dict[str, list[Any]] = {}
        for index, item in enumerate(holder):
            if isinstance(item, dict) and isinstance(method := item.get("method"), str) and method not in names:
                by_method.setdefault(method, []).append(index)
        names |= by_method
    return names


def _name_of_item(item: object) -> str | None:
    if isinstance(item, str):
        return item
    if not isinstance(item, dict):
        return None
    loss = item.get("loss")
    for name in (item.get("name"), item.get("study"), default_name(loss) if isinstance(loss, str) else None):
        if isinstance(name, str):
            return name
    return None


def _holds_paths(done: tuple[str, ...]) -> bool:
    """Whether the keys of a mapping are themselves dotted paths."""
    return done == ("space",) or (len(done) >= 3 and done[0] == "studies" and done[-1] in ("space", "set"))


def _written_out(holder: Any, key: Any, rest: list[str], done: tuple[str, ...], whole: Mapping[str, Any]) -> Any:
    """What stands under a key, in its long form if it has a short one; an empty mapping where nothing stands."""
    child = holder[key] if isinstance(holder, list) else holder.get(key)
    if isinstance(child, str) and done == ("studies",):
        return {"name": name_of_study(child), "method": child}
    if done in _NAMED:
        child = written_out(child)
    if done[:1] == ("studies",) and key == "space" and child in (None, "default"):
        other = counterpart(".".join(rest))
        return {path: domain for path, domain in _recommended(holder, whole) if path != other}
    if isinstance(child, list) and _holds_paths(done) and len(rest) == 1 and rest[0] in Choice.model_fields:
        return {"choices": child}
    return {} if child is None else child


def _recommended(study: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The ranges that a study of a spec searches where it gives none: see `Study.study_space`."""
    method, given = study.get("method"), study.get("set") or {}
    units: Units = "weight" if "weight" in (study.get("units") or whole.get("units"),) else "pull"
    ranges: Ranges = next((name for name in RANGES if name == whole.get("ranges")), LATEST_RANGES)
    search = get_method(method).defaults(units, ranges)[1] if isinstance(method, str) else {}
    decided = {*given, *(counterpart(path) for path in (*given, *(whole.get("space") or {})))}
    for path, domain in ((f"terms.{key}", domain) for key, domain in search.items()):
        if path not in decided:
            yield path, domain.model_dump()
