"""The base of the trackers that cannot be asked what they hold, and so note it in files."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdtrain.runtime.atomic_files import write_atomically
from sweeps.trackers.tracked_run import Held, TrackedRun

_SUFFIX = ".held.json"


class MarkedTracker:
    """Notes what it holds of a run in a file, once it has taken it.

    A tracker derives from it, and calls `_note` at the end of each of its methods that take something.

    Args:
        marks: The folder of these files, which need not exist.
    """

    def __init__(self, marks: Path) -> None:
        self._marks = marks
        self._held: dict[str, Held] = {}

    def held(self) -> Mapping[str, Held]:
        """See `sweeps.trackers.tracker.Tracker`."""
        self._held = dict(Held.from_json(path.read_bytes()) for path in self._marks.rglob(f"*{_SUFFIX}"))
        return self._held

    def _held_of(self, run: TrackedRun) -> Held:
        """What is held of a run; nothing before it starts."""
        return self._held.get(run.id, Held())

    def _note(self, run: TrackedRun, **changes: Any) -> None:
        """Note what is held from now on; call this after the tracker has taken it.

        Args:
            run: The run.
            changes: The fields of `Held` that change.
        """
        held = replace(self._held_of(run), **changes)
        self._held[run.id] = held
        folder = self._mark_folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{run.id}{_SUFFIX}", held.to_json(run.id).encode())

    def _mark_folder(self, run: TrackedRun) -> Path:
        """Where the file of a run lies: below the folder of all."""
        return self._marks
