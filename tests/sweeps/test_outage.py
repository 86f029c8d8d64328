"""Inputs of a sweep that are away for a while: trials wait for them, and none fails for good."""

import errno
import os
import shlex
import shutil
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from sweep_command import NETWORK, NETWORKS, Command

import sweeps.run
from kdtrain import Machine
from kdtrain.errors import InputError, MissingError, StorageError
from kdtrain.models import Network, build_network
from kdtrain.teacher import save_model
from sweeps import run_sweep
from sweeps.attempt.signals import Interrupted, StopRequest
from sweeps.cli import main
from sweeps.driver.driver import WAIT
from sweeps.ledger import trial_events
from sweeps.ledger.failure import Crash, recorded_failure
from sweeps.ledger.trial_state import Phase, TrialState
from sweeps.outcome.failures import failed_by_cause
from sweeps.outcome.loaded import load_state
from sweeps.outcome.results import Results
from sweeps.spec.spec import parse_spec

CLASSES = ("road", "car")


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch):
    monkeypatch.syspath_prepend(NETWORKS)
    monkeypatch.setattr("sweeps.driver.outage.PAUSE_S", 0.05)
    monkeypatch.setattr("sweeps.launch.inline._LOOK_EVERY_S", 0.02)


class Lab:
    """A sweep whose inputs all lie in folders that can be moved."""

    def __init__(self, root: Path) -> None:
        self.root, self.sweep = root, root / "D"
        rng = np.random.default_rng(0)
        for role, count in (("train", 4), ("select", 2)):
            for kind, shape, top in (("images", (32, 48, 3), 256), ("labels", (32, 48), 2)):
                folder = root / "data" / role / kind
                folder.mkdir(parents=True)
                for index in range(count):
                    Image.fromarray(rng.integers(0, top, shape).astype(np.uint8)).save(folder / f"{index}.png")
        (root / "data" / "more").mkdir()
        Image.fromarray(rng.integers(0, 256, (32, 48, 3)).astype(np.uint8)).save(root / "data" / "more" / "0.png")
        net = build_network(Network(**NETWORK), 2)
        facts = {"network": NETWORK, "classes": CLASSES, "trained_on": "folder", "role": None}
        save_model(root / "teacher", net.net, facts)
        (root / "weights").mkdir()
        (root / "weights" / "start.safetensors").write_bytes((root / "teacher" / "weights.safetensors").read_bytes())
        self.spec = parse_spec(
            {
                "name": "lab",
                "data": {
                    "name": "folder",
                    "classes": list(CLASSES),
                    "folders": {
                        role: {"images": f"{role}/images", "labels": f"{role}/labels"} for role in ("train", "select")
                    },
                },
                "student": {**NETWORK, "weights": str(root / "weights" / "start.safetensors")},
                "teacher": {"path": str(root / "teacher")},
                "train": {"epochs": 1, "batch_size": 2, "unlabelled": {"images": "more", "per_batch": 1}},
                "studies": ["kd"],
                "space": {"optimizer.lr": {"low": 0.01, "high": 0.1, "log": True}},
                "budget": {"trials": 3},
                "confirm": {"top": 0},
                "replay": {"gigabytes": 0},
                "retries": 0,
            }
        )

    def run(self, stop: StopRequest | None = None):
        machine = Machine(data_root=self.root / "data", cache=self.root / "cache", threads=1)
        self.said = []
        console = Console(quiet=True)
        console.print = lambda *words, **options: self.said.append(" ".join(map(str, words)))
        return run_sweep(self.spec, self.sweep, machine, inline=True, console=console, stop=stop)

    def states(self):
        return [trial.state for trial in load_state(self.sweep)[1].trials.values()]


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setattr("sweeps.run.conclude", lambda *arguments: Results("D/report", None, None))
    return Lab(tmp_path)


def away_in_second_trial(lab, monkeypatch, path, after, then=None):
    """Move a file or folder away before the second trial is trained.

    So many seconds later call `then`, by default to put it back; never if `after` is none.
    """
    real, calls = sweeps.run.train, []
    hidden = path.with_name("hidden")

    def train(*arguments):
        calls.append(1)
        if len(calls) == 2:
            path.rename(hidden)
            if after is not None:
                threading.Timer(after, then or partial(hidden.rename, path)).start()
        return real(*arguments)

    monkeypatch.setattr(sweeps.run, "train", train)
    return hidden


INPUTS = ["teacher", "teacher/weights.safetensors", "weights/start.safetensors", "data", "data/train", "data/more"]


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_that_is_away_for_a_while_is_waited_for(lab, monkeypatch, name):
    if name.startswith("data"):  # the cache keeps decoded images, but never the list of files
        monkeypatch.setattr("kdtrain.data.store.is_sound", lambda folder, digest: False)
    away_in_second_trial(lab, monkeypatch, lab.root / name, after=0.4)
    lab.run()
    assert lab.states() == ["complete"] * 3
    trial = load_state(lab.sweep)[1].trials["kd-1"]
    assert (trial.attempts, trial.crashes) == (2, {"missing": 1})
    (notice,) = [text for text in lab.said if "waiting up to" in text]
    assert str(lab.root / name) in notice or str(lab.root / name.partition("/")[0]) in notice
    assert "it is there again, the sweep continues" in lab.said


