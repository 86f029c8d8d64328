"""What launching costs: trials that train nothing, three reports each.

    python benchmarks/launch.py --trials 500

Trials a second through our run on Ray, beside Ray Tune with its defaults; the driver alone, without Ray; the cost of a
proposal in a search that grows, and of the ledger; and the memory of the driver. All figures come with the load
average, since they mean little on a busy machine.
"""

import argparse
import cProfile
import functools
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from kdtrain.config import Machine, TrainConfig
from kdtrain.loop.reports import EpochReport, OnEpoch, TrainResult
from sweeps.attempt.signals import StopRequest
from sweeps.driver.driver import Driver
from sweeps.driver.sampler import make_sampler
from sweeps.launch.inline import run_inline
from sweeps.ledger.environment import TrainContext, describe_environment
from sweeps.ledger.ledger import Ledger, read
from sweeps.ledger.state import SweepState
from sweeps.ledger.sweep_events import Note, TeacherKnown
from sweeps.ledger.trial_record import TrialRecord
from sweeps.spec.settings import Sampler
from sweeps.spec.spec import SweepSpec, parse_spec

STUDIES, EPOCHS = ["none", "kd", "cwd", "csc_ace", "cskd"], 3
DEFAULTS = """
import sys, time
from ray import tune
import ray

ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)

def nothing(config):
    for epoch in range(3):
        tune.report({"miou": config["lr"]})

start = time.monotonic()
tune.Tuner(
    nothing,
    param_space={"lr": tune.loguniform(0.001, 0.1)},
    tune_config=tune.TuneConfig(num_samples=int(sys.argv[1])),
    run_config=tune.RunConfig(storage_path=sys.argv[2], verbose=0),
).fit()
print("seconds", time.monotonic() - start)
"""


def nothing(
    config: TrainConfig,
    machine: Machine | None = None,
    report: OnEpoch | None = None,
    workdir: Path | None = None,
    interrupt: Callable[[], bool] | None = None,
) -> TrainResult:
    """A training that is over at once; its score is a function of its config."""
    reports = []
    for epoch in range(1, config.epochs + 1):
        miou = (1 - 0.5**epoch) / (1 + abs(config.optimizer.lr - 0.02))
        losses = {term.name: {"raw": 1.0, "weighted": term.weight} for term in config.terms}
        seconds = {"total": 1.0, "student": 0.4, "backward": 0.4, "evaluate": 0.2}
        reports.append(EpochReport(epoch, config.epochs, {"miou": miou}, losses, 0.1, seconds, 8))
        if report is not None and report(reports[-1]) == "stop" and epoch < config.epochs:
            return TrainResult("stopped", epoch, tuple(reports), "stopped by the listener")
    return TrainResult("complete", config.epochs, tuple(reports))


def make_spec(trials: int, sampler: str, seed: int = 0, studies: Sequence[str] = STUDIES) -> SweepSpec:
    """Studies with the same number of trials each."""
    return parse_spec(
        {
            "name": "launch",
            "data": {"name": "streets"},
            "teacher": {"path": "none"},
            "train": {"epochs": EPOCHS},
            "units": "weight",
            "studies": list(studies),
            "space": {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}},
            "budget": {"trials": trials // len(studies)},
            "sampler": {"name": sampler},
            "scheduler": {"name": "halving", "grace": 1, "factor": 3},
            "confirm": {"top": 0},
            "seed": seed,
        }
    )


def open_driver(folder: str, spec: SweepSpec) -> Driver:
    """A driver of a sweep of which neither data nor teacher exist."""
    facts = {"name": "streets", "classes": ["a"], "palette": ["#000000"], "images": {}, "digests": {}}
    teacher = TeacherKnown("feedfacefeedface", "none", "FPN", None, 0, None, None, None, None, None, "given")
    return Driver(spec, folder, TrainContext(facts, describe_environment(Machine()), teacher))


def memory_mib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def say(what: str, value: str) -> None:
    """One line of the result, with the load."""
    print(f"{what:58} {value:28} load {os.getloadavg()[0]:.1f}", flush=True)


def alone(trials: int, sampler: str, profile: bool) -> None:
    """The driver without Ray: half of the trials, then all of them, so that a cost that grows with them shows."""
    with tempfile.TemporaryDirectory() as folder, open_driver(folder, make_spec(trials, sampler)) as driver:
        start, marks = time.monotonic(), list[float]()

        def on_step() -> None:
            if not marks and len(driver.state.trials) > trials // 2:
                marks.append(time.monotonic() - start)

        profiler = cProfile.Profile()
        if profile:
            profiler.enable()
        run_inline(driver, nothing, Machine(), on_step)
        profiler.disable()
        seconds = time.monotonic() - start
        assert len(driver.state.trials) == trials // len(STUDIES) * len(STUDIES)
        say(
            f"driver alone, {sampler}, {trials} trials",
            f"{trials / seconds:.0f} trials/s ({trials / 2 / marks[0]:.0f}, {trials / 2 / (seconds - marks[0]):.0f})",
        )
        if profile:
            pstats.Stats(profiler).sort_stats("cumulative").print_stats(45)


