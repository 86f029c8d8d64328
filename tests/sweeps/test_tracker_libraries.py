"""The trackers on the real libraries, each with a folder, a data base or a server of this machine."""

import os
import socket
import sqlite3
import struct
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace

import pytest
from sweep_command import NETWORK, Command, streets

from sweeps.launch.inline import run_inline
from sweeps.ledger.read_state import read_state
from sweeps.store.store import Store
from sweeps.testing import check_tracker
from sweeps.trackers.find import make_feeds

SMALL = {"studies": ["none", "kd"], "budget": {"trials": 3}, "confirm": {"top": 1, "seeds": 2}, "train": {"epochs": 3}}


def run_twice(fake, folder, tracker):
    """A sweep whose driver is killed once, shown by a tracker; returns its state."""
    spec, left = fake.make_spec(**SMALL, trackers=[tracker]), [8]
    notices = []

    def kill(config, number):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    for train in (fake.FakeTrain(before=kill), fake.FakeTrain()):
        (feed,) = make_feeds(spec, Store(folder), notices.append)
        feed._close_s = 120.0  # the machines that run tests may be slow
        try:
            with fake.open_driver(spec, folder, watchers=[feed]) as driver:
                run_inline(driver, train)
        except KeyboardInterrupt:
            time.sleep(0.5)
        finally:
            feed.close()
    assert notices == []
    return read_state(folder).state


def winner(state):
    """The searched trial with the best mean on fresh seeds, and this mean."""
    fresh = {}
    for trial in state.trials.values():
        if trial.candidate_of:
            fresh.setdefault(trial.candidate_of, []).append(trial.score)
    return {name: sum(scores) / len(scores) for name, scores in fresh.items()}


def curves(state):
    return {
        trial.id: {epoch: report.metrics["miou"] for epoch, report in trial.reports.items()}
        for trial in state.trials.values()
    }


