"""What a training step costs: plain cross-entropy, each method with a live teacher, and each method replayed.

    python benchmarks/replay.py --out replay.parquet

Whole trainings through `train`, in turns, on all cores, with networks of the usual sizes (random weights): DeepLabV3+
with ResNet-50 teaches DeepLabV3+ with MobileNetV2 x 0.5. Seconds per step are those of an epoch's report without
evaluation and without the look at gradients, which is printed beside. "Replayed" reads samples and maps that an earlier
training has recorded; what recording took is in the last column.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from kdtrain import EpochReport, Machine, TrainConfig, train
from kdtrain.config import Replay
from kdtrain.methods import METHODS
from kdtrain.models import Network, build_network
from kdtrain.teacher import save_model

TEACHER = {"arch": "DeepLabV3Plus", "encoder": "resnet50"}
STUDENT = {"arch": "DeepLabV3Plus", "encoder": "tu-mobilenetv2_050"}
APART = ("evaluate", "gradients")


def make_teacher(folder: Path, classes: tuple[str, ...], encoder: str = TEACHER["encoder"]) -> str:
    """A teacher folder with random weights; returns its digest."""
    network = Network.model_validate(TEACHER | {"encoder": encoder, "weights": "none"})
    net = build_network(network, len(classes), bare=True).net
    facts: dict[str, object] = {"network": network, "classes": classes, "trained_on": "nothing"}
    return save_model(folder, net, facts).digest


def make_config(method: str, teacher: str, options: argparse.Namespace) -> TrainConfig:
    """A short training of one method."""
    images = options.batch * options.steps
    height, width = options.image
    return TrainConfig.parse(
        {
            "data": {
                "name": "streets",
                "size": [height, width],
                "counts": {"train": images, "select": options.batch, "test": 1},
            },
            "augment": {"crop": options.crop, "scale": (0.5, 1.0), "photometric": 0.2},
            "student": STUDENT | {"weights": "none"},
            "terms": [term.model_dump() for term in METHODS[method].terms],
            "teacher": teacher if METHODS[method].needs_teacher else None,
            "epochs": options.epochs,
            "evaluate_every": options.epochs,
            "batch_size": options.batch,
        }
    )


def step_seconds(reports: tuple[EpochReport, ...], steps: int) -> float:
    """Median over the epochs but the first, which warms up."""
    own = [past.seconds["total"] - sum(past.seconds.get(part, 0.0) for part in APART) for past in reports[1:]]
    return statistics.median(own) / steps


def part(reports: tuple[EpochReport, ...], name: str) -> float:
    return sum(past.seconds.get(name, 0.0) for past in reports)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["kd", "cwd", "csc_ace", "cskd"])
    parser.add_argument("--image", nargs=2, type=int, default=[360, 480], metavar=("H", "W"))
    parser.add_argument("--crop", nargs=2, type=int, default=[160, 224], metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6, help="per epoch")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, load average {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="kdsweep-") as scratch:
        rows = measure(options, Path(scratch))
    print(f"load average {os.getloadavg()[0]:.1f}")
    plain = statistics.median(row["step_s"] for row in rows if row["method"] == "none" and row["way"] == "live")
    print(f"{'':10}{'live':>12}{'':>8}{'replayed':>12}{'':>8}{'recording':>12}{'gradients':>12}")
    for method in ("none", *options.methods):
        mine = [row for row in rows if row["method"] == method]
        live, replayed = (
            statistics.median(row["step_s"] for row in mine if row["way"] == way) for way in ("live", "replayed")
        )
        recording = sum(row["record_s"] for row in mine if row["way"] == "recorded")
        looks = statistics.median(row["gradients_s"] for row in mine)
        print(
            f"{method:10}{1e3 * live:9.0f} ms{live / plain:7.2f}x{1e3 * replayed:9.0f} ms{replayed / plain:7.2f}x"
            f"{recording:10.1f} s{looks:10.1f} s"
        )
    if options.out:
        pq.write_table(pa.Table.from_pylist(rows), options.out)


def measure(options: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    """One row per training."""
    classes = tuple(TrainConfig().data.open(None).classes)
    digest = make_teacher(scratch / "teacher", classes)
    machine = Machine(
        device=options.device, threads=options.threads, cache=scratch / "cache", teacher=scratch / "teacher"
    )
    ways = {"live": machine}
    rows: list[dict[str, Any]] = []

    def run(way: str, method: str, on: Machine) -> None:
        reports = train(make_config(method, digest, options), on).reports
        row = {
            **{"method": method, "way": way, "step_s": step_seconds(reports, options.steps)},
            **{
                "record_s": part(reports, "record") + part(reports, "record_teacher"),
                "gradients_s": part(reports, "gradients"),
            },
            **{"losses_s": part(reports, "losses"), "data_s": part(reports, "data")},
        }
        rows.append(row)
        print(f"{method:10} {way:10} {1e3 * row['step_s']:7.0f} ms a step", flush=True)

    for method in ("none", *options.methods):  # a store for each, so that each records what it needs
        store = machine.model_copy(update={"replay": Replay(folder=scratch / "replay" / method)})
        ways[method] = store
        run("recorded", method, store)
    for _ in range(options.rounds):
        for method in ("none", *options.methods):
            run("live", method, machine)
            run("replayed", method, ways[method])
    return rows


if __name__ == "__main__":
    main()
