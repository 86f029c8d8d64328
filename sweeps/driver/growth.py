"""What may change in a begun sweep: the spec may grow, but finished trials must stay valid."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.formats import plural
from kdtrain.errors import InputError
from kdtrain.space import parse_domain
from sweeps.driver.allocation import all_searches, spent_epochs, spent_trials
from sweeps.driver.differences import differences, listed
from sweeps.driver.proposals import Proposals, holds
from sweeps.driver.warm_start import changes_of, is_part_of, newly_searched, warm_started, warm_started_further, without
from sweeps.ledger.environment import TrainContext
from sweeps.ledger.event_base import Content
from sweeps.ledger.grow_command import kept_spec_command
from sweeps.ledger.read_state import read_state
from sweeps.ledger.search_name import search_name
from sweeps.ledger.state import SweepState
from sweeps.ledger.sweep_events import Command
from sweeps.ledger.trial_state import Phase, TrialState
from sweeps.spec.paths import in_words
from sweeps.spec.settings import WarmStart
from sweeps.spec.spec import SweepSpec, load_spec, parse_spec
from sweeps.store.store import Store

PLACE = ("resources", "retries", "teacher.path", "watchers", "trackers", "notes", "data.absent")
"""May differ: they change no result of a trial, nor how many there are."""
REPEATS = "repeats"
"""May grow until then: more searches with as much budget each as those that have begun."""
FREE = (*PLACE, "budget", "confirm", REPEATS, "scheduler.audit")
"""May differ until a selection is frozen: they change no result of a trial, only how many there are, or where."""
CONTROL = "control"
"""May differ until then for each study: it changes what the study is compared with, and no trial."""
SPACE = "space"
"""May differ until then, too, for all studies or for one: the search then proposes what lies in the new space."""

FORMER_DEFAULTS = ("units", "ranges", "sampler.name", "sampler.startup")
"""Their defaults have changed since the first version; a begun sweep keeps those that it began with."""
FORMER_DEFAULTS_OF_FROZEN = ("confirm.final_seeds",)
"""Such settings that may grow until a selection is frozen, and are kept from then on."""


def load_continued(path: Path | str, changes: Mapping[str, Any], sweep: Store) -> SweepSpec:
    """A spec from a file for a sweep, which may have begun: a changed range starts from the one that it searches.

    Args:
        path: The file.
        changes: Values that replace those of the file, by dotted path.
        sweep: The sweep.

    Raises:
        InputError: As `load_spec`, and if a range is changed and the sweep is damaged.
    """
    begun: Content = {}
    if any(f".{SPACE}." in change for change in changes) and (state := read_state(sweep).state).begun is not None:
        recorded = _plain(state.sweep.spec)
        begun = {field: recorded[field] for field in ("units", "ranges")}
    return load_spec(path, changes, begun)


def as_begun(spec: SweepSpec, state: SweepState) -> SweepSpec:
    """The spec as the sweep that it continues has it where it names nothing, and with the warm start of that sweep.

    That concerns the settings whose defaults have changed, see `FORMER_DEFAULTS`.

    Raises:
        InputError: If a sweep that has not begun cannot read an earlier sweep of its warm start.
    """
    before: Content = {} if state.begun is None else state.sweep.spec
    if begun_with := _former_defaults(spec, state):
        spec = parse_spec({**{name: getattr(spec, name) for name in spec.model_fields_set}, **begun_with})
    recorded = WarmStart.model_validate(before["warm_start"]) if before.get("warm_start") else None
    if recorded and spec.warm_start and is_part_of(spec.warm_start, recorded):
        return warm_started_further(spec, recorded, before)
    return warm_started(spec)


def _former_defaults(spec: SweepSpec, state: SweepState) -> Content:
    """The fields that a begun sweep has otherwise than the spec, which leaves them to their defaults."""
    if state.begun is None:
        return {}
    before, changed = _plain(state.sweep.spec), dict[str, Any]()
    for path in (*FORMER_DEFAULTS, *(FORMER_DEFAULTS_OF_FROZEN if state.frozen is not None else ())):
        field, _, name = path.partition(".")
        at_hand = changed.get(field, getattr(spec, field))
        given = field in spec.model_fields_set and (not name or name in getattr(spec, field).model_fields_set)
        former = _at(before, path)
        if not given and former is not None and former != (getattr(at_hand, name) if name else at_hand):
            changed[field] = at_hand.model_copy(update={name: former}) if name else former
    return changed


def check_begun(spec: SweepSpec, sweep: Store, state: SweepState | None = None) -> SweepState:
    """Check that a sweep can continue with a spec, before any long computation.

    Args:
        spec: The spec.
        sweep: The sweep.
        state: What it holds; it is read where it is not given.

    Returns:
        What the sweep holds.

    Raises:
        InputError: If the sweep holds something else, or is damaged.
    """
    state = read_state(sweep).state if state is None else state
    if state.begun is not None:
        grown(state, as_begun(spec, state), sweep)
    return state


def check_inputs(state: SweepState, context: TrainContext, sweep: str) -> None:
    """Check that the data and the teacher are those of the sweep's first session.

    Args:
        state: The sweep so far.
        context: Data and teacher of now.
        sweep: Where the sweep lies, for messages.

    Raises:
        InputError: If they have changed.
    """
    changes = differences(state.sweep.data, context.data)
    if changed := [f"{path} was {before} and is {after}" for path, before, after in changes]:
        raise InputError(
            f"the data have changed since {sweep} was begun: {listed(changed)}; "
            "put the data back, or start a new sweep in another --dir"
        )
    if state.teacher and context.teacher and state.teacher.digest != context.teacher.digest:
        raise InputError(
            f"teacher: {sweep} was begun with the teacher {state.teacher.digest}, but this one is "
            f"{context.teacher.digest}; put the teacher back, or start a new sweep in another --dir"
        )


def grown(state: SweepState, spec: SweepSpec, sweep: Store) -> list[str]:
    """The changes of the spec of a begun sweep, as text.

    Raises:
        InputError: As `growth`, and if anything grows that could lead to another selection than the frozen one.
    """
    changes = growth(state.sweep.spec, spec, str(sweep), state.command)
    _check_shares(state, spec, sweep)
    more = [change for change in changes if not change.startswith(PLACE)]
    if state.frozen_by is not None and more:
        raise InputError(
            f"the selection of {sweep} was frozen at {state.frozen_by.at[:16]} and the sweep cannot grow any more "
            f"({listed(more)}); start a new sweep in another --dir, or continue this sweep with "
            f"`{kept_spec_command(state.command, str(sweep))}`"
        )
    return changes


def growth(begun_with: Content, new: SweepSpec, sweep: str, command: Command | None = None) -> list[str]:
    """What has grown, in words; nothing if nothing has changed.

    Args:
        begun_with: The spec as the ledger has it, in plain values.
        new: The spec of now.
        sweep: Where the sweep lies, for messages.
        command: The command that began its last session, for the command of messages.

    Raises:
        InputError: If a field has changed on which trials that ran depend.
    """
    before, after = _plain(begun_with), _plain(new)
    studies_before = {study["name"]: study for study in before["studies"]}
    studies_after = {study["name"]: study for study in after["studies"]}
    if lost := [name for name in studies_before if name not in studies_after]:
        raise InputError(
            f"{sweep} already holds the sweep {before['name']} with the study {lost[0]}, which is missing now; "
            f"{_way_out(sweep, command)}"
        )
    cells = after["cells"][: len(before["cells"])]
    comparable = {**after, "studies": [studies_after[name] for name in studies_before], "cells": cells}
    of_studies = [f"studies.{name}.{field}" for name in studies_before for field in (SPACE, CONTROL)]
    warm_starts = []
    if before.get("warm_start") and new.warm_start:
        recorded, joined = WarmStart.model_validate(before["warm_start"]), newly_searched(new, begun_with)
        warm_starts = changes_of(recorded, new.warm_start)
        kept = [without(each, joined).model_dump(mode="json") for each in (recorded, new.warm_start)]
        before, comparable = {**before, "warm_start": kept[0]}, {**comparable, "warm_start": kept[1]}
    changed = differences(before, comparable, skip=(*FREE, SPACE, *of_studies))
    if words := [f"{path} is {was} and not {now}" for path, was, now in changed]:
        raise InputError(
            f"{sweep} already holds the sweep {before['name']}, in which {listed(words)}; {_way_out(sweep, command)}"
        )
    if after[REPEATS] < before[REPEATS]:
        raise InputError(
            f"repeats: can only grow in a sweep that was begun, and {sweep} has {before[REPEATS]} searches of each "
            f"study, got {after[REPEATS]}; start a new sweep in another --dir, or continue "
            f"this sweep with `{kept_spec_command(command, sweep)}`"
        )
    changes = [f"study {name} is new" for name in studies_after if name not in studies_before]
    for field in FREE:
        pairs = differences(_at(before, field), _at(after, field), tuple(field.split(".")))
        changes += [f"{path}: {was} -> {now}" for path, was, now in pairs]
    for place, was, now in [
        (SPACE, before[SPACE], after[SPACE]),
        *(
            (f"studies.{name}.{SPACE}", study[SPACE], studies_after[name][SPACE])
            for name, study in studies_before.items()
        ),
    ]:
        changes += _corrected(place, was, now)
    for name, study in studies_before.items():
        pairs = differences(study[CONTROL], studies_after[name][CONTROL])
        changes += [f"studies.{name}.{CONTROL}: {was} -> {now}" for _, was, now in pairs]
    return changes + warm_starts


def _check_shares(state: SweepState, spec: SweepSpec, sweep: Store) -> None:
    """Raise InputError if a search has spent more than its share of the budget: searches would not be repetitions."""
    share, before = spec.search_budget, _plain(state.sweep.spec)
    if spec.repeats == 1:
        return
    for study, search in all_searches(spec):
        for unit, spent, granted, slack in (
            ("trials", spent_trials(state, study, search), share.trials, 0.0),
            ("epochs", spent_epochs(state, study, search), share.epochs, spec.epochs[study.name] / 2),
        ):
            if granted is not None and spent > granted + slack:
                so_far = (before["budget"][unit] or 0) // before[REPEATS]
                raise InputError(
                    f"repeats: the {spec.repeats} searches of a study share its budget evenly, "
                    f"{plural(granted, unit.removesuffix('s'))} each, "
                    f"but search {search} of {study.name} in {sweep} has spent {spent}; add "
                    f"--set budget.{unit}={spec.repeats * max(spent, so_far)}, so that every search has as many"
                )


def corrections(state: SweepState, spec: SweepSpec) -> dict[str, list[str]]:
    """The begun studies whose searches start again, each with its trials that no longer belong to them.

    They start again where the space has changed; trials outside of the new space, and trials that failed, then no
    longer count against the budget. They also do where one ended before every config was tried, and keep all trials.
    """
    before = _plain(state.sweep.spec)
    left_out: dict[str, list[str]] = {}
    for name in (study["name"] for study in before["studies"]):
        space = spec.space_of(spec.study(name))
        for search in range(1, spec.repeats + 1):
            ended = search_name(name, search) in state.searches.exhausted
            if ended and not Proposals(space, state.searches.proposed(name, search)).are_all:
                left_out[name] = []
        if _spaces(before, name) != _spaces(_plain(spec), name):
            left_out[name] = [
                trial.id
                for trial in state.of_study(name, Phase.SEARCH)
                if trial.state is TrialState.FAILED or not holds(space, trial.params)
            ]
    return left_out


def _plain(spec: Content | SweepSpec) -> dict[str, Any]:
    """A spec in plain values; fields that are new to this version have their defaults."""
    if isinstance(spec, SweepSpec):
        return spec.model_dump(mode="json")
    with contextlib.suppress(InputError):
        return parse_spec(spec).model_dump(mode="json")
    return dict(spec)


def _spaces(spec: Mapping[str, Any], study: str) -> tuple[object, object]:
    """What is searched by all studies and by one, in plain values."""
    return spec[SPACE], next((each[SPACE] for each in spec["studies"] if each["name"] == study), None)


def _corrected(place: str, was: object, now: object) -> list[str]:
    """What has changed in a space, in words."""
    if not (isinstance(was, Mapping) and isinstance(now, Mapping)):
        return [] if was == now else [f"{place}: {_described(was)} -> {_described(now)}"]
    return [
        f"{place}.{path}: {_described(was.get(path))} -> {_described(now.get(path))}"
        for path in {**was, **now}
        if was.get(path) != now.get(path)
    ]


def _described(searched: object) -> str:
    if isinstance(searched, Mapping) and not ({"low", "choices"} & searched.keys()):
        return f"{{{', '.join(f'{path}: {_described(domain)}' for path, domain in searched.items())}}}"
    if searched == "default":
        return "the ranges that the method recommends"
    return "not searched" if searched is None else in_words(parse_domain(searched))


def _at(content: object, path: str) -> object:
    for step in path.split("."):
        content = content.get(step) if isinstance(content, Mapping) else None
    return content


def _way_out(sweep: str, command: Command | None) -> str:
    return (
        "what may change in a sweep that was begun: budget, confirm, scheduler.audit, space, resources, retries, "
        "watchers, trackers and notes, repeats may grow, and studies may be added; choose another --dir, or "
        f"continue the sweep with `{kept_spec_command(command, sweep)}`"
    )