def hyperparameters(content):
    """Of the session that TensorBoard's plugin HParams reads."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    values = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def test_tensorboard(fake, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    check_tracker("tensorboard", tmp_path / "check")
    state = run_twice(fake, tmp_path / "d", "tensorboard")
    shown, means = {}, {}
    for folder in sorted((tmp_path / "d/trackers/tensorboard").glob("*/*")):
        read = EventAccumulator(str(folder)).Reload()
        name = folder.name.rpartition("-")[0]
        begin = read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        trial = state.trials[name]
        assert hyperparameters(begin) == {"study": trial.study, "phase": trial.phase, **trial.params}
        events = read.Scalars("miou")
        shown[name] = {event.step: pytest.approx(event.value, abs=1e-6) for event in events}
        assert len(events) == len(shown[name]), "each epoch once"
        if "fresh/mean" in read.Tags()["scalars"]:
            means[name] = pytest.approx(read.Scalars("fresh/mean")[-1].value, abs=1e-6)
        assert any(tag.startswith("trial/state") for tag in read.Tags()["tensors"])
    assert shown == curves(state)
    assert means == winner(state)


def ended_run(fake, folder):
    """The spec of a small sweep, and its first run as trackers see it at the end."""
    from sweeps.trackers.tracked_run import tracked_run

    spec = fake.make_spec(**SMALL)
    with fake.open_driver(spec, folder) as driver:
        run_inline(driver, fake.FakeTrain())
        return spec, tracked_run(spec, driver.state, "none-0")


def test_tensorboard_has_every_noted_epoch_and_hides_what_a_killed_driver_did_not_note(fake, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from sweeps.trackers.tensorboard import TensorBoard
    from sweeps.trackers.tracker import TrackedSweep

    spec, run = ended_run(fake, tmp_path / "d")
    folder, epochs = tmp_path / "tensorboard/none" / run.id, run.epochs_after(0)
    mark = folder / f"{run.id}.held.json"

    def shown():
        events = EventAccumulator(str(folder)).Reload().Scalars("miou")
        return [(event.step, pytest.approx(event.value, abs=1e-6)) for event in events]

    right = [(epoch.number, epoch.values["miou"]) for epoch in epochs]
    killed = TensorBoard(TrackedSweep("s", spec, tmp_path))
    killed.held()
    killed.start(run)
    killed.log(run, epochs[:1])
    noted = mark.read_bytes()
    assert shown() == right[:1], "a noted epoch is in the file before the file is closed"
    killed.log(run, [replace(epoch, values={"miou": 0.9}) for epoch in epochs[1:]])
    mark.write_bytes(noted)  # as if the driver was killed before the note
    resumed = TensorBoard(TrackedSweep("s", spec, tmp_path))
    assert resumed.held()[run.id].epoch == 1
    resumed.log(run, epochs[1:])
    resumed.end(run)
    assert shown() == right


def assert_mlflow(client, state):
    (experiment,) = client.search_experiments(filter_string="name = 'five'")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == set(state.trials) | {"none", "kd"}
    shown = {
        name: {metric.step: metric.value for metric in client.get_metric_history(runs[name].info.run_id, "miou")}
        for name in state.trials
    }
    assert shown == curves(state)
    history = client.get_metric_history(runs["kd-0"].info.run_id, "miou")
    assert len(history) == len({metric.step for metric in history}), "each epoch once"
    for trial in state.trials.values():
        run = runs[trial.id]
        assert run.data.tags["mlflow.parentRunId"] == runs[trial.study].info.run_id
        assert run.data.params == {name: str(value) for name, value in trial.params.items()}
        assert (run.info.status, run.data.tags["state"]) == ("FINISHED", "complete")
    means = {name: run.data.metrics["fresh/mean"] for name, run in runs.items() if "fresh/mean" in run.data.metrics}
    assert means == winner(state)
    assert [runs[name].data.metrics["winner"] for name in sorted(means, key=means.get)] == [0.0, 1.0]


def test_mlflow_in_a_data_base(fake, tmp_path):
    from mlflow import MlflowClient

    check_tracker("mlflow", uri=f"sqlite:///{tmp_path}/check.db")
    state = run_twice(fake, tmp_path / "d", "mlflow")
    assert_mlflow(MlflowClient(f"sqlite:///{tmp_path}/d/trackers/mlflow/mlflow.db"), state)


def test_wandb_offline(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_tracker("wandb", tmp_path / "check")
    state = run_twice(fake, tmp_path / "d", {"wandb": {"mode": "offline"}})
    shown, groups, configs, summaries = {}, {}, {}, {}
    for file in sorted((tmp_path / "d/trackers/wandb").rglob("run-*.wandb")):
        if file.parent.is_symlink():
            continue
        for record in written_records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                name = record.run.display_name
                groups[name] = record.run.run_group
                configs[name] = {item.key: item.value_json for item in record.run.config.update}
            elif kind == "history":
                values = {".".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
                epochs = shown.setdefault(name, {})
                assert int(values["_step"]) not in epochs, "each epoch once"
                epochs[int(values["_step"])] = float(values["miou"])
            elif kind == "summary":
                summaries.setdefault(name, {}).update(
                    {".".join(item.nested_key) or item.key: item.value_json for item in record.summary.update}
                )
    assert shown == curves(state)
    assert groups == {trial.id: trial.study for trial in state.trials.values()}
    assert float(configs["kd-0"]["optimizer.lr"]) == state.trials["kd-0"].params["optimizer.lr"]
    means = {name: float(values["fresh/mean"]) for name, values in summaries.items() if "fresh/mean" in values}
    assert means == winner(state)
    assert {values["state"] for values in summaries.values()} == {'"complete"'}


def wandb_records(file):
    """The records of a file of W&B: a log in the format of LevelDB."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, parts = file.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield Record.FromString(parts)
            parts = b""


def written_records(file):
    """The records of a run that has ended, once the process of W&B has written them all."""
    until = time.monotonic() + 60
    while not (records := list(wandb_records(file))) or records[-1].WhichOneof("record_type") != "exit":
        assert time.monotonic() < until, f"{file} has no end"
        time.sleep(0.05)
    return records


@pytest.fixture
def trackio_folder(tmp_path, monkeypatch):
    folder = tmp_path / "trackio"
    for module in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setenv("TRACKIO_DIR", str(folder))
    return folder


def assert_trackio(file, state):
    with sqlite3.connect(file) as base:
        rows = base.execute("select run_name, step, json_extract(metrics, '$.miou') from metrics").fetchall()
        configs = dict(base.execute("select run_name, config from configs").fetchall())
        means = dict(
            base.execute(
                "select run_name, json_extract(config, '$.\"fresh/mean\"') from configs "
                "where json_extract(config, '$.\"fresh/mean\"') is not null"
            ).fetchall()
        )
    shown = {}
    for name, step, value in rows:
        if value is not None:
            assert step not in shown.setdefault(name, {}), "each epoch once"
            shown[name][step] = value
    assert shown == curves(state)
    assert means == winner(state)
    assert set(configs) == set(state.trials)


