"""What a report costs: a sweep of 10,000 trials x 100 epochs, as tables that are made up here.

    python benchmarks/report.py --trials 10000 --epochs 100

Seconds and peak memory of writing the report (a process of its own, imports included), and the size of the page. Beside
it: pandas alone reading the result files that Ray Tune would have left for the same sweep (a folder per trial with a
`progress.csv` of one row per epoch, and its `params.json`), which is what comes before any figure can be drawn.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from analysis.tables.files import write_table
from analysis.tables.metric_names import (
    LEARNING_RATE,
    MIOU,
    PIXEL_ACCURACY,
    TOTAL,
    TermPart,
    seconds_metric,
    term_metric,
)

CLASSES = 19
IMAGES = 100
STUDIES = {"none": 0.60, "kd": 0.607, "cwd": 0.622, "csc_ace": 0.615, "cskd": 0.625}
TOP, SEEDS = 4, 5
PARAMETERS = {
    "optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "terms.main.weight": {"low": 0.1, "high": 30.0, "log": True},
    "terms.main.temperature": {"low": 1.0, "high": 8.0, "log": False},
}
TERMS = [{"loss": "cross_entropy", "weight": 1.0}, {"loss": "main", "weight": 3.0, "temperature": 4.0}]
PARTS = ("data", "student", "teacher", "losses", "backward", "optimizer")
METRICS = (
    *(MIOU, PIXEL_ACCURACY, LEARNING_RATE),
    *(term_metric(term, part) for term in ("cross_entropy", "main") for part in (TermPart.RAW, TermPart.WEIGHTED)),
    *(seconds_metric(part) for part in (TOTAL, *PARTS)),
)
START = datetime(2026, 3, 1, 9, tzinfo=UTC)
REPORT = "import sys; from analysis.report.sweep_report import write_report; write_report(sys.argv[1])"
PANDAS = """
import json, sys
from pathlib import Path
import pandas as pd

frames, params = [], []
for folder in sorted(Path(sys.argv[1]).iterdir()):
    frames.append(pd.read_csv(folder / "progress.csv"))
    params.append(json.loads((folder / "params.json").read_text()))
