"""Whether a search under a limit finds a better student than a search without it, at equal epochs.

    export KDSWEEP_DATA=data-small KDSWEEP_WEIGHTS=weights
    python benchmarks/device.py --dir runs/device --teacher runs/kdbench/camvid/teacher --limit 3

On the small CamVid of `kdbench/shrink.py`, an FPN on six encoders (EfficientNet-Lite 0, 1 and 2, cut after three stages
and whole), with their ImageNet weights. Each repetition is two sweeps with one seed and equal budgets, one of them with
`target: {latency_ms: LIMIT, runtime: onnxruntime, threads: 1}`. Of the one without a limit the best student that keeps
the limit by the latencies of the other is taken. Both configs then train on fresh seeds. Prints a table in Markdown.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
from ranges import trained

from sweeps import Sweep
from sweeps.spec.spec import SweepSpec

SEEDS = 4

RECIPE: dict[str, Any] = {
    "data": {"name": "camvid", "carve": {"select": ["0001TP", "0006R0"], "train": ["0016E5"]}},
    "student": {
        "arch": "FPN",
        "encoder": "tu-tf_efficientnet_lite0",
        "weights": "library",
        "options": {"encoder_depth": 5, "decoder_pyramid_channels": 64, "decoder_segmentation_channels": 32},
    },
    "train": {
        "epochs": 8,
        "batch_size": 8,
        "augment": {"crop": [48, 64], "scale": [0.7, 1.4], "flip": 0.5, "photometric": 0.5},
        "optimizer": {"name": "adamw", "lr": 0.003, "weight_decay": 0.01},
    },
    "sampler": {"name": "gp"},
    "scheduler": {"name": "halving", "grace": 3, "factor": 3},
    "resources": {"cpu": 1},
}
SPACE: dict[str, Any] = {
    "student.encoder": [f"tu-tf_efficientnet_lite{size}" for size in (0, 1, 2)],
    "student.options.encoder_depth": [3, 5],
    "optimizer.lr": {"low": 0.0003, "high": 0.03, "log": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help="of the sweeps")
    parser.add_argument("--teacher", required=True, help="a teacher folder")
    parser.add_argument("--limit", type=float, required=True, help="milliseconds, onnxruntime, one thread")
    parser.add_argument("--trainings", type=int, default=8, help="that a search may spend")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--inline", action="store_true", help="train in this process, without Ray")
    options = parser.parse_args()
    target = {"latency_ms": options.limit, "runtime": "onnxruntime", "threads": 1}
    rows: list[dict[str, object]] = []
    for seed in range(options.repetitions):
        limited = trained(search(options, f"limited-{seed}", seed, {"target": target}), options)
        costs = Sweep.open(options.dir / f"limited-{seed}").tables["costs"]
        latency = dict(zip(map(architecture, costs["network_json"]), costs["latency_ms"], strict=True))
        free = trained(search(options, f"free-{seed}", seed, {}), options)
        keeps = free["config_json"].map(architecture).map(latency) <= options.limit
        best = {"limited": best_of(limited), "free": best_of(free[keeps])}
        scores = fresh(options, seed, best)
        for name, chosen in best.items():
            student = json.loads(chosen["config_json"])["student"]
            rows.append(
                {
                    "repetition": seed,
                    "search": name,
                    "complete trials within the limit": len(limited) if name == "limited" else int(keeps.sum()),
                    "student": f"{student['encoder']}, {student['options']['encoder_depth']} stages",
                    "ms": round(latency[architecture(chosen["config_json"])], 2),
                    "mIoU, fresh seeds": round(100 * scores[name].mean(), 2),
                    "standard error": round(100 * scores[name].sem(), 2),
                }
            )
    print("| " + " | ".join(rows[0]) + " |")
    print("|---" * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")


def search(options: argparse.Namespace, name: str, seed: int, changes: dict[str, Any]) -> SweepSpec:
    """A sweep of one study that searches the student, the learning rate and the method's own settings."""
    studies = [{"name": "cwd", "method": "cwd"}]
    budget = {"epochs": options.trainings * RECIPE["train"]["epochs"]}
    return sweep(options, name, {"seed": seed, "studies": studies, "space": SPACE, "budget": budget, **changes})


def sweep(options: argparse.Namespace, name: str, changes: dict[str, Any]) -> SweepSpec:
    """A sweep of the recipe, without a confirm phase if nothing else is said."""
    teacher = {"path": options.teacher}
    return SweepSpec.model_validate({**RECIPE, "name": name, "teacher": teacher, "confirm": {"top": 0}, **changes})


def architecture(text: str) -> tuple[str, int]:
    """What tells the six students apart, of a network or of the config that holds it, as JSON."""
    content = json.loads(text)
    network = content.get("student", content)
    return network["encoder"], network["options"]["encoder_depth"]


def best_of(trials: pd.DataFrame) -> "pd.Series[Any]":
    """The complete trial with the highest score."""
    complete = trials[trials["state"] == "complete"]
    return complete.loc[complete["score"].idxmax()]


def fresh(options: argparse.Namespace, seed: int, best: dict[str, "pd.Series[Any]"]) -> "dict[str, pd.Series[Any]]":
    """Scores of the best configs of a repetition on seeds that chose none of them."""
    studies = [{"name": name, "method": "cwd", "set": chosen["searched"], "space": {}} for name, chosen in best.items()]
    changes = {"seed": 100 + seed, "studies": studies, "budget": {"trials": 1}, "confirm": {"top": 1, "seeds": SEEDS}}
    scores = trained(sweep(options, f"fresh-{seed}", changes), options)
    confirmed = scores[scores["phase"] == "confirm"]
    return {name: confirmed.loc[confirmed["study"] == name, "score"] for name in best}


if __name__ == "__main__":
    main()
