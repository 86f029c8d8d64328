"""A cluster of two raylets on this machine: placement, trials of two devices, lost processes, a lost node.

Ray's daemons listen on every interface as soon as there are several, so all of it runs in a network namespace with
nothing but a loopback (`unshare -n`, for which one must be root). GPUs are logical ones: nothing here needs a real one.

    python benchmarks/cluster.py [--out folder]

Exits with 1 if anything was lost, doubled or misplaced.
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

SPEC: dict[str, Any] = {
    "name": "cluster",
    "data": {"name": "streets", "size": [32, 48], "counts": {"train": 16, "select": 6, "test": 1}},
    "student": {
        "arch": "FPN",
        "encoder": "tu-mobilenetv3_small_050",
        "options": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32, "decoder_dropout": 0.0},
    },
    "teacher": {"fit": {"network": {"arch": "FPN", "encoder": "tu-mobilenetv3_small_050"}, "epochs": 1}},
    "train": {"epochs": 3, "batch_size": 8},
    "studies": ["none", "kd"],
    "space": {"optimizer.lr": {"low": 0.01, "high": 0.1, "log": True}},
    "confirm": {"top": 0},
}
KDSWEEP = [sys.executable, str(Path(__file__).absolute()), "spied"]
PAUSED, PAUSE_S = "paused", 25.0
"""With this folder as `--data`, which generated scenes do not need, every trial waits until all are there at once."""
DASHBOARD = "http://127.0.0.1:8265"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="write the figures to this folder as Parquet")
    parser.add_argument("--only", choices=["submitted", "two_devices", "losses"], action="append")
    parser.add_argument("--in-namespace", action="store_true", help=argparse.SUPPRESS)
    if sys.argv[1:2] == ["spied"]:
        spied(sys.argv[2:])
        return
    options = parser.parse_args()
    if not options.in_namespace:
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
        command = ["unshare", "-n", sys.executable, __file__, "--in-namespace", *sys.argv[1:]]
        sys.exit(subprocess.run(command, env={**os.environ, **token}, check=False).returncode)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="kdsweep-cluster-") as scratch:
        figures = []
        for figure in run(Path(scratch), options.only or ["submitted", "two_devices", "losses"]):
            print(*figure, flush=True)
            figures.append(figure)
    table = pd.DataFrame(figures, columns=["event", "figure", "value", "unit"])
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        table.to_parquet(options.out / "cluster.parquet")


def run(scratch: Path, scenes: list[str]) -> Iterator[tuple[str, str, float, str]]:
    with raylets(scratch) as node:
        print(f"two raylets are up; load average {os.getloadavg()[0]:.1f}", flush=True)
        if "submitted" in scenes:
            yield from submitted(scratch)
        if "two_devices" in scenes:
            yield from two_devices(scratch)
        if "losses" in scenes:
            yield from losses(scratch, node)


@contextlib.contextmanager
def raylets(scratch: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A head with one logical GPU, and a node with two; yields the node's process."""
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=4"]
    head = ["--head", "--node-ip-address=127.0.0.1", "--port=6379", "--num-gpus=1", "--dashboard-host=127.0.0.1"]
    other = ["--address=127.0.0.1:6379", "--num-gpus=2"]
    started = []
    try:
        for number, words in enumerate((head, other)):
            log = (scratch / f"raylet-{number}.log").open("wb")
            started.append(subprocess.Popen([*ray, *words], stdout=log, stderr=log, start_new_session=True))
            wait_for(lambda count=number + 1: nodes() >= count, 60, f"raylet {number}")
        yield started[1]
    finally:
        for process in reversed(started):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def nodes() -> int:
    code = "import ray; ray.init('127.0.0.1:6379', log_to_driver=False, logging_level=50); print(len(ray.nodes()))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout
    return int(found.strip() or 0)


