"""The driver of a sweep on a simulated cluster: what a trial costs it, as the sweep grows.

    python benchmarks/driver.py --trials 10000 --sampler random --scheduler halving

A thousand workers, without Ray and without trainings: epochs take a minute of simulated time, more or less, and reports
have the size of real ones; some trainings break, diverge, or lose their node, and some proposals are not valid. The
driver, its display and its live page do all that they do in a sweep, by the simulated clock. Printed are the driver's
CPU time per trial and where it goes, its memory, the size of the ledger, and, each in a process of its own, what it
takes to resume the sweep, to show it and to make its tables.

With `--made` the ledger of the first trials is written without a driver, which is faster, and the cluster goes on from
there.
"""

import argparse
import contextlib
import cProfile
import functools
import heapq
import io
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import numpy as np
import torch
from launch import memory_mib, say
from rich.console import Console

from kdtrain.config import Machine, TrainConfig
from kdtrain.errors import InputError
from kdtrain.loop.evaluate import Evaluation
from kdtrain.loop.reports import EpochReport, TrainResult
from sweeps.driver.driver import Driver
from sweeps.driver.growth import check_begun
from sweeps.driver.sampler import OURS, make_sampler
from sweeps.ledger import ledger as ledger_module
from sweeps.ledger.environment import TrainContext, describe_environment
from sweeps.ledger.event_base import Content, EventBase
from sweeps.ledger.failure import Crash
from sweeps.ledger.read_state import read_state
from sweeps.ledger.sweep_events import TeacherKnown
from sweeps.ledger.trial_events import (
    Ended,
    EpochReported,
    Located,
    Promoted,
    Proposed,
    Started,
    Stopped,
    TrialOutcome,
)
from sweeps.ledger.trial_record import TrialRecord
from sweeps.ledger.trial_state import Phase, TrialState
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import write_tables
from sweeps.show.live_page import LivePage, live_page
from sweeps.show.progress import Display, line, summarize
from sweeps.spec.paths import drawn, replaced
from sweeps.spec.schedulers import SCHEDULERS
from sweeps.spec.settings import Sampler
from sweeps.spec.spec import SweepSpec, parse_spec
from sweeps.store.store import Store

STUDIES, CLASSES, MARKS = ("none", "kd", "cwd", "csc_ace", "cskd"), 11, (1000, 3000, 10_000, 30_000, 100_000)
EPOCH_S, BOOT_S = 60.0, 5.0
BREAKS, DIVERGES, LOST, NOT_VALID = 0.003, 0.002, 0.001, 0.02
"""How often an epoch ends in an error, in a loss that is not finite, or with the loss of its node; and how often a
proposal makes no valid config."""
PARTS = {"data": 0.1, "teacher": 0.0, "student": 0.3, "losses": 0.1, "backward": 0.35, "optimizer": 0.05}
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
T = TypeVar("T")


@dataclass
class Spent:
    """CPU seconds of the driver, by what it was called for."""

    seconds: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)

    def call(self, what: str, function: Callable[..., T], *args: object) -> T:
        """Call a function, and count its time."""
        begin = time.process_time()
        try:
            return function(*args)
        finally:
            self.seconds[what] += time.process_time() - begin
            self.calls[what] += 1


