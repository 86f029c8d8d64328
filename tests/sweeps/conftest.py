"""A sweep of five studies on a fake training, for whole lives of a sweep within milliseconds."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from kdtrain.config import Machine, TrainConfig
from kdtrain.loop.evaluation import Evaluation
from kdtrain.loop.reports import EpochReport, OnEpoch, TrainResult
from sweeps.driver.driver import Driver
from sweeps.launch.inline import run_inline
from sweeps.ledger.environment import TrainContext
from sweeps.ledger.events import Event
from sweeps.ledger.failure import Crash
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.record import Record
from sweeps.ledger.state import SweepState
from sweeps.ledger.sweep_events import TeacherKnown
from sweeps.ledger.trial_record import TrialRecord
from sweeps.spec.spec import SweepSpec, parse_spec

CLASSES = ("road", "car", "sky")


def content(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "name": "five",
        "data": {"name": "streets"},
        "teacher": {"path": "teachers/big"},
        "train": {"epochs": 6, "batch_size": 4},
        "units": "weight",
        "studies": ["none", "kd", "cwd", "csc_ace", "cskd"],
        "space": {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}},
        "budget": {"trials": 4},
        "sampler": {"name": "tpe", "startup": 2},
        "confirm": {"top": 1, "seeds": 2},
        "seed": 7,
    }
    return {**base, **changes}


def make_spec(**changes: Any) -> SweepSpec:
    return parse_spec(content(**changes))


def draw(*names: Any) -> float:
    """A number in [0, 1) that depends on the names alone."""
    digest = hashlib.sha256(json.dumps(names, sort_keys=True, default=str).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def take_down(driver: Driver, failure: str, times: int = 1) -> None:
    """Let the next trial's attempts end in a crash."""
    for _ in range(times):
        trial = driver.next()
        driver.started(trial.id)
        driver.ended(trial.id, Crash(f"{failure} happened", "Traceback ...", failure))


class FakeTrain:
    """Scores that are a pure function of config, seed and epoch; resumes from a file of reports.

    Args:
        quality: What a config is worth in the end.
        before: Called with the config and the epoch before each epoch: raises, or returns "nan" to diverge.
    """

    def __init__(
        self,
        quality: Callable[[TrainConfig], float] | None = None,
        before: Callable[[TrainConfig, int], str | None] = lambda config, epoch: None,
    ) -> None:
        self.quality = quality or default_quality
        self.before = before
        self.epochs_trained = 0

    def __call__(
        self,
        config: TrainConfig,
        machine: Machine | None = None,
        report: OnEpoch | None = None,
        workdir: Path | None = None,
        interrupt: Callable[[], bool] | None = None,
    ) -> TrainResult:
        assert workdir is not None
        workdir.mkdir(parents=True, exist_ok=True)
        saved = workdir / "reports.json"
        past = json.loads(saved.read_text()) if saved.is_file() else []
        reports = [EpochReport.from_dict(item) for item in past]
        first = len(reports)
        for past_report in reports:
            if report is not None and report(past_report) == "stop":
                return TrainResult("stopped", past_report.epoch, tuple(reports), "stopped by the listener", first)
        for epoch in range(first + 1, config.epochs + 1):
            if interrupt is not None and interrupt():
                return TrainResult("interrupted", epoch - 1, tuple(reports), None, first)
            if self.before(config, epoch) == "nan":
                return TrainResult("diverged", epoch - 1, tuple(reports), f"kl was not finite in epoch {epoch}", first)
            self.epochs_trained += 1
            miou = self.quality(config) * (1 - 0.5**epoch)
            losses = {term.name: {"raw": 1.0 / epoch, "weighted": term.weight / epoch} for term in config.terms}
            evaluated = epoch % config.evaluate_every == 0 or epoch == config.epochs
            metrics = {"miou": miou, "pixel_accuracy": miou} if evaluated else {}
            seconds = {"total": 1.0, "teacher": 0.25 if config.teacher else 0.0}
            reports.append(EpochReport(epoch, config.epochs, metrics, losses, 0.1, seconds, 8))
            saved.write_text(json.dumps([item.to_dict() for item in reports]))
            if report is not None and report(reports[-1]) == "stop" and epoch < config.epochs:
                return TrainResult("stopped", epoch, tuple(reports), "stopped by the listener", first)
        student = {"params": 1000, "macs": 2000, "latency_ms": 1.5, "latency_device": "fake"}
        return TrainResult("complete", config.epochs, tuple(reports), None, first, evaluation(config), student)


