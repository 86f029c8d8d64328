"""TensorBoard: one folder for each trial, in the folder of its study; looked at with `tensorboard --logdir`."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeps.trackers.marks import MarkedTracker
from sweeps.trackers.tracked_run import RUNNING, Epoch, TrackedRun
from sweeps.trackers.tracker import TrackedSweep

MIOU = "miou"


class TensorBoard(MarkedTracker):
    """Writes event files.

    Args:
        sweep: The sweep.
        folder: Where; by default `trackers/tensorboard` in the sweep's folder.
    """

    def __init__(self, sweep: TrackedSweep, folder: str | None = None) -> None:
        super().__init__(sweep.folder_for("tensorboard", folder))
        self._writers: dict[str, Any] = {}

    def start(self, run: TrackedRun) -> None:
        """Study, phase and params make the run a session of the plugin HParams, which can be filtered by them."""
        from tensorboardX.summary import hparams, text

        params = {name: _plain(value) for name, value in run.params.items()}
        experiment, begin, _ = hparams({"study": run.study, "phase": str(run.phase), **params}, {MIOU: 0.0})
        texts = [text(f"trial/{name}", content) for name, content in run.tags.items()]
        self._write(run, (experiment, begin, *texts), run.began.timestamp())
        self._note(run, state=RUNNING)

    def log(self, run: TrackedRun, epochs: Sequence[Epoch]) -> None:
        """Add one scalar for each metric."""
        from tensorboardX.summary import scalar

        for epoch in epochs:
            scalars = [scalar(name, value) for name, value in epoch.values.items()]
            self._write(run, scalars, epoch.at.timestamp(), epoch.number)
        self._note(run, epoch=epochs[-1].number)

    def summarize(self, run: TrackedRun) -> None:
        """Add one scalar for each number, at the last epoch."""
        from tensorboardX.summary import scalar

        scalars = [scalar(name, value) for name, value in run.summary.items()]
        self._write(run, scalars, time.time(), run.last_epoch)
        self._note(run, summary=run.summary)
        if self._held_of(run).state != RUNNING:
            self._writers.pop(run.id).close()

    def end(self, run: TrackedRun) -> None:
        """Add state and reason as a text."""
        from tensorboardX.summary import hparams, text

        state = text("trial/state", f"{run.state}: {run.reason}" if run.reason else run.state)
        self._write(run, (state, hparams({}, {})[2]), (run.ended or run.began).timestamp())
        self._note(run, state=run.state)
        self._writers.pop(run.id).close()

    def close(self) -> None:
        """Close all files."""
        for writer in self._writers.values():
            with contextlib.suppress(OSError):
                writer.close()

    def _write(self, run: TrackedRun, summaries: Sequence[Any], at: float, step: int = 0) -> None:
        """Add summaries to the event file, of a time in seconds since 1970 and of a step."""
        from tensorboardX.proto.event_pb2 import Event

        writer = self._writer(run)
        for summary in summaries:
            writer.write_event(Event(wall_time=at, step=step, summary=summary))
        writer.flush()

    def _writer(self, run: TrackedRun) -> Any:
        """The writer of a run; a new one hides what a driver wrote that was killed before it had noted it.

        It writes at once. The queue of the library's `SummaryWriter` is not waited for by `flush`, so that a kill right
        after the note would lose events.
        """
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        if run.id not in self._writers:
            held, folder = self._held.get(run.id), self._mark_folder(run)
            folder.mkdir(parents=True, exist_ok=True)
            number = len(list(folder.glob("events.*")))  # a second file of the same second has another name
            writer = EventsWriter(str(folder / "events"), f".{number:06}")
            if held is not None and held.state == RUNNING:
                restart = SessionLog(status=SessionLog.START)
                writer.write_event(Event(wall_time=time.time(), step=held.epoch + 1, session_log=restart))
            self._writers[run.id] = writer
        return self._writers[run.id]

    def _mark_folder(self, run: TrackedRun) -> Path:
        """That of the event files of the run."""
        return self._marks / run.study / run.id


def _plain(value: object) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)