def proposals(most: int) -> None:
    """CPU time of a proposal with its records, `Driver.next`, in one search that grows; each mean is of 20."""
    marks = [mark for mark in (100, 1000, 10_000) if mark <= most]
    samplers = {name: make_sampler(Sampler(name=name)) for name in dict.fromkeys((Sampler().name, "gp", "random"))}
    turns = [*samplers] * 20
    spent: dict[int, dict[str, list[float]]] = {mark: {name: [] for name in samplers} for mark in marks}
    spec = make_spec(marks[-1] + len(turns), "random", studies=["kd"])
    with tempfile.TemporaryDirectory() as folder, open_driver(folder, spec) as driver:
        for number in range(marks[-1] + len(turns)):
            mark = next((mark for mark in marks if mark <= number < mark + len(turns)), None)
            name = "random" if mark is None else turns[number - mark]
            driver._new_trials.sampler = samplers[name]
            begin = time.process_time()
            trial = driver.next()
            if mark is not None:
                spent[mark][name].append(time.process_time() - begin)
            assert isinstance(trial, TrialRecord)
            driver.started(trial.id)
            on_epoch = functools.partial(driver.report, trial.id)
            driver.ended(trial.id, nothing(TrainConfig.parse(trial.config), report=on_epoch))
    for mark, by_name in spent.items():
        told = ", ".join(f"{name} {1e3 * sum(times) / len(times):.1f} ms" for name, times in by_name.items())
        say(f"a proposal after {mark:,} trials", told)


def on_ray(trials: int, sampler: str) -> None:
    """Our run on Ray, two trials at once."""
    import ray

    from sweeps.launch.tune import run_on_ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        with tempfile.TemporaryDirectory() as folder, open_driver(folder, make_spec(trials, sampler)) as driver:
            start, marks = time.monotonic(), dict[int, tuple[float, float]]()
            first = list[float]()

            def on_step() -> None:
                ended = sum(trial.state not in ("planned", "running") for trial in driver.state.trials.values())
                if ended and not first:
                    first.append(time.monotonic())
                for mark in (100, 300, 500):
                    if ended >= mark and mark not in marks:
                        marks[mark] = memory_mib(), time.monotonic()

            run_on_ray(driver, Machine(), on_step, StopRequest(), None, nothing)
            seconds, steady = time.monotonic() - start, time.monotonic() - first[0]
            done = sum(trial.state in ("complete", "pruned") for trial in driver.state.trials.values())
            assert done == trials // len(STUDIES) * len(STUDIES), f"{done} of {trials} came to their end"
            say(f"our run on Ray, {sampler}, {trials} trials", f"{trials / seconds:.1f} trials/s")
            say("  without the start of the workers", f"{trials / steady:.1f} trials/s")
            told = "  ".join(f"{mark}: {memory:.0f} MiB" for mark, (memory, _) in marks.items())
            say("  memory of the driver after so many trials", told)
    finally:
        ray.shutdown()


def defaults(trials: int) -> None:
    """Ray Tune as it comes, on the same two slots; in a process of its own, because ours sets Ray's switches."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", DEFAULTS, str(trials), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("seconds")]
    if not found:
        raise SystemExit(done.stderr[-2000:])
    say(f"Ray Tune's defaults, {trials} trials", f"{trials / float(found[0]):.1f} trials/s")


def ledger_costs(trials: int) -> None:
    """What a report and a commit take."""
    with tempfile.TemporaryDirectory() as folder, open_driver(folder, make_spec(5, "random")) as driver:
        trial = driver.next()
        assert not hasattr(trial, "value")
        listed: list[EpochReport] = []
        nothing(TrainConfig.parse(driver.state.trials["none-0"].config), None, lambda report: listed.append(report))  # type: ignore[func-returns-value]
        count = 2000
        start = time.perf_counter()
        for epoch in range(count):
            driver.report("none-0", EpochReport.from_dict({**listed[0].to_dict(), "epoch": epoch + 1, "epochs": count}))
        say("a report: ledger, state, decision", f"{1e6 * (time.perf_counter() - start) / count:.0f} us")
    with tempfile.TemporaryDirectory() as folder:
        ledger, note = Ledger(folder), Note(json.dumps(listed[0].to_dict()))
        start = time.perf_counter()
        for _ in range(200):
            ledger.append(note)
        say("a commit (fsync, the newest file written anew)", f"{1e3 * (time.perf_counter() - start) / 200:.2f} ms")
        ledger.close()
        size = sum(path.stat().st_size for path in Path(folder, "ledger").glob("*.jsonl"))
        say("a report on the disk", f"{size / 200:.0f} bytes")
    with tempfile.TemporaryDirectory() as folder:
        with open_driver(folder, make_spec(trials, "random")) as driver:
            run_inline(driver, nothing)
        start = time.perf_counter()
        records = read(folder)
        SweepState.of(records)
        say(f"reading {len(records)} records back, with state", f"{time.perf_counter() - start:.2f} s")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"ledger", "alone", "proposals", "ray", "defaults"}
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--many", type=int, default=3000, help="trials of the long run of the driver alone")
    parser.add_argument("--most", type=int, default=10_000, help="trials of the search in which proposals are measured")
    parser.add_argument("--only", choices=sorted(parts), action="append")
    parser.add_argument("--sampler", choices=["tpe", "random"], default="tpe")
    parser.add_argument("--profile", action="store_true", help="of the driver alone: where the time goes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = options.only or parts
    if "ledger" in wanted:
        ledger_costs(options.trials)
    if "alone" in wanted:
        for trials in (options.trials, options.many):
            alone(trials, options.sampler, options.profile)
    if "proposals" in wanted:
        proposals(options.most)
    if "ray" in wanted:
        on_ray(options.trials, options.sampler)
    if "defaults" in wanted:
        defaults(min(60, options.trials))


if __name__ == "__main__":
    main()