def submitted(scratch: Path) -> Iterator[tuple[str, str, float, str]]:
    """A sweep by `ray job submit`, in which two trials share a GPU."""
    spec = written(scratch / "shared.yaml", budget={"trials": 5}, resources={"cpu": 0.5, "gpu": 0.5})
    sweep = scratch / "shared"
    start = time.monotonic()
    ray = str(Path(sys.executable).with_name("ray"))
    words = [ray, "job", "submit", "--address", DASHBOARD, "--", *KDSWEEP, "run", str(spec), "--dir", str(sweep)]
    words += ["--address", "auto", f"--data={PAUSED}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "2 nodes see" in done.stdout, done.stdout
    placed = placements(sweep)
    trials = check_whole(sweep, 10)
    assert set(placed["trial"]) == set(trials["trial_id"])
    assert placed["node"].nunique() == 2, f"both nodes take part\n{placed.to_string()}"
    most = 0
    for _, on_gpu in placed.groupby(["node", "gpu"]):
        at_once = max(((on_gpu["start"] <= t) & (on_gpu["end"] > t)).sum() for t in on_gpu["start"])
        assert at_once <= 2, "never more than two halves of a GPU"
        most = max(most, at_once)
    assert most == 2, "two trials share a GPU"
    assert placed.groupby(["node", "gpu"]).ngroups == 3, "all three GPUs are used"
    yield "ray job submit", "trials on 3 logical GPUs of 2 nodes, halves of a GPU each", len(placed), "trials"
    yield "ray job submit", "whole sweep, start-up and teacher included", time.monotonic() - start, "s"


def two_devices(scratch: Path) -> Iterator[tuple[str, str, float, str]]:
    """Trials of two devices each, beside the same trials of one, with the same teacher.

    A network as small as the other scenes' turns the last digit of a sum into another training within a few steps (one
    process with two threads differs from one with one thread as much), so this is a calmer one at a low learning rate.
    """
    student = {**SPEC["student"], "encoder": "tu-resnet18"}
    data = {**SPEC["data"], "size": [64, 96]}
    calm = {"student": student, "data": data, "space": {"optimizer.lr": {"low": 1e-4, "high": 2e-4, "log": True}}}
    curves = []
    for name, gpus, teacher in (("one", 1, SPEC["teacher"]), ("two", 2, {"path": str(scratch / "one" / "teacher")})):
        resources = {"cpu": 1, "gpu": gpus}
        spec = written(
            scratch / f"{name}.yaml", budget={"trials": 1}, resources=resources, **{**calm, "teacher": teacher}
        )
        run_sweep(spec, scratch / name)
        check_whole(scratch / name, 2)
        metrics = pd.read_parquet(scratch / name / "tables" / "metrics.parquet")
        metrics = metrics[~metrics["name"].str.startswith("seconds")]
        curves.append(metrics.set_index(["trial_id", "epoch", "name"])["value"].rename(name))
        processes = placements(scratch / name)["processes"].unique().tolist()
        assert processes == [gpus], processes
    both = pd.concat(curves, axis="columns")
    terms = both[both.index.get_level_values("name").str.startswith("term/")]
    losses = ((terms["one"] - terms["two"]) / terms["one"]).abs()
    first = losses[losses.index.get_level_values("epoch") == 1]
    miou = (both["one"] - both["two"])[both.index.get_level_values("name") == "miou"].abs()
    yield "two-process trial", "mean losses of the first epoch beside one process", first.max(), "relative"
    yield "two-process trial", "mean losses of all three epochs", losses.max(), "relative"
    yield "two-process trial", "mIoU", miou.max(), "absolute, of 1"
    assert first.max() < 1e-5, both
    assert losses.max() < 1e-3, both
    assert miou.max() < 1e-3, both


def losses(scratch: Path, node: subprocess.Popen[bytes]) -> Iterator[tuple[str, str, float, str]]:
    """One sweep that loses a trial's process, and then a whole node."""
    resources = {"cpu": 1, "gpu": 1}
    data = {**SPEC["data"], "size": [96, 128], "counts": {"train": 48, "select": 6, "test": 1}}
    changes = {"data": data, "train": {"epochs": 12, "batch_size": 8}, "budget": {"trials": 3}, "retries": 1}
    spec, sweep = written(scratch / "losing.yaml", resources=resources, **changes), scratch / "losing"
    driver = start_sweep(spec, sweep)
    wait_for(lambda: len(running(sweep, epochs=2)) >= 2, 300, "two trials in their third epoch", driver)

    victim = running(sweep, epochs=2)[0]
    pid = int(placements(sweep).query("trial == @victim").iloc[-1]["pid"])
    killed = time.time()
    os.kill(pid, signal.SIGKILL)
    yield from aftermath(sweep, [victim], killed, "trial's process killed", "lost", driver)

    there = node_of(node)
    wait_for(lambda: set(running(sweep, epochs=2)) & on_node(sweep, there), 300, "a trial on the node", driver)
    victims = sorted(set(running(sweep, epochs=1)) & on_node(sweep, there))
    killed = time.time()
    os.killpg(node.pid, signal.SIGKILL)
    for worker in placements(sweep).query("node == @there")["pid"]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(worker), signal.SIGKILL)
    yield from aftermath(sweep, victims, killed, "node removed", "node_lost", driver)
    assert driver.wait(timeout=600) == 0, log_of(sweep)
    trials = check_whole(sweep, 6)
    left = placements(sweep).query("node != @there")
    assert set(victims) <= set(left["trial"]), "its trials were finished elsewhere"
    yield "both", "trials lost or doubled", 0, "trials"
    yield "both", "retries of trials", int(trials["retries"].sum()), ""


