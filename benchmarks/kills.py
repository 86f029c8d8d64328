"""Kill real sweeps at named and at random moments, take them up again, and compare with one that was left alone.

    python benchmarks/kills.py --sweeps 30 --ray 6 --out kills.parquet

Prints one line a sweep and exits with 1 if a trial was lost or doubled, an epoch that was saved was trained again, or
any proposal, decision or score differs. Every life of a sweep is the command line in a fork of this process, which
spares it the imports; the product has no hook for any of this: the fork replaces a function by one that dies.
"""

import argparse
import contextlib
import ctypes
import itertools
import json
import math
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import torch
import yaml

import kdtrain.loop.run_folder
import kdtrain.runtime.atomic_files
import sweeps.driver.attempts
import sweeps.driver.driver
import sweeps.driver.new_trials
import sweeps.launch.inline
import sweeps.launch.tune  # so that forks have it
import sweeps.outcome.results
import sweeps.run
import sweeps.store.store
from sweeps.cli import main as command_line
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import rows

SPEC: dict[str, Any] = {
    "name": "kills",
    "data": {"name": "streets", "size": [32, 48], "counts": {"train": 8, "select": 4, "test": 1}},
    "student": {
        "arch": "FPN",
        "encoder": "tu-mobilenetv3_small_050",
        "options": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
    },
    "teacher": {"fit": {"network": {"arch": "FPN", "encoder": "tu-mobilenetv3_small_050"}, "epochs": 2}},
    "train": {"epochs": 3, "batch_size": 4},
    "studies": ["none", "kd"],
    "space": {"optimizer.lr": {"low": 0.01, "high": 0.1, "log": True}},
    "budget": {"trials": 2},
    "scheduler": {"name": "halving", "grace": 1, "factor": 2},
    "confirm": {"top": 1, "seeds": 1},
    "resources": {"concurrent": 1},
    "seed": 3,
}
LASTING = ("proposed", "promoted", "stopped", "ended", "exhausted", "reused")
"""Decisions that a kill must not change; the others tell of sessions and attempts."""
MEASURED = {
    *("sweep_id", "environment_id", "node", "attempts", "retries", "failure", "traceback", "peak_memory_bytes"),
    *("parts_json", "asked", "recorded"),
    *("seconds", "teacher_s", "spent_s", "created_at", "started_at", "ended_at", "at", "latency_ms"),
}
"""Columns of names, times, places, attempts, and of who recorded for whom."""
PATIENCE_S = 600.0


def die() -> None:
    """What SIGKILL leaves: nothing is flushed, closed or told."""
    os.kill(os.getpid(), signal.SIGKILL)


def before(
    owner: ModuleType | type, name: str, nth: int, concerns: Callable[..., bool] = lambda *_, **__: True
) -> None:
    """Die instead of the nth call of a function, of those calls that are of concern."""
    known, calls = getattr(owner, name), itertools.count(1)

    def dying(*args: Any, **options: Any) -> Any:
        if concerns(*args, **options) and next(calls) == nth:
            die()
        return known(*args, **options)

    setattr(owner, name, dying)