def default_quality(config: TrainConfig) -> float:
    return 0.5 + 0.3 * draw(config.config_id) + 0.02 * draw(config.config_id, config.seed)


def evaluation(config: TrainConfig) -> Evaluation:
    confusion = np.zeros((2, 3, 3), dtype=np.int64)
    confusion[:, 0, 0], confusion[:, 0, 1], confusion[:, 1, 1] = 90, 10, 40 + config.seed
    return Evaluation("select", "d1", ("a", "b"), ("g", "g"), CLASSES, confusion)


def context(teacher: Mapping[str, Any] | None = None, **data: Any) -> TrainContext:
    return TrainContext(
        data={
            "name": "streets",
            "classes": list(CLASSES),
            "palette": ["#000000", "#ff0000", "#0000ff"],
            "images": {"train": 8, "select": 2},
            "digests": {"train": "t1", "select": "d1"},
            **data,
        },
        environment={
            "environment_id": "env1",
            "python": "3.11",
            "torch": "2.15",
            "platform": "fake",
            "device": "cpu",
            "num_threads": 1,
            "versions_json": "{}",
            "kdsweep_version": "0.1.0",
        },
        teacher=TeacherKnown.from_json(
            {
                "digest": "feedfacefeedface",
                "name": "big",
                "arch": "FPN",
                "encoder": "resnet18",
                "params": 10,
                "macs": 20,
                "trained_on": "streets",
                "miou": 0.6,
                "role": "select",
                "seconds": 30.0,
                "source": "given",
                "iou": [0.5, None, 0.7],
                "config_json": None,
                **(teacher or {}),
            }
        ),
    )


def noon() -> datetime:
    """A clock that stands still, so that two lives of a sweep can be compared to the last byte."""
    return datetime(2026, 1, 1, 12, tzinfo=UTC)


def open_driver(spec: SweepSpec, folder: Path, **options: Any) -> Driver:
    return Driver(spec, folder, context(), clock=noon, **options)


def run(spec: SweepSpec, folder: Path, train: FakeTrain | None = None) -> SweepState:
    """A whole life of a sweep, or the rest of one."""
    with open_driver(spec, folder) as driver:
        run_inline(driver, train or FakeTrain())
        return driver.state


def finish(driver: Driver, trial: TrialRecord) -> None:
    """Start and end a trial that the driver gave, on the fake training."""
    assert driver.store.local is not None
    driver.started(trial.id)
    folder = driver.store.local / "trials" / trial.id
    config = TrainConfig.parse(trial.config)
    driver.ended(trial.id, FakeTrain()(config, report=lambda each: driver.report(trial.id, each), workdir=folder))


class Killed(BaseException):
    """The process is gone."""


@contextmanager
def killed_after(record: int) -> Iterator[None]:
    """The life of a driver that is killed right after the record with this number is written."""
    append = Ledger.append

    def dying(self: Ledger, event: Event) -> Record:
        written = append(self, event)
        if written.n == record:
            raise Killed
        return written

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Ledger, "append", dying)
        yield


def resumed(
    folder: Path, cut: int, live: Callable[[Path], SweepState], after: Callable[[Path], None] | None = None
) -> SweepState:
    """A sweep that is killed right after a record, suffers something, and is run again."""
    with killed_after(cut), pytest.raises(Killed):
        live(folder)
    if after is not None:
        after(folder)
    return live(folder)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture(scope="session")
def fake() -> ModuleType:
    """The helpers of this file: `make_spec`, `FakeTrain`, `run`, ..."""
    return sys.modules[__name__]
