"""Trackio: a sweep is a project, a study a group, and a trial a run; looked at with `trackio show`."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sweeps.trackers.marks import MarkedTracker
from sweeps.trackers.tracked_run import RUNNING, Epoch, TrackedRun
from sweeps.trackers.tracker import TrackedSweep


class Trackio(MarkedTracker):
    """Writes to Trackio's data base on this machine, or sends to a server of one's own or a Hugging Face Space.

    Args:
        sweep: The sweep.
        project: By default the name of the sweep.
        server: The address of a server or the id of a Space, which must be there; the token of a server is in
            TRACKIO_WRITE_TOKEN. By default TRACKIO_DIR or Trackio's folder on this machine is written.
        folder: Where it is noted what was sent; by default `trackers/trackio` in the sweep's folder.
    """

    def __init__(
        self, sweep: TrackedSweep, project: str | None = None, server: str | None = None, folder: str | None = None
    ) -> None:
        self._sweep, self._project = sweep, project or sweep.spec.name
        super().__init__(sweep.folder_for("trackio", folder))
        self._token: str | None = None
        self._client = None if server is None else self._remote(server)

    def start(self, run: TrackedRun) -> None:
        """A run begins with its config."""
        self._send(run, [self._entry(run, "start", self._held_of(run).epoch, {}, {"state": RUNNING})])
        self._note(run, state=RUNNING)

    def log(self, run: TrackedRun, epochs: Sequence[Epoch]) -> None:
        """Every epoch has an id, under which it is stored once."""
        entries = [self._entry(run, f"epoch-{epoch.number}", epoch.number, dict(epoch.values)) for epoch in epochs]
        self._send(run, entries)
        self._note(run, epoch=epochs[-1].number)

    def summarize(self, run: TrackedRun) -> None:
        """The summary becomes a part of the config, and a point at the last epoch."""
        key = "-".join(f"{value:g}" for value in run.summary.values())
        entry = self._entry(run, f"summary-{key}", run.last_epoch, dict(run.summary), {"state": run.state})
        self._send(run, [entry])
        self._note(run, summary=run.summary)

    def end(self, run: TrackedRun) -> None:
        """State and reason become a part of the config."""
        entry = self._entry(run, run.state, run.last_epoch, {}, {"state": run.state, "reason": run.reason})
        self._send(run, [entry])
        self._note(run, state=run.state)

    def close(self) -> None:
        """Nothing waits."""

    def _entry(
        self,
        run: TrackedRun,
        key: str,
        step: int,
        metrics: Mapping[str, float],
        config: Mapping[str, object] | None = None,
    ) -> dict[str, Any]:
        about = {"_Username": None, "_Created": run.began.isoformat(), "_Group": run.study}
        whole = {**run.params, **run.tags, "phase": run.phase, **run.summary}
        run_id = f"{self._sweep.id}-{run.id}"
        return {
            "project": self._project,
            "run": run.name,
            "run_id": run_id,
            "metrics": dict(metrics),
            "step": step,
            "config": None if config is None else {**whole, **config, **about},
            "log_id": f"{run_id}-{key}",
        }

    def _send(self, run: TrackedRun, entries: list[dict[str, Any]]) -> None:
        if self._client is not None:
            self._client.predict(api_name="/bulk_log", logs=entries, hf_token=self._token)
        else:
            self._store(run, entries)

    def _store(self, run: TrackedRun, entries: list[dict[str, Any]]) -> None:
        from trackio.sqlite_storage import SQLiteStorage

        times = {epoch.number: epoch.at for epoch in run.epochs_after(0)}
        at: datetime = run.ended or run.began
        SQLiteStorage.bulk_log(
            self._project,
            run.name,
            [entry["metrics"] for entry in entries],
            steps=[entry["step"] for entry in entries],
            timestamps=[times.get(entry["step"], at).isoformat() for entry in entries],
            config=next((entry["config"] for entry in entries if entry["config"]), None),
            log_ids=[entry["log_id"] for entry in entries],
            run_id=entries[0]["run_id"],
        )

    def _remote(self, server: str) -> Any:
        from huggingface_hub import get_token
        from trackio.remote_client import RemoteClient

        if server.startswith(("http://", "https://")):
            return RemoteClient(server, write_token=os.environ.get("TRACKIO_WRITE_TOKEN"))
        self._token = get_token()
        return RemoteClient(server, hf_token=self._token)
