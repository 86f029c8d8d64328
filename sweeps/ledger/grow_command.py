"""The command that goes on with a sweep on more seeds, from the command that began its last session."""

import shlex
from collections.abc import Iterator, Sequence

from sweeps.ledger.sweep_events import Command

SEEDS = "confirm.seeds"
PLACE = f"{SEEDS}=SEEDS"
"""Stands in the command for the new value, which whoever prints it fills in."""
_PROGRAM, _SET = "kdsweep", "--set"


def grow_command(command: Command | None, place: str | None = None) -> str | None:
    """A line for a shell with ``--set confirm.seeds=SEEDS``, to be pasted in any folder of the same machine.

    None where no command began the session, or one in which the field cannot be changed beside what it changes.

    Args:
        command: The command that began the last session.
        place: Where the sweep is now: of a sweep that was moved the line is a plain one.
    """
    if command is None:
        return None
    if place not in (None, command["sweep"]):
        return shlex.join([_PROGRAM, "run", f"{place}/spec.yaml", "--dir", place, _SET, PLACE])
    before, _, after = command["line"].partition(f"{_PROGRAM} ")
    words = shlex.split(after)
    if words[:1] == ["demo"]:
        inline = [word for word in words if word == "--inline"]
        words = ["run", f"{command['sweep']}/spec.yaml", "--dir", command["sweep"], *inline]
    if words[:1] != ["run"]:
        return None
    kept = list(_without_seeds(words))
    if any(change.startswith("confirm=") for change in _changes(kept)):
        return None
    end = kept.index("--") if "--" in kept else len(kept)
    line = shlex.join([_PROGRAM, *kept[:end], _SET, PLACE, *kept[end:]])
    return f"cd {shlex.quote(command['folder'])} && {before}{line}"


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
