"""MLflow: a sweep is an experiment, a study a run of it, and a trial a run below its study's run."""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sweeps.trackers.tracked_run import INFEASIBLE, INTERRUPTED, PAUSED, RUNNING, Epoch, Held, TrackedRun
from sweeps.trackers.tracker import TrackedSweep

_STATUS = {"complete": "FINISHED", "pruned": "KILLED", PAUSED: "KILLED", INTERRUPTED: "KILLED", INFEASIBLE: "FAILED"}
"""MLflow's word for a state; other states are failures. The tag `state` has our word."""
_SWEEP, _RUN, _HELD = "kdsweep.sweep", "kdsweep.run", "kdsweep.held"
_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
"""The tag by which MLflow's page shows runs with their curves, and not its part for language models."""
_MOST_METRICS = 1000
"""Values that a server takes at once."""
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Defaults of the library's settings: a server that is away is tried again by the feed."""


class MLflow:
    """Sends to a server or a data base.

    Args:
        sweep: The sweep.
        uri: As `http://host:5000` or `sqlite:///runs.db`; by default that of MLFLOW_TRACKING_URI, or a data base in the
            sweep's folder. User and password are in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
        experiment: The name of the experiment; by default that of the sweep.
    """

    def __init__(self, sweep: TrackedSweep, uri: str | None = None, experiment: str | None = None) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._sweep, self._artifacts = sweep, None
        uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            folder = sweep.folder_for("mlflow", None)
            folder.mkdir(parents=True, exist_ok=True)
            uri, self._artifacts = f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri()
        self._client = MlflowClient(uri)
        self._experiment = self._make_experiment(experiment or sweep.spec.name)
        self._ids: dict[str, str] = {}

    def held(self) -> Mapping[str, Held]:
        """See `sweeps.trackers.tracker.Tracker`."""
        held = {}
        for run in self._runs():
            self._ids[run.data.tags[_RUN]] = run.info.run_id
            if (text := run.data.tags.get(_HELD)) is not None:
                run_id, held_of_run = Held.from_json(text)
                held[run_id] = held_of_run
        self._held = held
        return held

    def start(self, run: TrackedRun) -> None:
        """Make the run below that of its study, or open it again."""
        from mlflow.entities import Param

        parent = self._made(f"study/{run.study}", run.study, run.began, {})
        tags = {"mlflow.parentRunId": parent, "study": run.study, "phase": run.phase, **run.tags}
        run_id = self._made(run.id, run.name, run.began, tags)
        self._client.update_run(run_id, status="RUNNING")
        params = [Param(name, str(value)) for name, value in run.params.items()]
        self._batch(run, self._held.get(run.id, Held()).epoch, params=params, state=RUNNING)

    def log(self, run: TrackedRun, epochs: Sequence[Epoch]) -> None:
        """Send epochs together; the same value at the same time is stored once."""
        from mlflow.entities import Metric

        size = max(1, _MOST_METRICS // max(1, max(len(epoch.values) for epoch in epochs)))
        for first in range(0, len(epochs), size):
            some = epochs[first : first + size]
            metrics = [
                Metric(name, value, _milliseconds(epoch.at), epoch.number)
                for epoch in some
                for name, value in epoch.values.items()
            ]
            self._batch(run, some[-1].number, metrics=metrics)

    def summarize(self, run: TrackedRun) -> None:
        """Send the summary as metrics; the winner gets a tag, too."""
        from mlflow.entities import Metric

        now = _milliseconds(datetime.now().astimezone())
        metrics = [Metric(name, value, now, run.last_epoch) for name, value in run.summary.items()]
        self._batch(run, self._held[run.id].epoch, metrics=metrics, summary=run.summary)

    def end(self, run: TrackedRun) -> None:
        """End it with MLflow's status; the tags `state` and `reason` say more."""
        status, at = _STATUS.get(run.state, "FAILED"), _milliseconds(run.ended or run.began)
        if run.reason:
            self._client.set_tag(self._ids[run.id], "reason", run.reason)
        self._client.set_terminated(self._ids[run.id], status, at)
        self._batch(run, self._held[run.id].epoch, state=run.state)

    def close(self) -> None:
        """End the runs of the studies."""
        for name, run_id in self._ids.items():
            if name.startswith("study/"):
                self._client.set_terminated(run_id)

    def _batch(
        self,
        run: TrackedRun,
        epoch: int,
        state: str | None = None,
        summary: Mapping[str, float] | None = None,
        **content: Any,
    ) -> None:
        """Send values together with the note of what is then held."""
        from mlflow.entities import RunTag

        before = self._held.get(run.id, Held())
        held = Held(epoch, before.state if state is None else state, before.summary if summary is None else summary)
        tags = [RunTag(_HELD, held.to_json(run.id)), RunTag("state", held.state)]
        self._client.log_batch(self._ids[run.id], tags=tags, **content)
        self._held[run.id] = held

    def _made(self, key: str, name: str, began: datetime, tags: Mapping[str, str]) -> str:
        """MLflow's id of a run, which is made if it is not there."""
        if key not in self._ids:
            ours = {_SWEEP: self._sweep.id, _RUN: key}
            made = self._client.create_run(self._experiment, _milliseconds(began), {**tags, **ours}, name)
            self._ids[key] = made.info.run_id
        return self._ids[key]

    def _make_experiment(self, name: str) -> str:
        there = self._client.get_experiment_by_name(name)
        if there:
            return str(there.experiment_id)
        return str(self._client.create_experiment(name, self._artifacts, tags=_TRAINING))

    def _runs(self) -> Iterator[Any]:
        """All runs of the sweep."""
        token, query = None, f"tags.`{_SWEEP}` = {json.dumps(self._sweep.id)}"
        while True:
            page = self._client.search_runs([self._experiment], query, max_results=1000, page_token=token)
            yield from page
            if not (token := page.token):
                return


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