runs = pd.concat(frames, ignore_index=True)
print(runs.groupby("trial_id")["miou"].last().describe().to_string(), len(params), file=sys.stderr)
"""


def make_trials(trials: int, epochs: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rows of the table of trials: random search with some pruned, diverged and failed, then fresh seeds."""
    rows: list[dict[str, Any]] = []
    searched = trials - len(STUDIES) * TOP * SEEDS

    def add(study: str, number: int, phase: str, seed: int, score: float, **fields: Any) -> dict[str, Any]:
        state = fields.pop("state", "complete")
        ran = {"complete": epochs, "pruned": epochs // 3, "diverged": 3, "failed": 5}[state]
        begin = START + timedelta(seconds=30 * len(rows))
        config = {"method": study, "seed": seed, "epochs": epochs, "number": number, "terms": TERMS}
        row = {
            **{"sweep_id": "big", "trial_id": f"{study}-{number}", "study": study, "number": number, "phase": phase},
            **{"config_id": f"{study}-c{number}", "seed": seed, "state": state, "attempts": 1},
            **{"epochs_planned": epochs, "epochs_run": ran, "started_at": begin},
            **{"ended_at": begin + timedelta(seconds=9 * ran), "seconds": 9.0 * ran, "params": 1_700_000},
            **{"parts_json": json.dumps({TOTAL: 9.0 * ran, **dict.fromkeys(PARTS, 0.8 * ran)})},
            **{"asked": 50 * ran, "recorded": 0},
            **{"macs": 10**9, "latency_ms": 12.5, "latency_device": "cpu", "environment_id": "e1"},
            **{"score": score if state == "complete" else None, "config_json": json.dumps(config)},
            **{"reason": "loss is nan" if state == "diverged" else None},
            **fields,
        }
        rows.append(row)
        return row

    for number in range(searched // len(STUDIES)):
        for study, quality in STUDIES.items():
            state = str(rng.choice(["complete", "pruned", "diverged", "failed"], p=[0.7, 0.25, 0.03, 0.02]))
            score = quality - abs(rng.normal(0, 0.03)) + rng.normal(0, 0.004)
            add(study, number, "search", 7, score, state=state)
    for study in STUDIES:
        mine = [row for row in rows if row["study"] == study]
        tops = sorted((row for row in mine if row["score"]), key=lambda row: -row["score"])[:TOP]
        for number, (top, seed) in enumerate(((t, s) for t in tops for s in range(SEEDS)), start=len(mine)):
            score = STUDIES[study] + rng.normal(0, 0.004)
            config = {"candidate_of": top["trial_id"], "config_id": top["config_id"]}
            add(study, number, "confirm", 101 + seed, score, **config)
    return rows


def curve(score: float | None, epochs: int, rng: np.random.Generator) -> np.ndarray:
    """The mIoU of every epoch, which ends at the score."""
    steps = np.arange(1, epochs + 1)
    values = (score or 0.5) * (1 - np.exp(-steps / 15)) + rng.normal(0, 0.006, epochs)
    if score is not None:
        values[-1] = score
    return values


def write_sweep(folder: Path, trials: int, epochs: int) -> int:
    """All tables of a sweep; returns the number of rows of metrics."""
    rng = np.random.default_rng(0)
    tables = folder / "tables"
    classes = [f"class {number}" for number in range(CLASSES)]
    sweep = {
        **{"sweep_id": "big", "name": "big", "created_at": START, "kdsweep_version": "0.1.0", "seed": 7},
        **{"objective": "select/miou", "direction": "maximize", "sampler": "random", "scheduler": "halving"},
        **{"budget_trials": trials // len(STUDIES), "confirm_top": TOP, "confirm_seeds": SEEDS, "baseline": "none"},
        **{"purpose": "search", "spec_json": "{}", "data_name": "cityscapes", "num_classes": CLASSES},
        **{"classes": classes, "palette": ["#804080"] * CLASSES, "finished": True},
    }
    write_table(tables, "sweeps", [sweep])
    rows = make_trials(trials, epochs, rng)
    write_table(tables, "trials", rows)
    studies = [
        {
            **{"sweep_id": "big", "study": study, "method": study, "scientific_json": "{}"},
            **{"space_json": json.dumps(PARAMETERS), "searched_parameters": len(PARAMETERS)},
            **{"spent_trials": trials // len(STUDIES), "spent_epochs": epochs, "spent_s": 1.0},
            "is_baseline": study == "none",
        }
        for study in STUDIES
    ]
    write_table(tables, "studies", studies)
    params = [
        {
            **{"sweep_id": "big", "trial_id": row["trial_id"], "name": name, "role": "nuisance"},
            **{"value": (value := float(rng.uniform(domain["low"], domain["high"]))), "value_json": json.dumps(value)},
        }
        for row in rows
        for name, domain in PARAMETERS.items()
    ]
    write_table(tables, "params", params)
    write_table(tables, "evaluations", [evaluation(row, rng) for row in rows if row["score"]])
    confirmed = [row for row in rows if row["phase"] == "confirm"]
    write_table(tables, "confusion", confusion(confirmed, rng))
    ran = np.array([row["epochs_run"] for row in rows])
    per_trial = ran * len(METRICS)
    values = np.concatenate(
        [
            np.concatenate([curve(row["score"], row["epochs_run"], rng), rng.random((len(METRICS) - 1) * ran[place])])
            for place, row in enumerate(rows)
        ]
    )
    metrics = {
        "sweep_id": np.repeat(np.array(["big"]), len(values)),
        "trial_id": np.repeat(np.array([row["trial_id"] for row in rows]), per_trial),
        "epoch": np.concatenate([np.tile(np.arange(1, n + 1), len(METRICS)) for n in ran]),
        "name": np.concatenate([np.repeat(np.array(METRICS), n) for n in ran]),
        "value": values,
    }
    write_table(tables, "metrics", metrics)
    environment = {
        **{"environment_id": "e1", "python": "3.11.7", "torch": "2.15.0", "platform": "Linux", "device": "cpu"},
        **{"num_threads": 1, "versions_json": "{}", "kdsweep_version": "0.1.0"},
    }
    write_table(tables, "environments", [environment])
    teacher = {"digest": "abcdef0123456789", "name": "big", "arch": "deeplabv3plus", "source": "fitted"}
    write_table(tables, "teachers", [{"sweep_id": "big", **teacher, "miou": 0.70, "role": "select", "seconds": 3e4}])
    kinds = ("proposed", "started", "promoted", "ended")
    events = [
        {"sweep_id": "big", "n": n, "at": START, "kind": kind, "trial_id": row["trial_id"], "detail": ""}
        for n, (row, kind) in enumerate((row, kind) for row in rows for kind in kinds)
    ]
    write_table(tables, "decisions", events)
    for name in ("cells", "selections"):
        write_table(tables, name, [])
    return len(values)


def evaluation(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    iou = np.clip(row["score"] + rng.normal(0, 0.02, CLASSES), 0, 1).tolist()
    return {
        **{"sweep_id": "big", "eval_id": f"{row['trial_id']}/select", "trial_id": row["trial_id"], "role": "select"},
        **{"epoch": row["epochs_run"], "data_digest": "d", "n_images": IMAGES, "miou": row["score"]},
        **{"pixel_accuracy": 0.9, "iou": iou, "precision": iou, "recall": iou, "f1": iou},
    }


def confusion(rows: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    """Counts of every image: each class hit, and missed for its neighbour."""
    shape = (len(rows), IMAGES, CLASSES, 2)
    index = np.indices(shape).reshape(4, -1)
    share = np.array([row["score"] for row in rows])[index[0]] + rng.normal(0, 0.03, index.shape[1])
    hit = index[3] == 0
    return {
        "eval_id": np.array([f"{row['trial_id']}/select" for row in rows])[index[0]],
        "image_id": np.array([f"city_{n:04d}" for n in range(IMAGES)])[index[1]],
        "group_id": np.array([f"sequence_{n // 10}" for n in range(IMAGES)])[index[1]],
        "gt": index[2],
        "pred": np.where(hit, index[2], (index[2] + 1) % CLASSES),
        "n": (1000 * np.where(hit, share, 1 - share)).clip(0).astype(np.int64),
    }


def write_ray_results(folder: Path, trials: int, epochs: int) -> None:
    """What Ray Tune leaves of a sweep: a folder per trial, one row of CSV per report with what Tune adds to it."""
    rng = np.random.default_rng(0)
    own = ("time_this_iter_s", "time_total_s", "time_since_restore", "timestamp", "training_iteration")
    names = [*METRICS, *own, "done", "trial_id", "date", "pid", "hostname", "node_ip", "iterations_since_restore"]
    for number in range(trials):
        trial = folder / f"train_{number:05d}"
        trial.mkdir(parents=True)
        rows = [",".join([*names, *(f"config/{name}" for name in PARAMETERS)])]
        for epoch in range(1, epochs + 1):
            values = [f"{value:.9f}" for value in rng.random(len(METRICS) + len(own) + len(PARAMETERS))]
            told = ["False", f"{number:05d}", "2026-03-01_09-00-00", "4242", "node-1", "10.0.0.1", str(epoch)]
            cut = len(METRICS) + len(own)
            rows.append(",".join([*values[:cut], *told, *values[cut:]]))
        (trial / "progress.csv").write_text("\n".join(rows) + "\n")
        (trial / "params.json").write_text(json.dumps({name: float(rng.random()) for name in PARAMETERS}))


def measured(code: str, folder: Path) -> tuple[float, float]:
    """Seconds and peak GiB of a process of its own."""
    begin = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(said.decode())
    scale = 2**30 if sys.platform == "darwin" else 2**20
    return time.perf_counter() - begin, usage.ru_maxrss / scale


def timed(what: str, work: Callable[..., Any], *about: Any) -> Any:
    """Works in a process of its own: a parent's memory would be counted as its later children's."""
    begin = time.perf_counter()
    with ProcessPoolExecutor(1) as pool:
        result = pool.submit(work, *about).result()
    print(f"{what}: {time.perf_counter() - begin:.1f} s", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ray", type=int, default=None, help="folders of Ray to read (default: as many as trials)")
    parser.add_argument("--keep", type=Path, default=None, help="make and leave everything here, or use what lies here")
    options = parser.parse_args()
    if options.trials < (fewest := len(STUDIES) * (TOP * SEEDS + TOP)):
        parser.error(f"--trials must be {fewest} or more, so that every study has finalists, got {options.trials}")
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="kdsweep-") as scratch:
        folder = options.keep or Path(scratch)
        sweep, ray = folder / "sweep", folder / "ray"
        if not (sweep / "tables" / "selections.parquet").is_file():
            rows = timed("made the tables", write_sweep, sweep, options.trials, options.epochs)
            print(f"{options.trials} trials x {options.epochs} epochs, {rows:,} rows of metrics")
        for _ in range(options.repeats):
            seconds, peak = measured(REPORT, sweep)
            size = (sweep / "report" / "index.html").stat().st_size / 2**20
            print(f"report: {seconds:.1f} s, peak {peak:.2f} GiB, page {size:.1f} MiB", flush=True)
        count = options.trials if options.ray is None else options.ray
        if not ray.is_dir() and count:
            timed(f"made {count} folders of Ray", write_ray_results, ray, count, options.epochs)
        for _ in range(options.repeats if count else 0):
            seconds, peak = measured(PANDAS, ray)
            print(f"pandas reads {count} folders of Ray: {seconds:.1f} s, peak {peak:.2f} GiB", flush=True)
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
