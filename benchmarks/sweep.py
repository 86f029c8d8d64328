"""A whole sweep against a plain Ray Tune script around the same `train`: wall time, metrics, passes of the teacher.

    python benchmarks/sweep.py --data data

24 trials over four methods on CamVid images (the first of each role, so that it ends within half an hour), DeepLabV3+
with ResNet-50 teaching DeepLabV3+ with MobileNetV2 x 0.5, two trials at once with one thread each. Ours first, the
recording and the start of Ray within it, then the whole of `plain_tune.py` with the same configs. Exits with 1 where a
metric differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from replay import STUDENT, TEACHER, make_teacher

from analysis.tables.files import read_tables
from kdtrain import Machine
from kdtrain.data.camvid import CLASSES
from sweeps.run import run_sweep
from sweeps.spec.spec import SweepSpec, parse_spec

METHODS = ["kd", "cwd", "csc_ace", "cskd"]


def subset(data: Path, folder: Path, counts: dict[str, int]) -> None:
    """Links to the first CamVid images of every role."""
    root = data if (data / "train").is_dir() else data / "camvid"
    for role, count in counts.items():
        for name in (role, f"{role}annot"):
            (folder / name).mkdir(parents=True)
            for file in sorted((root / name).iterdir())[:count]:
                (folder / name / file.name).symlink_to(file.resolve())


def make_spec(teacher: Path, options: argparse.Namespace) -> SweepSpec:
    """The same number of trials for each method."""
    return parse_spec(
        {
            "name": "replayed",
            "data": {"name": "camvid"},
            "student": STUDENT | {"weights": "none"},
            "teacher": {"path": str(teacher)},
            "train": {
                "epochs": options.epochs,
                "evaluate_every": options.epochs,
                "batch_size": 8,
                "augment": {"crop": options.crop, "scale": (0.5, 1.0)},
                "eval_scale": 0.5,
            },
            "units": "weight",
            "studies": METHODS,
            "space": {"optimizer.lr": {"low": 0.005, "high": 0.05, "log": True}},
            "budget": {"trials": options.trials // len(METHODS)},
            "sampler": {"name": "random"},
            "confirm": {"top": 0},
            "purpose": "ablation",
            "resources": {"cpu": 1},
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="where camvid lies")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--encoder", default=TEACHER["encoder"], help="of the teacher")
    parser.add_argument("--crop", nargs=2, type=int, default=[160, 224], metavar=("H", "W"))
    options = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="kdsweep-") as scratch:
        folder = Path(scratch)
        subset(options.data, folder / "data" / "camvid", {"train": options.images, "val": 16})
        make_teacher(folder / "teacher", CLASSES, options.encoder)
        machine = Machine(data_root=folder / "data", cache=folder / "cache", threads=1)
        begin = time.monotonic()
        run_sweep(make_spec(folder / "teacher", options), folder / "sweep", machine)
        ours_s = time.monotonic() - begin
        ours = scores(folder / "sweep")
        begin = time.monotonic()
        plain = run_plainly(folder, [config for config, _ in ours], machine)
        plain_s = time.monotonic() - begin
    told = {json.dumps(result["config"], sort_keys=True): result["miou"] for result in plain["results"]}
    apart = [abs(miou - told[json.dumps(config, sort_keys=True)]) for config, miou in ours]
    print(f"our sweep:      {ours_s:7.0f} s")
    print(f"plain Ray Tune: {plain_s:7.0f} s, {plain_s / ours_s:.2f}x ({plain['seconds']:.0f} s without its start)")
    print(f"largest difference of mIoU over {len(ours)} trials: {max(apart):.3g}")
    print(f"load average {os.getloadavg()[0]:.1f}")
    if max(apart) > 0:
        raise SystemExit("the metrics differ")


def scores(sweep: Path) -> list[tuple[dict[str, Any], float]]:
    """Config and score of every trial, and a line on what the teacher was asked."""
    tables = read_tables(sweep)
    trials = tables["trials"]
    if "asked" in trials:
        rows, views = tables["sweeps"], trials["epochs_run"].max()
        asked = int(trials["asked"].sum())
        print(f"the teacher was shown {asked} images in {len(trials)} trials of {views} views ({len(rows)} sweep)")
    return [(json.loads(row["config_json"]), row["score"]) for _, row in trials.iterrows()]


def run_plainly(folder: Path, configs: list[dict[str, Any]], machine: Machine) -> dict[str, Any]:
    """The user's script, in a process of its own because ours sets Ray's switches."""
    on = machine.model_copy(update={"teacher": folder / "teacher"})
    task = {"configs": configs, "machine": on.model_dump(mode="json"), "slots": 2, "folder": str(folder / "plain")}
    (folder / "task.json").write_text(json.dumps(task))
    script = Path(__file__).with_name("plain_tune.py")
    subprocess.run(
        [sys.executable, script, folder / "task.json", folder / "result.json"],
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


if __name__ == "__main__":
    main()