def test_an_image_cache_whose_disk_does_not_answer_is_waited_for(lab, monkeypatch):
    real, calls, broken = sweeps.run.train, [], []
    opened = Path.open

    def answer(self, *options, **more):
        if broken and lab.root / "cache" in self.parents:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))
        return opened(self, *options, **more)

    def train(*arguments):
        calls.append(1)
        if len(calls) == 2:
            broken.append(1)
            threading.Timer(0.4, broken.clear).start()
        return real(*arguments)

    monkeypatch.setattr(Path, "open", answer)
    monkeypatch.setattr(sweeps.run, "train", train)
    lab.run()
    assert lab.states() == ["complete"] * 3
    assert any("image cache" in text and "waiting up to" in text for text in lab.said)


def test_a_replay_store_that_is_deleted_fails_no_trial(lab, monkeypatch):
    real, calls = sweeps.run.train, []

    def train(*arguments):
        calls.append(1)
        if len(calls) == 2:
            shutil.rmtree(lab.root / "cache" / "replay")
        return real(*arguments)

    monkeypatch.setattr(sweeps.run, "train", train)
    lab.spec = parse_spec({**lab.spec.model_dump(mode="json"), "replay": {"gigabytes": 1}})
    lab.run()
    assert lab.states() == ["complete"] * 3
    assert len(calls) == 3


def test_an_input_that_stays_away_stops_the_sweep_and_no_trial_has_failed(lab, monkeypatch):
    monkeypatch.setattr("sweeps.driver.outage.PATIENCE_S", 0.2)
    hidden = away_in_second_trial(lab, monkeypatch, lab.root / "teacher", after=None)
    with pytest.raises(StorageError, match=r"teacher is not a teacher folder.*put it back and run the same command"):
        lab.run()
    assert lab.states() == ["complete", "planned"]
    with pytest.raises(InputError, match="is not a teacher folder"):
        lab.run()
    hidden.rename(lab.root / "teacher")
    lab.run()
    assert lab.states() == ["complete"] * 3


def test_one_request_ends_the_wait(lab, monkeypatch):
    stop, began = StopRequest(), []

    def ask():
        began.append(time.monotonic())
        stop.ask(signal.SIGINT)

    away_in_second_trial(lab, monkeypatch, lab.root / "teacher", 0.3, ask)
    with pytest.raises(Interrupted, match="1 trial is saved"):
        lab.run(stop)
    assert time.monotonic() - began[0] < 2
    assert lab.states() == ["complete", "planned"]


def test_data_that_come_back_changed_are_not_trained_on(lab, monkeypatch):
    monkeypatch.setattr("sweeps.driver.outage.PATIENCE_S", 1.0)
    folder = lab.root / "data" / "train"
    hidden = folder.with_name("hidden")

    def other():
        for file in (hidden / "images").iterdir():
            Image.new("RGB", (48, 32)).save(file)
        hidden.rename(folder)

    away_in_second_trial(lab, monkeypatch, folder, 0.1, other)
    with pytest.raises(StorageError, match="the data of role train are not those with which this session started"):
        lab.run()
    assert lab.states() == ["complete", "planned"]


@pytest.mark.parametrize(
    "error",
    [
        MissingError("teacher: /t is not a teacher folder"),
        OSError(errno.EIO, os.strerror(errno.EIO), "/t/weights.safetensors"),
        OSError(errno.ESTALE, os.strerror(errno.ESTALE), "/t"),
        PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/data"),
    ],
)
def test_what_is_back_before_anybody_looks_or_away_on_one_node_is_tried_again(fake, tmp_path, error):
    spec = fake.make_spec(studies=["none"], budget={"trials": 1}, retries=0, confirm={"top": 0})
    failures = [error, error]

    def before(config, epoch):
        if failures:
            raise failures.pop()

    state = fake.run(spec, tmp_path, fake.FakeTrain(before=before))
    assert [(trial.state, trial.attempts) for trial in state.trials.values()] == [("complete", 3)]


def test_a_process_that_dies_while_an_input_is_away_is_tried_again(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 1}, retries=0)
    away, said = ["teacher: /t is away"], []
    with fake.open_driver(spec, tmp_path, lacking=lambda: away[0], notice=said.append) as driver:
        fake.take_down(driver, "lost")
        assert driver.state.trials["none-0"].state == "planned"
        assert driver.next() is WAIT
        assert said == ["none-0: teacher: /t is away; waiting up to 180 s for it, nothing is lost"]
        away[0] = None
        time.sleep(0.06)
        assert driver.next().id == "none-0"


