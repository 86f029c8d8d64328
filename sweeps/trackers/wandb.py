"""Weights & Biases: a sweep is a project, a study a group, and a trial a run."""

import sys
from collections.abc import Sequence
from typing import Any

from sweeps.trackers.marks import MarkedTracker
from sweeps.trackers.tracked_run import INTERRUPTED, PAUSED, RUNNING, Epoch, TrackedRun
from sweeps.trackers.tracker import TrackedSweep

_FINISH_S = 8.0
"""Seconds in which a run may be uploaded when it ends."""


class WeightsAndBiases(MarkedTracker):
    """Sends to wandb.ai or a server of one's own, or writes a folder for `wandb sync` with `mode: offline`.

    The key is in WANDB_API_KEY, or in the settings that `wandb login` has written.

    Args:
        sweep: The sweep.
        project: By default the name of the sweep.
        entity: User or team; by default that of the login.
        mode: `online` or `offline`; by default that of WANDB_MODE.
        folder: Where files are kept; by default `trackers/wandb` in the sweep's folder.
    """

    def __init__(
        self,
        sweep: TrackedSweep,
        project: str | None = None,
        entity: str | None = None,
        mode: str | None = None,
        folder: str | None = None,
    ) -> None:
        self._sweep, self._project, self._entity, self._mode = sweep, project or sweep.spec.name, entity, mode
        self._folder = sweep.folder_for("wandb", folder)
        super().__init__(self._folder / "held")
        self._open: dict[str, Any] = {}

    def start(self, run: TrackedRun) -> None:
        """Begin the run, or go on with the one of its id."""
        self._opened(run)
        self._note(run, state=RUNNING)

    def log(self, run: TrackedRun, epochs: Sequence[Epoch]) -> None:
        """A step is an epoch; a step that a killed driver has sent before is not counted again."""
        opened = self._opened(run)
        for epoch in epochs:
            opened.log(dict(epoch.values), step=epoch.number)
        self._note(run, epoch=epochs[-1].number)

    def summarize(self, run: TrackedRun) -> None:
        """The summary of the run."""
        opened = self._opened(run)
        opened.summary.update(dict(run.summary))
        self._note(run, summary=run.summary)
        if self._held_of(run).state != RUNNING:
            self._finish(run)

    def end(self, run: TrackedRun) -> None:
        """State and reason are in the summary; a run that is not complete or pruned ends with an error."""
        opened = self._opened(run)
        opened.summary.update({"state": run.state, "reason": run.reason})
        self._note(run, state=run.state)
        self._finish(run)

    def close(self) -> None:
        """Finish what is open."""
        for opened in self._open.values():
            opened.finish()

    def _finish(self, run: TrackedRun) -> None:
        opened = self._open.pop(run.id)
        if run.state in (INTERRUPTED, PAUSED):
            opened.mark_preempting()
        opened.finish(exit_code=0 if run.state in ("complete", "pruned") else 1)

    def _opened(self, run: TrackedRun) -> Any:
        import wandb

        if run.id not in self._open:
            self._folder.mkdir(parents=True, exist_ok=True)
            settings = wandb.Settings(
                root_dir=str(self._folder),
                silent=True,
                console="off",
                finish_timeout=_FINISH_S,
                init_timeout=_FINISH_S,
                disable_git=True,
                disable_code=True,
                save_code=False,
                x_save_requirements=False,
                x_disable_meta=True,  # it would hold the command line and the name of the user
                x_disable_machine_info=True,
                x_disable_stats=True,
            )
            mode: Any = self._mode
            hooks = sys.exit, sys.excepthook
            self._open[run.id] = wandb.init(
                project=self._project,
                entity=self._entity,
                mode=mode,
                id=f"{self._sweep.id}-{run.id}",
                name=run.name,
                group=run.study,
                job_type=run.phase,
                config={**run.params, **run.tags},
                resume="allow",
                reinit="create_new",
                settings=settings,
            )
            sys.exit, sys.excepthook = hooks  # which W&B replaces
        return self._open[run.id]
