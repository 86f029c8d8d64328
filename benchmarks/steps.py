"""A training step of every method by processor time: replayed beside plain cross-entropy, and what reading takes of it.

    python benchmarks/steps.py --out steps.parquet

DeepLabV3+ with ResNet-50 teaches DeepLabV3+ with MobileNetV2 x 0.5 (random weights) on generated street scenes, in one
process with one thread, which makes figures of a busy machine comparable: each method's step takes turns with a plain
one. A replayed step has the teacher's recorded maps in memory, so what it takes beside a plain step are its losses. To
read a batch from the store and to make it ready, which a thread does ahead of the steps, is a column of its own.
"""

import argparse
import os
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from gpu_rows.bench import Bench
from gpu_rows.resident import ResidentSteps, processor_ms

from kdtrain import Machine
from kdtrain.errors import InputError
from kdtrain.loop.batches import moved
from kdtrain.loop.device import keep_freed_memory
from kdtrain.methods import METHODS


def in_turns(work: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Medians of the milliseconds by name; a first round, which warms up, does not count."""
    figures: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds + 1):
        for name, step in work.items():
            figures[name].append(processor_ms(step))
    return {name: statistics.median(values[1:]) for name, values in figures.items()}


def measure(bench: Bench, method: str, plain: ResidentSteps, rounds: int, live: bool) -> dict[str, Any]:
    """The figures of one method, by column."""
    machine: Machine = bench.machine(replay=bench.replay(method))
    steps = ResidentSteps(bench.config(method), machine)
    work: dict[str, Callable[[], object]] = {"plain": plain, "replayed": steps}
    if live:
        work["live"] = partial(steps, live=True)
        assert steps.run.teacher is not None
        work["teacher"] = partial(steps.run.teacher.ask, steps.batch.images, ["logits"])
    row = in_turns(work, rounds)
    reading = []
    for _ in range(rounds):
        steps.prepare()
        reading.append(processor_ms(lambda: sum(1 for _ in moved(steps.run.source.epoch(0), steps.run.device))))
    steps.run.source.close()
    return {"method": method, **row, "reading": statistics.median(reading) / bench.steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    teachable = [name for name, method in METHODS.items() if method.needs_teacher]
    parser.add_argument("--methods", nargs="+", choices=teachable, default=teachable, metavar="METHOD")
    parser.add_argument("--image", nargs=2, type=int, default=[160, 224], metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--live", action="store_true", help="also a live step, and a pass of the teacher")
    parser.add_argument("--networks", default="smp", choices=["smp", "torchvision", "tiny"])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    rows = []
    with tempfile.TemporaryDirectory(prefix="kdsweep-") as scratch:
        size = (options.image[0], options.image[1])
        bench = Bench(Path(scratch), "cpu", options.networks, size, options.batch, steps=2, threads=1)
        plain = ResidentSteps(bench.config("none"), bench.machine())
        for method in options.methods:
            try:
                row = measure(bench, method, plain, options.rounds, options.live)
            except InputError as error:
                print(f"{method:>14} is not measured: {error}", flush=True)
                continue
            rows.append({**row, "ratio": row["replayed"] / row["plain"], "load": os.getloadavg()[0]})
            if len(rows) == 1:
                print("".join(f"{name:>14}" for name in rows[0]) + "   (milliseconds of the processor)")
            figures = (f"{value:.2f}" if isinstance(value, float) else value for value in rows[-1].values())
            print("".join(f"{figure:>14}" for figure in figures), flush=True)
    if options.out:
        pq.write_table(pa.Table.from_pylist(rows), options.out)


if __name__ == "__main__":
    main()
