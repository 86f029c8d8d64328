"""Stopped trials that go on, and audits, with real trainings on a real Ray cluster of this machine."""

from collections import Counter
from pathlib import Path

import pytest
from sweep_command import NETWORK, Command, streets

from analysis import read_tables
from sweeps.outcome.loaded import load_state

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SPEC = {
    "name": "pause",
    "data": streets(train=16, select=6),
    "student": NETWORK,
    "train": {"epochs": 3, "batch_size": 8},
    "studies": ["none"],
    "space": {"optimizer.lr": {"low": 0.0001, "high": 0.1, "log": True}},
    "sampler": {"name": "random"},
    "budget": {"trials": 6},
    "scheduler": {"name": "halving", "factor": 2, "mode": "pause", "audit": 1.0},
    "confirm": {"top": 1, "seeds": 1},
    "resources": {"cpu": 1, "concurrent": 2},
}


def test_stopped_trials_and_audits_go_on_from_their_checkpoints(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    Command(tmp_path, SPEC, str(sweep)).finish()
    _, state = load_state(sweep)
    stops = Counter(row.trial_id for row in state.decisions if row.kind == "stopped")
    continued = [trial for trial in state.of_study("none", "search") if trial.id in stops and not trial.stopped]
    """Which they are depends on the order in which trials report; `test_tune_bridge.py` has one for certain."""
    assert [trial.attempts for trial in continued] == [1 + stops[trial.id] for trial in continued]
    audits = read_tables(sweep)["audits"]
    assert len(audits) > 0
    assert (audits["state"] == "complete").all()
    assert (audits["epochs_run"] == 3 - audits["epoch"]).all()
    for row in audits.to_dict("records"):
        stopped, audit = state.trials[row["trial_id"]], state.trials[row["audit_id"]]
        assert {epoch: audit.reports[epoch].metrics for epoch in stopped.curve} == {
            epoch: stopped.reports[epoch].metrics for epoch in stopped.curve
        }
        seconds = {epoch: audit.reports[epoch].seconds for epoch in stopped.reports}
        assert seconds == {epoch: report.seconds for epoch, report in stopped.reports.items()}, "trained anew"
