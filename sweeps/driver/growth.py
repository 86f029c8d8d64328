"""What may change in the spec of a sweep that was begun: it may grow, but what ran must stay valid."""

import contextlib
import reprlib
from collections.abc import Mapping
from typing import Any

from kdtrain.errors import InputError
from sweeps.ledger.state import SweepState
from sweeps.spec.spec import SweepSpec, parse_spec
from sweeps.store.store import Store

PLACE = ("resources", "retries", "teacher.path")
"""May differ: they change no result of a trial, nor how many there are."""
FREE = (*PLACE, "budget", "confirm")
"""May differ until a selection is frozen: they change no result of a trial, only how many there are, or where."""


def grown(state: SweepState, spec: SweepSpec, sweep: Store) -> list[str]:
    """What has grown in a sweep that was begun, in words.

    Raises:
        InputError: As `growth`, and if anything grows that could lead to another selection than the frozen one.
    """
    changes = growth(state.sweep["spec"], spec, str(sweep))
    more = [change for change in changes if not change.startswith(PLACE)]
    if state.frozen is not None and more:
        raise InputError(
            f"the selection of {sweep} was frozen at {state.frozen['at'][:16]} and the sweep cannot grow any more "
            f"({more[0]}); start a new sweep in another --dir, or run {sweep}/spec.yaml to go on with this one"
        )
    return changes


def growth(old: Mapping[str, Any], new: SweepSpec, where: str) -> list[str]:
    """What has grown, in words; nothing if nothing has changed.

    Args:
        old: The spec as the ledger has it, in plain values.
        new: The spec as it is given now.
        where: The sweep, for messages.

    Raises:
        InputError: If a field has changed on which trials that ran depend.
    """
    with contextlib.suppress(InputError):  # so that a field that is new to this version has its default
        old = parse_spec(old).model_dump(mode="json")
    content = new.model_dump(mode="json")
    known = {study["name"]: study for study in old["studies"]}
    given = {study["name"]: study for study in content["studies"]}
    if lost := [name for name in known if name not in given]:
        raise InputError(
            f"{where} already holds the sweep {old['name']} with the study {lost[0]}, which is missing now; "
            f"{_way_out(where)}"
        )
    cells = content["cells"][: len(old["cells"])]
    same = {**content, "studies": [given[name] for name in known], "cells": cells}
    if found := difference(old, same, skip=FREE):
        path, was, now = found
        raise InputError(
            f"{where} already holds the sweep {old['name']}, in which {path} is {was} and not {now}; {_way_out(where)}"
        )
    changes = [f"study {name} is new" for name in given if name not in known]
    for field in FREE:
        before, after = _at(old, field), _at(content, field)
        if found := difference(before, after, tuple(field.split("."))):
            changes.append(f"{found[0]}: {found[1]} -> {found[2]}")
    return changes


def difference(
    old: Any, new: Any, path: tuple[str, ...] = (), skip: tuple[str, ...] = ()
) -> tuple[str, str, str] | None:
    """The first dotted path at which two plain values differ, and both values there, shortened."""
    if ".".join(path) in skip or old == new:
        return None
    pairs: list[tuple[str, Any, Any]] = []
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        pairs = [(str(key), old.get(key), new.get(key)) for key in {**old, **new}]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(_label(one, index), one, other) for index, (one, other) in enumerate(zip(old, new, strict=True))]
    if not pairs:
        return ".".join(path), reprlib.repr(old), reprlib.repr(new)
    found = (difference(one, other, (*path, label), skip) for label, one, other in pairs)
    return next((difference for difference in found if difference), None)


def _label(item: Any, index: int) -> str:
    return str(item["name"]) if isinstance(item, Mapping) and "name" in item else str(index)


def _at(content: Mapping[str, Any], path: str) -> Any:
    found: Any = content
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _way_out(where: str) -> str:
    return (
        "what may change in a sweep that was begun: budget, confirm, resources, retries, and studies may be added; "
        f"choose another --dir, or run {where}/spec.yaml to go on with it"
    )
