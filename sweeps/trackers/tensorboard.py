"""TensorBoard: one folder for each trial, in the folder of its study; looked at with `tensorboard --logdir`."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sweeps.trackers.marks import read_marks, write_mark
from sweeps.trackers.tracked_run import RUNNING, Epoch, Held, TrackedRun
from sweeps.trackers.tracker import TrackedSweep

MIOU = "miou"


class TensorBoard:
    """Writes event files.

    Args:
        sweep: The sweep.
        folder: Where; by default `trackers/tensorboard` in the sweep's folder.
    """

    def __init__(self, sweep: TrackedSweep, folder: str | None = None) -> None:
        self._folder = sweep.folder_for("tensorboard", folder)
        self._held: dict[str, Held] = {}
        self._writers: dict[str, Any] = {}

    def held(self) -> Mapping[str, Held]:
        """See `sweeps.trackers.tracker.Tracker`."""
        self._held = read_marks(self._folder) if self._folder.is_dir() else {}
        return self._held

    def start(self, run: TrackedRun) -> None:
        """The params make the run a session of the plugin HParams."""
        from tensorboardX.summary import hparams

        writer, params = self._writer(run), {name: _plain(value) for name, value in run.params.items()}
        experiment, begin, _ = hparams(params, {MIOU: 0.0})
        for summary in (experiment, begin):
            writer.file_writer.add_summary(summary, walltime=run.began.timestamp())
        for name, text in {"phase": run.phase, **run.tags}.items():
            writer.add_text(f"trial/{name}", text, walltime=run.began.timestamp())
        self._note(run, replace(self._held.get(run.id, Held()), state=RUNNING))

    def log(self, run: TrackedRun, epochs: Sequence[Epoch]) -> None:
        """Add one scalar for each metric."""
        writer = self._writer(run)
        for epoch in epochs:
            for name, value in epoch.values.items():
                writer.add_scalar(name, value, epoch.number, walltime=epoch.at.timestamp())
        self._note(run, replace(self._held[run.id], epoch=epochs[-1].number))

    def summarize(self, run: TrackedRun) -> None:
        """Add one scalar for each number, at the last epoch."""
        writer = self._writer(run)
        for name, value in run.summary.items():
            writer.add_scalar(name, value, run.last_epoch)
        self._note(run, replace(self._held[run.id], summary=run.summary))
        if self._held[run.id].state != RUNNING:
            self._writers.pop(run.id).close()

    def end(self, run: TrackedRun) -> None:
        """Add state and reason as a text."""
        from tensorboardX.summary import hparams

        writer = self._writer(run)
        ended = (run.ended or run.began).timestamp()
        writer.add_text("trial/state", f"{run.state}: {run.reason}" if run.reason else run.state, walltime=ended)
        writer.file_writer.add_summary(hparams({}, {})[2], walltime=ended)
        self._note(run, replace(self._held[run.id], state=run.state))
        self._writers.pop(run.id).close()

    def close(self) -> None:
        """Close all files."""
        for writer in self._writers.values():
            with contextlib.suppress(OSError):
                writer.close()

    def _writer(self, run: TrackedRun) -> Any:
        """The writer of a run; a new one hides what a driver wrote that was killed before it had noted it."""
        from tensorboardX import SummaryWriter

        if run.id not in self._writers:
            held, folder = self._held.get(run.id), self._folder / run.study / run.id
            purge = held.epoch + 1 if held is not None and held.state == RUNNING else None
            number = len(list(folder.glob("events.*")))  # a second file of the same second has another name
            self._writers[run.id] = SummaryWriter(str(folder), purge_step=purge, filename_suffix=f".{number:06}")
        return self._writers[run.id]

    def _note(self, run: TrackedRun, held: Held) -> None:
        self._writers[run.id].flush()
        self._held[run.id] = held
        write_mark(self._folder / run.study / run.id, run.id, held)


def _plain(value: object) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)