def aftermath(
    sweep: Path, victims: list[str], killed: float, event: str, failure: str, driver: subprocess.Popen[bytes]
) -> Iterator[tuple[str, str, float, str]]:
    """When the loss was noticed, when the trials' next new epochs came, and how many epochs were trained twice."""
    before = {trial: max(epochs(sweep, trial, until=killed), default=0) for trial in victims}

    def back() -> bool:
        return all(max(epochs(sweep, trial), default=0) > before[trial] for trial in victims)

    wait_for(back, 120, f"{victims} to go on", driver)
    for trial in victims:
        noticed = [r for r in records(sweep) if r["kind"] == "retried" and r["data"]["trial"] == trial]
        assert noticed, f"{trial} was not noticed to be lost"
        kinds = [r["data"]["failure"] for r in noticed]
        assert failure in kinds, f"{noticed}\n{log_of(sweep)}"
        yield event, f"{trial}: noticed after", at(noticed[-1]) - killed, "s"
        first = min(at(r) for r in reports(sweep, trial) if at(r) > killed)
        yield event, f"{trial}: next new epoch after", first - killed, "s"
        seen = [r["data"]["report"]["epoch"] for r in reports(sweep, trial)]
        assert len(seen) == len(set(seen)), "no epoch is told twice"
        yield event, f"{trial}: epochs saved before", before[trial], "epochs"


def spied(words: list[str]) -> None:
    """The command line, with a training that notes where it runs."""
    from functools import partial

    import sweeps.launch.tune as launch
    from sweeps.cli import main as kdsweep

    launch.run_on_ray = partial(launch.run_on_ray, train=placed_training)
    sys.argv = ["kdsweep", *words]
    kdsweep()


def placed_training(config: Any, machine: Any, report: Any, workdir: Path, interrupt: Any) -> Any:
    import ray

    from kdtrain import train

    context = ray.get_runtime_context()
    note = {
        "node": context.get_node_id(),
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "pid": os.getpid(),
        "processes": machine.processes,
        "start": time.time(),
    }
    workdir.mkdir(parents=True, exist_ok=True)
    file = workdir / f"placed-{time.time_ns()}.json"
    file.write_text(json.dumps({**note, "end": None}))
    if machine.data_root == Path(PAUSED):
        time.sleep(PAUSE_S)
    try:
        return train(config, machine, report, workdir, interrupt)
    finally:
        file.write_text(json.dumps({**note, "end": time.time()}))


def placements(sweep: Path) -> pd.DataFrame:
    found = []
    for path in sorted(sweep.glob("trials/*/placed-*.json")):
        with contextlib.suppress(ValueError):  # just being written
            found.append({"trial": path.parent.name, **json.loads(path.read_text())})
    return pd.DataFrame(found)


def node_of(process: subprocess.Popen[bytes]) -> str:
    """Ray's id of the node whose `ray start` this is."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode().split("\0")
            if words[0].endswith("raylet") and os.getpgid(int(path.parent.name)) == process.pid:
                return next(word.partition("=")[2] for word in words if word.startswith("--node_id="))
    raise AssertionError("the node's raylet is not there")


def on_node(sweep: Path, node: str) -> set[str]:
    latest = placements(sweep).groupby("trial").last()
    return set(latest[latest["node"] == node].index)


def running(sweep: Path, epochs: int) -> list[str]:
    """Trials that have told of so many epochs, and have three to go at least."""
    told = records(sweep)
    ended = {r["data"]["trial"] for r in told if r["kind"] == "ended"}
    latest = {r["data"]["trial"]: r["data"]["report"] for r in told if r["kind"] == "report"}
    return sorted(
        trial
        for trial, report in latest.items()
        if epochs <= report["epoch"] <= report["epochs"] - 3 and trial not in ended
    )


def records(sweep: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(sweep.glob("ledger/*.jsonl")) for line in file.read_text().splitlines()]


def reports(sweep: Path, trial: str) -> list[dict[str, Any]]:
    return [r for r in records(sweep) if r["kind"] == "report" and r["data"]["trial"] == trial]


def epochs(sweep: Path, trial: str, until: float = float("inf")) -> list[int]:
    return [r["data"]["report"]["epoch"] for r in reports(sweep, trial) if at(r) <= until]


def at(record: dict[str, Any]) -> float:
    return datetime.fromisoformat(record["at"]).timestamp()


def check_whole(sweep: Path, count: int) -> pd.DataFrame:
    trials = pd.read_parquet(sweep / "tables" / "trials.parquet")
    assert len(trials) == count, trials
    assert trials["trial_id"].is_unique
    assert set(trials["state"]) == {"complete"}, trials[["trial_id", "state", "reason"]]
    return trials


def written(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({**SPEC, **changes}))
    return path


def start_sweep(spec: Path, sweep: Path) -> subprocess.Popen[bytes]:
    with sweep.with_suffix(".log").open("wb") as log:
        words = [*KDSWEEP, "run", str(spec), "--dir", str(sweep), "--address", "127.0.0.1:6379"]
        return subprocess.Popen(words, stdout=log, stderr=log)


def run_sweep(spec: Path, sweep: Path) -> None:
    code = start_sweep(spec, sweep).wait(timeout=600)
    assert code == 0, log_of(sweep)


def log_of(sweep: Path) -> str:
    return sweep.with_suffix(".log").read_text()[-3000:]


def wait_for(come: Callable[[], Any], seconds: float, what: str, driver: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + seconds
    while not come():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        assert driver is None or driver.poll() in (None, 0), "the driver has ended"
        time.sleep(0.1)


if __name__ == "__main__":
    main()
