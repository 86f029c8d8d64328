"""The command that goes on with a sweep on more seeds, from the command that began its last session."""

import shlex
from collections.abc import Iterator, Sequence

from analysis.tables.commands import carried_options
from sweeps.ledger.sweep_events import Command

SEEDS = "confirm.seeds"
PLACE = f"{SEEDS}=SEEDS"
"""Stands in the command for the new value, which whoever prints it fills in."""
_PROGRAM, _SET = "kdsweep", "--set"
_VALUES = ("--device", "--threads", "--workers", "--address")
_FLAGS = ("--inline", "--trust", "--no-rehearsal")


def grow_command(command: Command | None, place: str | None = None) -> str | None:
    """A line for a shell with ``--set confirm.seeds=SEEDS``, to be pasted in any folder of the same machine.

    It is the command that began the last session, with the new value. Where there is none, where the sweep was moved,
    or where that command sets `confirm` as a whole, it runs the spec that the sweep keeps, with the same data and
    trust. None for a sweep that no command began and whose place is not known.

    Args:
        command: The command that began the last session.
        place: Where the sweep is now; None for where it was begun.
    """
    if command is None:
        return None if place is None else f"{kept_spec_command(None, place)} {_SET} {PLACE}"
    before, _, after = command["line"].partition(f"{_PROGRAM} ")
    words = shlex.split(after)
    kept = list(_without_seeds(words))
    sets_whole = any(change.startswith("confirm=") for change in _changes(kept))
    if place not in (None, command["sweep"]) or words[:1] != ["run"] or sets_whole:
        return f"{kept_spec_command(command, place or command['sweep'])} {_SET} {PLACE}"
    end = kept.index("--") if "--" in kept else len(kept)
    line = shlex.join([_PROGRAM, *kept[:end], _SET, PLACE, *kept[end:]])
    return f"cd {shlex.quote(command['folder'])} && {before}{line}"


def kept_spec_command(command: Command | None, place: str) -> str:
    """A line for a shell that runs the spec which a sweep keeps in its folder, with its data and trust.

    Args:
        command: The command that began the last session; of None, and of a program's, nothing is taken over.
        place: Where the sweep is.
    """
    before, options = "", list[str]()
    if command is not None:
        before, _, after = command["line"].partition(f"{_PROGRAM} ")
        words = shlex.split(after)
        is_ours = words[:1] in (["run"], ["demo"])
        before = before if is_ours else ""
        options = list(carried_options(words, command["folder"], _VALUES, _FLAGS)) if is_ours else []
    return before + shlex.join([_PROGRAM, "run", f"{place}/spec.yaml", "--dir", place, *options])


def _without_seeds(words: Sequence[str]) -> Iterator[str]:
    rest = iter(words)
    for word in rest:
        if word == _SET:
            change = next(rest, "")
            if not change.startswith(f"{SEEDS}="):
                yield from (word, change)
        elif not word.startswith(f"{_SET}={SEEDS}="):
            yield word


def _changes(words: Sequence[str]) -> Iterator[str]:
    for before, word in zip(["", *words], words, strict=False):
        if before == _SET:
            yield word
        elif word.startswith(f"{_SET}="):
            yield word.partition("=")[2]
