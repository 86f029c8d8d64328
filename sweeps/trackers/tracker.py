"""What a tracker is: five methods, which a background thread calls.

A third-party tracker is made by a function or class, which a spec names in `trackers`:

    class MyTracker:
        def __init__(self, sweep: TrackedSweep, **options) -> None: ...
        def held(self) -> Mapping[str, Held]: ...
        def start(self, run: TrackedRun) -> None: ...
        def log(self, run: TrackedRun, epochs: Sequence[Epoch]) -> None: ...
        def summarize(self, run: TrackedRun) -> None: ...
        def end(self, run: TrackedRun) -> None: ...
        def close(self) -> None: ...

An installed package offers it by an entry point of the group `kdsweep.trackers`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kdtrain.errors import InputError
from sweeps.spec.spec import SweepSpec
from sweeps.trackers.tracked_run import Epoch, Held, TrackedRun


@dataclass(frozen=True)
class TrackedSweep:
    """The sweep that a tracker shows.

    Attributes:
        id: Names it among all sweeps; the name and a digest.
        spec: Its spec.
        folder: Where a tracker may keep files; none where the sweep is in an object store.
    """

    id: str
    spec: SweepSpec
    folder: Path | None

    def folder_for(self, tracker: str, given: str | None) -> Path:
        """The folder of a tracker: the given one, else one in the sweep's folder.

        Raises:
            InputError: If none is given and the sweep is in an object store.
        """
        if given is not None:
            return Path(given).expanduser()
        if self.folder is None:
            raise InputError(
                f"trackers: {tracker} needs a folder, because the sweep is in an object store: "
                f"write trackers: [{{{tracker}: {{folder: PATH}}}}]"
            )
        return self.folder / tracker


class Tracker(Protocol):
    """Shows a sweep. Every method may raise what it wants: the sweep goes on, and the call is made again later.

    So every method holds if it is called again for the same run, also after a part of it was done. A driver may be
    killed between any two calls; the next driver asks `held` and sends what is lacking.
    """

    def held(self) -> Mapping[str, Held]:
        """What is there of this sweep, by the id of the run; empty for a new sweep."""

    def start(self, run: TrackedRun) -> None:
        """Begin a run with its params and tags in the group of its study, or open it again after it had ended."""

    def log(self, run: TrackedRun, epochs: Sequence[Epoch]) -> None:
        """Add epochs, in order, none of which is there."""

    def summarize(self, run: TrackedRun) -> None:
        """Show the summary of a run, which may have ended before."""

    def end(self, run: TrackedRun) -> None:
        """End a run in its state, with its reason."""

    def close(self) -> None:
        """Write what still waits, and give everything back; no other method is called afterwards."""