def failed(fake, folder, reason, failure, spec):
    """A sweep that has ended, in which the first trial failed."""
    with fake.open_driver(spec, folder) as driver:
        trial = driver.next()
        driver.started(trial.id)
        driver._sweep.append(trial_events.Ended(trial.id, TrialState.FAILED, reason, failure=failure))
    with fake.open_driver(spec, folder) as driver:
        return driver.state.trials[trial.id]


@pytest.mark.parametrize(
    ("reason", "failure", "again"),
    [
        ("teacher: /t is not a teacher folder", "input", True),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/t/weights.safetensors'\nTraceback", "error", True),
        ("OSError: [Errno 116] Stale file handle: '/t'\nTraceback", "error", True),
        ("OSError: [Errno 116] Stale file handle: '/t'\nTraceback", None, True),
        ("cannot read /t", "missing", True),
        ("RuntimeError: shape mismatch\nTraceback", "error", False),
        ("CUDA out of memory", "out_of_memory", False),
    ],
)
def test_trials_that_failed_for_a_cause_outside_of_them_run_again(fake, tmp_path, reason, failure, again):
    spec = fake.make_spec(studies=["none"], budget={"trials": 2}, retries=0, confirm={"top": 0})
    trial = failed(fake, tmp_path, reason, failure, spec)
    assert trial.state == ("planned" if again else "failed")
    state = fake.run(spec, tmp_path)
    expected = ["complete", "complete"] if again else ["failed", "complete"]
    assert [trial.state for trial in state.trials.values()] == expected
    assert recorded_failure(failure, reason) in ("missing", "input") or not again


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (MissingError("no data"), "missing"),
        (InputError("wrong"), "input"),
        (OSError(errno.EIO, "I/O error"), "missing"),
        (OSError(errno.ENOSPC, "full"), "storage"),
        (ValueError("wrong"), "error"),
    ],
)
def test_the_kind_of_a_failure(error, failure):
    assert Crash.of(error).failure == failure


def test_a_folder_that_was_never_there_is_wrong_input(lab):
    (lab.root / "teacher").rename(lab.root / "elsewhere")
    with pytest.raises(InputError, match="is not a teacher folder"):
        lab.run()
    assert not (lab.sweep / "ledger").exists()


@pytest.mark.parametrize(("failure", "code"), [("input", 1), ("error", 0)])
def test_the_command_prints_causes_and_the_command_that_runs_trials_again(
    lab, monkeypatch, capsys, tmp_path, failure, code
):
    reason = "teacher: /t [x] is not a teacher folder\nTraceback"
    trials = [
        SimpleNamespace(id=f"kd-{n}", state=state, reason=reason, failure=failure, phase=Phase.SEARCH)
        for n, state in enumerate([TrialState.FAILED, TrialState.COMPLETE, TrialState.FAILED])
    ]
    evidence = {"n": 1, "confirmed_on_fresh_seeds": False, "study": "kd", "mean": 0.5, "test": None}
    evidence["verdict"] = {"headline": "kd leads"}
    results = Results("D/report/index.html", "D/best.yaml", {"evidence": evidence}, failed_by_cause(trials))
    monkeypatch.setattr(sweeps.run, "run_sweep", lambda *words, **options: results)
    (tmp_path / "my spec.yaml").write_text(lab.spec.dump())
    monkeypatch.setenv("KDSWEEP_TRUST", "1")
    words = ["run", str(tmp_path / "my spec.yaml"), "--dir", str(lab.sweep), "--inline"]
    monkeypatch.setattr(sys, "argv", ["kdsweep", *words])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().out
    assert (end.value.code or 0) == code
    assert "failed: kd-0 and 1 more: teacher: /t [x] is not a teacher folder\n" in said
    command = said.partition("runs the failed trials again:\n")[2].strip()
    assert shlex.split(command)[:6] == (["KDSWEEP_TRUST=1", "kdsweep", *words[:4]] if code else [])


@pytest.mark.slow
@pytest.mark.ray
def test_on_ray_all_trials_wait_and_none_fails(tmp_path):
    lab, data = Lab(tmp_path), tmp_path / "data"
    content = lab.spec.model_dump(mode="json") | {"budget": {"trials": 6}, "train": {"epochs": 3, "batch_size": 2}}
    os.environ["KDSWEEP_DATA"] = str(data)
    try:
        command = Command(tmp_path, content, str(lab.sweep), forked=False)
        process = command.start_and_await(8)
        (tmp_path / "teacher").rename(tmp_path / "hidden")
        time.sleep(8)
        (tmp_path / "hidden").rename(tmp_path / "teacher")
        said = command.ended(process)
    finally:
        del os.environ["KDSWEEP_DATA"]
    assert "is not a teacher folder" in said
    assert "it is there again, the sweep continues" in said
    assert lab.states() == ["complete"] * 6