def half_written(nth: int, concerns: Callable[[Path], bool]) -> None:
    """Die in the nth write of a file, with half of it in the temporary file."""
    known, calls = kdtrain.runtime.atomic_files.write_atomically, itertools.count(1)

    def dying(path: Path, content: bytes) -> None:
        if concerns(path) and next(calls) == nth:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f".{path.name}.{os.getpid()}.tmp").write_bytes(content[: len(content) // 2])
            die()
        known(path, content)

    for module in list(sys.modules.values()):
        if getattr(module, "write_atomically", None) is known:
            module.write_atomically = dying  # type: ignore[attr-defined]


def _in(folder: str) -> Callable[[Path], bool]:
    return lambda path: path.parent.name == folder


def _checkpoint_of(part: str) -> Callable[[Path], bool]:
    return lambda path: part in path.parts and path.suffix == ".pt"


def _key(start: str) -> Callable[..., bool]:
    return lambda store, key, content: key.startswith(start)


MOMENTS: dict[str, tuple[int, Callable[[int], None]]] = {
    "start-up, data described": (1, lambda n: before(sweeps.run, "take_lock", n)),
    "teacher, in a checkpoint": (
        2,
        lambda n: half_written(n, lambda path: "fit" in path.parts and path.suffix == ".pt"),
    ),
    "teacher, weights without card": (1, lambda n: before(sweeps.store.store.Store, "write", n, _key("model.json"))),
    "start-up, ledger begun": (1, lambda n: before(sweeps.store.store.Store, "write", n, _key("spec.yaml"))),
    "proposal, not yet written": (4, lambda n: before(sweeps.driver.new_trials.NewTrials, "_new", n)),
    "proposal, just written": (4, lambda n: before(sweeps.driver.driver.Driver, "_hand_out", n)),
    "attempt begun, training not": (4, lambda n: before(sweeps.launch.inline, "train_in", n)),
    "checkpoint half written": (8, lambda n: half_written(n, _checkpoint_of("trials"))),
    "checkpoint whole, not reported": (8, lambda n: before(sweeps.store.store.Workplace, "save", n)),
    "report written, not decided": (6, lambda n: before(sweeps.driver.attempts, "decide", n)),
    "ledger half written": (20, lambda n: half_written(n, _in("ledger"))),
    "result written, end not": (4, lambda n: before(sweeps.driver.driver.Driver, "ended", n)),
    "between two tables": (8, lambda n: before(sweeps.store.store.Store, "write", n, _key("tables/"))),
    "table half written": (8, lambda n: half_written(n, _in("tables"))),
    "tables written, report not": (1, lambda n: before(sweeps.outcome.results, "write_report", n)),
}
"""By name: how often such a moment surely comes in a whole life, and what makes the process die at the nth."""


@dataclass
class Outcome:
    """One sweep that was killed, beside the one that was left alone; `None` is what was not looked at."""

    place: str
    moments: str
    kills: int
    lost: int
    doubled: int
    again: int | None
    """Epochs whose checkpoint was whole, and that were trained again all the same."""
    equal: bool
    differs: str
    seconds_lost: float
    """Per kill: the wall time of all lives together, less that of the sweep that was left alone."""

    @property
    def whole(self) -> bool:
        """No fault."""
        return self.equal and not (self.lost or self.doubled or self.again)


class Bench:
    """A folder with one spec, and sweeps of it."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng = folder, rng
        self.spec = folder / "spec.yaml"
        self.spec.write_text(yaml.safe_dump(SPEC))
        os.environ["KDSWEEP_CACHE"] = str(folder / "cache")
        self.whole: dict[str, Any] = {}
        self.seconds: dict[bool, float] = {}

    def leave_alone(self, ray: bool) -> None:
        """The sweep that others are compared with, and how long it takes."""
        sweep = self.folder / f"alone-{'ray' if ray else 'inline'}"
        start = time.monotonic()
        if (code := wait(self.begin(sweep, ray))) != 0:
            raise SystemExit(f"the sweep that was left alone ended with {code}: {log_of(sweep).read_text()}")
        self.seconds[ray] = time.monotonic() - start
        found = comparable(sweep)
        self.whole = self.whole or found
        if differing := difference(self.whole, found):
            raise SystemExit(f"two sweeps that were left alone differ: {differing}")

    def begin(self, sweep: Path, ray: bool, arm: Callable[[], None] = lambda: None) -> int:
        """Fork a life of a sweep; the number of its process."""
        words = ["kdsweep", "run", str(self.spec), "--dir", str(sweep), "--threads", "1"]
        sys.stdout.flush()
        if (pid := os.fork()) != 0:
            return pid
        code = 1
        try:
            log = os.open(log_of(sweep), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.argv = words if ray else [*words, "--inline"]
            keep_book(sweep)
            arm()
            command_line()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def killed(self, number: int, ray: bool, named: list[str]) -> Outcome:
        """One sweep, killed at some moments one after the other, and then brought to its end."""
        sweep, start = self.folder / f"killed-{number}", time.monotonic()
        happened = [name for name in named if self._kill(sweep, ray, name)]
        code = wait(pid := self.begin(sweep, ray))
        seconds = time.monotonic() - start
        if code is None:
            see_off([pid])
        see_off(family(os.getpid()))  # what killed drivers have left of their clusters
        if code == 0:
            return self._outcome(sweep, ray, happened, seconds)
        last = " | ".join(log_of(sweep).read_text().strip().splitlines()[-3:])
        missing = len(self.whole["trials"])
        fault = f"exit code {code}: {last}"
        return Outcome(_place(ray), ", ".join(happened), len(happened), missing, 0, None, False, fault, math.nan)

    def _kill(self, sweep: Path, ray: bool, name: str) -> bool:
        """Begin a life and end it; whether it was killed before it ended by itself."""
        if name in MOMENTS:
            often, arm = MOMENTS[name]
            nth = self.rng.randint(1, often)
            return wait(self.begin(sweep, ray, lambda: arm(nth))) == -signal.SIGKILL
        pid = self.begin(sweep, ray)
        if name == "trial process":
            reports = self.rng.randint(1, 4) + ended_reports(sweep)
            while ended_reports(sweep) < reports:
                if (code := wait(pid, 0.05)) is not None:
                    return code == -signal.SIGKILL
            hit = [child for child in family(pid) if title(child).startswith("ray::ImplicitFunc")]
            for child in hit:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            return wait(pid) == 0 and bool(hit)
        if (code := wait(pid, self.rng.uniform(0.02, 0.9) * self.seconds[ray])) is None:
            os.kill(pid, signal.SIGKILL)
            code = wait(pid)
        return code == -signal.SIGKILL

    def _outcome(self, sweep: Path, ray: bool, happened: list[str], seconds: float) -> Outcome:
        found = comparable(sweep)
        expected = {trial["trial_id"] for trial in self.whole["trials"]}
        _, state = load_state(sweep)
        ended = {trial.id for trial in state.trials.values() if trial.state.is_over}
        asked = [(trial.study, trial.seed, json.dumps(trial.params)) for trial in state.trials.values()]
        differs = difference(self.whole, found)
        return Outcome(
            place=_place(ray),
            moments=", ".join(happened) or "none",
            kills=len(happened),
            lost=len(expected - ended),
            doubled=len(ended - expected) + len(asked) - len(set(asked)),
            again=None if ray else trained_again(sweep),
            equal=not differs,
            differs=differs,
            seconds_lost=(seconds - self.seconds[ray]) / max(1, len(happened)),
        )


def _place(ray: bool) -> str:
    return "ray" if ray else "inline"


def comparable(sweep: Path) -> dict[str, list[dict[str, Any]]]:
    """What the tables say, but for times, places and attempts; the long tables row by row."""
    spec, state = load_state(sweep)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, table in rows(state, spec).items():
        if name in ("environments", "sweeps"):
            continue
        rowwise = pd.DataFrame(table).to_dict("records")
        found[name] = [
            {
                str(key): str(value).partition("/")[2] if key == "eval_id" else value
                for key, value in row.items()
                if key not in MEASURED and (name, key) != ("decisions", "n")
            }
            for row in rowwise
            if not str(row.get("name")).startswith(("seconds/", "teacher_images"))
            and row.get("kind", LASTING[0]) in LASTING
        ]
    return found


def difference(whole: dict[str, Any], found: dict[str, Any]) -> str:
    """The first difference of two sweeps in words, or nothing."""
    for name, table in whole.items():
        other = found.get(name, [])
        for one, two in itertools.zip_longest(table, other):
            if json.dumps(one, default=str) != json.dumps(two, default=str):
                keys = [key for key in one or {} if str((one or {})[key]) != str((two or {}).get(key))]
                return f"{name}: {[(key, (one or {})[key], (two or {}).get(key)) for key in keys[:3]] or two}"
    return ""


def keep_book(sweep: Path) -> None:
    """Note every epoch whose checkpoint is whole."""
    known = kdtrain.loop.run_folder.save_checkpoint

    def noting(folder: Path, epoch: int, state: dict[str, Any], step: int = 0) -> None:
        known(folder, epoch, state, step)
        with sweep.with_suffix(".epochs").open("a") as book:
            book.write(f"{folder} {epoch} {step}\n")

    kdtrain.loop.run_folder.save_checkpoint = noting  # type: ignore[assignment]


def trained_again(sweep: Path) -> int:
    """Epochs that were saved twice."""
    lines = sweep.with_suffix(".epochs").read_text().splitlines()
    return len(lines) - len(set(lines))


def ended_reports(sweep: Path) -> int:
    """Reports in the ledger."""
    return sum(path.read_bytes().count(b'"kind":"report"') for path in (sweep / "ledger").glob("0*.jsonl"))


def log_of(sweep: Path) -> Path:
    """Where the lives of a sweep write what they say."""
    return sweep.with_suffix(".log")


def wait(pid: int, seconds: float = PATIENCE_S) -> int | None:
    """The exit code of a child, negative for a signal; none if it is alive after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


def family(pid: int) -> list[int]:
    """The processes below a process."""
    found = []
    for child in children(pid):
        found += [child, *family(child)]
    return found


def children(pid: int) -> Iterator[int]:
    """The processes that a process started."""
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            yield from map(int, tasks.read_text().split())


def title(pid: int) -> str:
    """What a process calls itself."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def adopt_orphans() -> None:
    """Become the parent of what killed children leave behind, so that it can be found and ended."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def see_off(pids: list[int]) -> None:
    """End processes, and take note of their end."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def schedule(count: int, ray: int, rng: random.Random) -> Iterator[tuple[bool, list[str]]]:
    """Where each sweep runs and at which moments it is killed: every named moment, and as many random ones."""
    names = itertools.cycle(rng.sample([*MOMENTS], len(MOMENTS)))
    under_ray = itertools.cycle(["at random", "trial process", "ledger half written"])
    for number in range(count):
        on_ray = number >= count - ray
        first = next(under_ray) if on_ray else next(names)
        more = [] if on_ray else rng.choices([*MOMENTS, *["at random"] * len(MOMENTS)], k=rng.randint(0, 2))
        yield on_ray, [first, *more]


def main() -> int:
    """Run the benchmark; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=30)
    parser.add_argument("--ray", type=int, default=6, help="how many of them under Ray")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a Parquet file, one row a sweep")
    options = parser.parse_args()
    torch.set_num_threads(1)
    adopt_orphans()
    rng = random.Random(options.seed)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="kdsweep-kills-") as folder:
        bench = Bench(Path(folder), rng)
        for number, (ray, named) in enumerate(schedule(options.sweeps, options.ray, rng)):
            if ray not in bench.seconds:
                bench.leave_alone(ray)
                print(f"left alone, {'ray' if ray else 'inline'}: {bench.seconds[ray]:.1f} s", flush=True)
            outcome = bench.killed(number, ray, named)
            outcomes.append(outcome)
            fault = "" if outcome.whole else f"  FAULT {outcome.differs}"
            again = "-" if outcome.again is None else outcome.again
            print(
                f"{number:3} {outcome.place:6} kills {outcome.kills}  lost {outcome.lost}  doubled {outcome.doubled}  "
                f"trained again {again}  decisions {'equal' if outcome.equal else 'DIFFER'}  "
                f"{outcome.seconds_lost:5.1f} s lost per kill  {outcome.moments}{fault}",
                flush=True,
            )
    table = pd.DataFrame([asdict(outcome) for outcome in outcomes])
    if options.out:
        table.to_parquet(options.out)
    faults = sum(not outcome.whole for outcome in outcomes)
    print(
        f"{len(outcomes)} sweeps, {table['kills'].sum()} kills: {table['lost'].sum()} trials lost, "
        f"{table['doubled'].sum()} doubled, {faults} sweeps with a fault; "
        f"{table.groupby('place')['seconds_lost'].median().round(1).to_dict()} s lost per kill (median); "
        f"load average {os.getloadavg()[0]:.1f}"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