def test_trackio_on_this_machine(fake, tmp_path, trackio_folder):
    check_tracker("trackio", tmp_path / "check")
    state = run_twice(fake, tmp_path / "d", "trackio")
    assert_trackio(trackio_folder / "five.db", state)


def test_optuna_in_a_journal_and_a_data_base(fake, tmp_path):
    import optuna

    check_tracker("optuna", storage=f"sqlite:///{tmp_path}/check.db")
    check_tracker("optuna", tmp_path / "check")
    state = run_twice(fake, tmp_path / "d", {"optuna": {"storage": str(tmp_path / "all.journal")}})
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "all.journal")))
    searched = {name: trial for name, trial in state.trials.items() if trial.candidate_of is None}
    shown, means = {}, {}
    for study in ("none", "kd"):
        opened = optuna.load_study(study_name=f"{state.sweep.sweep_id}/{study}", storage=storage)
        for trial in opened.trials:
            name = trial.user_attrs["trial_id"]
            assert name not in shown
            shown[name] = trial.intermediate_values
            assert trial.params == searched[name].params
            assert (trial.state.name, trial.value) == ("COMPLETE", searched[name].score)
        summaries = {name: values for name, values in opened.user_attrs.items() if "fresh/mean" in values}
        means |= {name: values["fresh/mean"] for name, values in summaries.items()}
    assert shown == {name: curve for name, curve in curves(state).items() if name in searched}
    assert means == winner(state)


def test_a_trial_that_optuna_has_ended_goes_on_in_a_copy(fake, tmp_path):
    import optuna

    from sweeps.trackers.optuna import OptunaStorage
    from sweeps.trackers.tracked_run import RUNNING
    from sweeps.trackers.tracker import TrackedSweep

    spec, run = ended_run(fake, tmp_path / "d")
    tracker = OptunaStorage(TrackedSweep("s", spec, tmp_path))
    from dataclasses import replace

    tracker.start(run)
    tracker.end(replace(run, state="failed", reason="an error"))
    tracker.start(replace(run, state=RUNNING))
    tracker.end(run)
    assert tracker.held()[run.id].state == "complete"
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "optuna/optuna.journal"))
    study = optuna.load_study(study_name="s/none", storage=optuna.storages.JournalStorage(backend))
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]
    assert study.trials[0].intermediate_values == study.trials[1].intermediate_values


@pytest.fixture
def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(address, process):
    for _ in range(600):
        assert process.poll() is None, "the server has ended"
        try:
            urllib.request.urlopen(address, timeout=2)
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{address} does not answer")


@pytest.mark.slow
def test_a_server_of_trackio(fake, tmp_path, trackio_folder, free_port, monkeypatch):
    monkeypatch.setenv("TRACKIO_WRITE_TOKEN", "of-the-test")
    code = (
        "import trackio; trackio.show(open_browser=False, block_thread=True, host='127.0.0.1', "
        f"server_port={free_port})"
    )
    server = subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ), stdout=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{free_port}"
        wait_for(address, server)
        state = run_twice(fake, tmp_path / "d", {"trackio": {"server": address}})
        assert_trackio(trackio_folder / "five.db", state)
    finally:
        server.terminate()
        server.wait(60)


@pytest.mark.slow
def test_tensorboard_has_each_epoch_once_after_real_kills(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    spec = {
        "name": "killed",
        "data": streets(8, 4),
        "student": NETWORK,
        "train": {"epochs": 12, "batch_size": 4, "evaluate_every": 1},
        "space": {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}},
        "studies": ["none"],
        "budget": {"trials": 2},
        "confirm": {"top": 1, "seeds": 2},
        "trackers": ["tensorboard"],
    }
    sweep = tmp_path / "sweep"
    command = Command(tmp_path, spec, str(sweep), inline=True)
    for records in (12, 40):  # in the middle of a trial
        command.kill_after(records)
    command.finish()
    state = read_state(sweep).state
    expected = curves(state)
    assert sum(len(curve) for curve in expected.values()) == 4 * 12
    shown = {}
    for folder in sorted((sweep / "trackers/tensorboard").glob("*/*")):
        events = EventAccumulator(str(folder)).Reload().Scalars("miou")
        steps = [event.step for event in events]
        assert steps == sorted(set(steps)), "each epoch once"
        shown[folder.name.rpartition("-")[0]] = {event.step: pytest.approx(event.value, abs=1e-6) for event in events}
    assert shown == expected
    assert len(list((sweep / "trackers/tensorboard").rglob("events.*"))) > len(shown), "no trial was resumed"