def make_spec(options: argparse.Namespace, trials: int) -> SweepSpec:
    """Five studies, each with an even share of the trials, and some more for what is measured at the end."""
    trials += options.workers + 2 * len(OURS) * (options.window + 5)
    scheduler: dict[str, object] = {"name": options.scheduler}
    if options.scheduler != "none":
        scheduler |= {"grace": 1, "audit": options.audit}
    if options.scheduler in ("halving", "hyperband"):
        scheduler |= {"factor": 3, "mode": options.mode}
    return parse_spec(
        {
            "name": "simulated",
            "data": {"name": "streets"},
            "teacher": {"path": "none"},
            "train": {"epochs": options.epochs},
            "units": "weight",
            "studies": list(STUDIES),
            "space": {
                "optimizer.lr": {"low": 0.001, "high": 0.1, "log": True},
                "optimizer.weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
            },
            "budget": {"trials": trials // len(STUDIES)},
            "sampler": {"name": options.sampler},
            "scheduler": scheduler,
            "confirm": {"top": 4, "seeds": 3, "failures": options.failures},
        }
    )


def open_driver(folder: str, spec: SweepSpec, **options: object) -> Driver:
    """A driver of a sweep of which neither data nor teacher exist."""
    facts = {
        "name": "streets",
        "classes": list("abcdefghijk"),
        "palette": ["#000000"] * 11,
        "images": {},
        "digests": {},
    }
    teacher = TeacherKnown("feedfacefeedface", "none", "FPN", None, 0, None, None, None, None, None, "given")
    context = TrainContext(facts, describe_environment(Machine()), teacher)
    return Driver(spec, folder, context, check_config=some_are_not_valid, **options)


def some_are_not_valid(config: TrainConfig) -> None:
    """Refuse some configs, always the same."""
    if hash(config.optimizer.lr) % 1000 < 1000 * NOT_VALID:
        raise InputError("optimizer.lr: not with this optimizer")


class Cluster:
    """Workers that train nothing, in simulated time.

    Args:
        driver: Asked for trials and told what becomes of them.
        workers: How many trials run at once.
        images: Of the evaluation at the end of a training.
        seed: Of all that is random.
        turn: Called after every event with the seconds of simulated time.
    """

    def __init__(self, driver: Driver, workers: int, images: int, turn: Callable[[float], None], seed: int = 0) -> None:
        self.spent, self.ended, self.now = Spent(), 0, 0.0
        self._driver, self._turn = driver, turn
        self._rng = np.random.default_rng(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._free, self._number, self._workers = list(range(workers)), 0, workers
        self._evaluations = [evaluation(images, self._rng) for _ in range(20)]

    def run(self, trials: int) -> bool:
        """Run until so many more have ended, or nothing is left; returns whether something is left."""
        until = self.ended + trials
        while self.ended < until:
            while self._free and isinstance(trial := self.spent.call("next", self._driver.next), TrialRecord):
                self._begin(trial, self._free.pop())
            if not self._events:
                return False
            self.now, _, event = heapq.heappop(self._events)
            event()
            self.spent.call("tick", self._driver.tick)
            self.spent.call("show", self._turn, self.now)
        return True

    def _after(self, seconds: float, event: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now + seconds, self._number, event))

    def _begin(self, trial: TrialRecord, worker: int) -> None:
        self.spent.call("started", self._driver.started, trial.id)
        self._after(BOOT_S * self._rng.random(), functools.partial(self._located, trial, worker))

    def _located(self, trial: TrialRecord, worker: int) -> None:
        place = {**self._driver.environment, "node": f"node-{worker // 8}"}
        self.spent.call("located", self._driver.located, trial.id, place)
        quality = self._rng.normal(0.5, 0.1) / (1 + abs(np.log10(trial.params.get("optimizer.lr", 0.02) / 0.02)))
        epoch_s = EPOCH_S * self._rng.lognormal(0, 0.3)
        done = len(trial.reports) if trial.reused_from is None else 0
        self._after(epoch_s, functools.partial(self._epoch, trial, worker, done + 1, quality, epoch_s))

    def _epoch(self, trial: TrialRecord, worker: int, epoch: int, quality: float, epoch_s: float) -> None:
        luck = self._rng.random()
        if luck < BREAKS + DIVERGES + LOST:
            outcome: TrainResult | Crash = Crash("the node of the trial was lost", "", "node_lost")
            if luck < BREAKS:
                outcome = Crash("RuntimeError: an error of the training code", "Traceback ...")
            elif luck < BREAKS + DIVERGES:
                reports = tuple(trial.reports.values())
                outcome = TrainResult("diverged", len(reports), reports, "the loss is not finite")
            self._end(trial, worker, outcome)
            return
        report = report_of(trial.config, epoch, quality, epoch_s, self._rng)
        if self.spent.call("report", self._driver.report, trial.id, report) == "stop":
            self._end(trial, worker, None)
        elif epoch >= trial.epochs:
            reports, evaluated = tuple(trial.reports.values()), self._evaluations[trial.number % 20]
            student = {"params": 2_300_000, "macs": 1_000_000_000, "latency_ms": 8.5, "latency_device": "cpu"}
            result = TrainResult("complete", epoch, reports, evaluation=evaluated, student=student)
            self._end(trial, worker, result)
        else:
            self._after(epoch_s, functools.partial(self._epoch, trial, worker, epoch + 1, quality, epoch_s))

    def _end(self, trial: TrialRecord, worker: int, outcome: TrainResult | Crash | None) -> None:
        self.spent.call("ended", self._driver.ended, trial.id, outcome)
        self.ended += trial.state.is_over
        self._free.append(worker)


def report_of(config: Content, epoch: int, quality: float, epoch_s: float, rng: np.random.Generator) -> EpochReport:
    """The report of an epoch, with all that a report has on a GPU."""
    metrics = {"miou": float(quality * (1 - 0.7**epoch) + rng.normal(0, 0.01)), "pixel_accuracy": float(rng.random())}
    names = [term["name"] for term in config["terms"]]
    losses = {name: dict(zip(("raw", "weighted"), rng.random(2).tolist(), strict=True)) for name in names}
    seconds = {part: share * epoch_s * rng.random() for part, share in PARTS.items()} | {"total": epoch_s}
    return EpochReport(epoch, config["epochs"], metrics, losses, float(rng.random()), seconds, 367, 3 << 30)


def evaluation(images: int, rng: np.random.Generator) -> Evaluation:
    """An evaluation with confusion matrices like real ones: few classes in an image, most pixels right."""
    shares = rng.dirichlet(np.full(CLASSES, 0.5), size=images)
    wrong = rng.dirichlet(np.full(CLASSES, 0.05), size=(images, CLASSES))
    cells = 172_800 * shares[:, :, None] * (0.85 * np.eye(CLASSES) + 0.15 * wrong)
    ids = tuple(f"0016E5_{number:05d}" for number in range(images))
    groups = tuple(name[:6] for name in ids)
    return Evaluation("select", "d" * 16, ids, groups, tuple("abcdefghijk"), cells.astype(np.int64))


def ledger_bytes(folder: str) -> int:
    """Bytes of the ledger's files."""
    return sum(path.stat().st_size for path in Path(folder, "ledger").glob("*.jsonl"))


def make(folder: str, spec: SweepSpec, options: argparse.Namespace) -> None:
    """Write the ledger of trials that have ended: two of three at each rung are stopped there."""
    rng, digest = np.random.default_rng(1), "feedfacefeedface"
    evaluations = [evaluation(options.images, rng).to_dict() for _ in range(20)]
    spaces = {name: spec.space_of(spec.study(name)) for name in STUDIES}
    configs = {name: spec.config_for(spec.study(name), {}, 0, digest).model_dump(mode="json") for name in STUDIES}
    with open_driver(folder, spec) as driver, patch.object(ledger_module, "MAY_WAIT", (EventBase,)):
        ledger, place = driver._ledger, str(driver.environment["environment_id"])
        for number in range(options.trials):
            study, of_study = STUDIES[number % len(STUDIES)], number // len(STUDIES)
            trial, params = f"{study}-{of_study}", drawn(spaces[study], rng.random(len(spaces[study])).tolist())
            config = replaced(configs[study], params)
            ledger.append(
                Proposed(trial, study, of_study, Phase.SEARCH, None, 0, params, config, f"{rng.integers(2**60):x}")
            )
            ledger.append(Started(trial))
            ledger.append(Located(trial, place, f"node-{number % 125}", None))
            epoch = 0
            while epoch < options.epochs:
                epoch += 1
                ledger.append(EpochReported(trial, report_of(config, epoch, rng.normal(0.5, 0.1), EPOCH_S, rng)))
                if epoch in (1, 3, 9, 27, 81) and epoch < options.epochs:
                    decision = Promoted if rng.random() < 1 / 3 else Stopped
                    ledger.append(decision(trial, epoch, epoch, 0.4, of_study + 1, of_study // 3 + 1))
                    if decision is Stopped:
                        break
            outcome, end = TrialOutcome(epoch, epoch * EPOCH_S, 0.0), TrialState.PRUNED
            if epoch == options.epochs:
                outcome = replace(outcome, evaluation=evaluations[number % 20], student={"params": 2_300_000})
                end = TrialState.COMPLETE
            ledger.append(Ended(trial, end, None, outcome))
            if number % 10 == 0:
                ledger.commit()


def grow(folder: str, options: argparse.Namespace) -> None:
    """Run the sweep, and say at every mark what a trial costs."""
    seconds = [0.0]
    spec = make_spec(options, options.trials)
    store = Store(folder)
    display = Display(spec, lambda text: None, Console(file=io.StringIO()), lambda: seconds[0])
    page = LivePage(spec, store, clock=lambda: seconds[0])

    def turn(now: float) -> None:
        seconds[0] = now
        display.update()

    watchers = (display, page) if options.watch else ()
    clock = lambda: BEGIN + timedelta(seconds=seconds[0])  # noqa: E731
    profiler = cProfile.Profile()
    if options.made:
        make(folder, spec, options)
    with open_driver(folder, spec, clock=clock, watchers=watchers) as driver:
        before, cluster = len(driver.state.trials), Cluster(driver, options.workers, options.images, turn)
        if before:
            cluster.run(options.workers)  # until the workers have work of all ages
        for mark in [each for each in MARKS if before < each < options.trials] + [options.trials]:
            window = min(options.window, mark)
            if not cluster.run(max(0, mark - window - before - cluster.ended)):
                break
            cluster.spent = Spent()
            if options.profile and mark == options.trials:
                profiler.enable()
            cluster.run(window)
            profiler.disable()
            say_costs(f"{options.sampler}, {options.scheduler}, after {mark:,} trials", cluster.spent, window)
            size = ledger_bytes(folder) / (before + cluster.ended)
            say("  memory of the process; ledger per trial", f"{memory_mib():.0f} MiB; {size:.0f} bytes")
        for name in options.also:
            driver._new_trials.sampler = make_sampler(Sampler(name=name))
            cluster.run(5)  # what a search is fitted to the first time
            cluster.spent = Spent()
            cluster.run(options.window)
            ended = before + cluster.ended
            say_costs(f"{name}, {options.scheduler}, after {ended:,} trials", cluster.spent, options.window)
        if options.to_the_end:
            before, cluster.spent = cluster.ended, Spent()
            while cluster.run(1000):
                pass
            say_costs("what is left of the sweep", cluster.spent, max(1, cluster.ended - before))
    if options.profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(70)


def say_costs(what: str, spent: Spent, trials: int) -> None:
    """CPU milliseconds of a trial, and of what."""
    parts = ", ".join(f"{name} {1e3 * spent.seconds[name] / trials:.2f}" for name in spent.seconds)
    say(what, f"{1e3 * sum(spent.seconds.values()) / trials:.1f} ms of CPU a trial ({parts})")


def resume(folder: str, options: argparse.Namespace) -> None:
    """Open the sweep as `kdsweep run` does, up to the first trial that is handed out."""
    spec = make_spec(options, options.trials)
    watch = Watch()
    known = read_state(folder)
    check_begun(spec, Store(folder), known.state)
    checked = watch.text()
    with open_driver(folder, spec, known=known) as driver:
        opened = watch.text()
        driver.next()
        say(f"resume {len(driver.state.trials):,} trials", f"{watch.text()}, {peak()}")
        say("  check of the spec", checked)
        say("  until the driver is open", opened)


def tables(folder: str, options: argparse.Namespace) -> None:
    """Make the tables."""
    watch = Watch()
    write_tables(folder)
    say("tables", f"{watch.text()}, {peak()}")


def show(folder: str, options: argparse.Namespace) -> None:
    """The line of progress and the live page."""
    watch = Watch()
    spec, state = load_state(folder)
    say("state, for a reader", f"{watch.text()}, {peak()}")
    for what, function in (
        ("a line of progress", lambda: line(summarize(spec, state))),
        ("a live page", lambda: live_page(spec, state, "")),
    ):
        begin = time.process_time()
        function()
        say(what, f"{1e3 * (time.process_time() - begin):.1f} ms of CPU")


class Watch:
    """Takes the time from when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def text(self) -> str:
        """Seconds so far."""
        return f"{time.monotonic() - self._wall:.1f} s, {time.process_time() - self._cpu:.1f} s of CPU"


def peak() -> str:
    """The most memory that this process has had."""
    return f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"


PARTS_OF_IT = {"resume": resume, "show": show, "tables": tables}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--sampler", choices=sorted(OURS), default="random")
    parser.add_argument("--also", choices=sorted(OURS), nargs="*", default=[], help="samplers measured at the end")
    parser.add_argument("--scheduler", choices=sorted(SCHEDULERS), default="halving")
    parser.add_argument("--mode", choices=["stop", "pause"], default="stop")
    parser.add_argument("--audit", type=float, default=0.0)
    parser.add_argument("--failures", choices=["reached", "worst"], default="reached")
    parser.add_argument("--images", type=int, default=101, help="images of an evaluation")
    parser.add_argument("--made", action="store_true", help="write the ledger of the first trials without a driver")
    parser.add_argument("--window", type=int, default=300, help="trials over which a cost is the mean")
    parser.add_argument("--watch", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--to-the-end", action="store_true", help="also what comes after the search")
    parser.add_argument("--dir", type=Path, help="where the sweep is kept; else it is made and removed")
    parser.add_argument("--only", choices=["grow", *PARTS_OF_IT], action="append")
    parser.add_argument("--profile", action="store_true", help="of the last window: where the time goes")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with place(options.dir) as folder:
        if options.only is None or "grow" in options.only:
            grow(folder, options)
        given = sys.argv[1:] if arguments is None else arguments
        for name, part in PARTS_OF_IT.items():
            if options.only is None:
                subprocess.run([sys.executable, __file__, *given, "--only", name, "--dir", folder], check=True)
            elif name in options.only:
                part(folder, options)


@contextlib.contextmanager
def place(folder: Path | None) -> Iterator[str]:
    """The sweep's folder."""
    if folder is not None:
        yield str(folder)
        return
    with tempfile.TemporaryDirectory() as made:
        yield made


if __name__ == "__main__":
    main()
