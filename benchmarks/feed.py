"""What a batch costs before the network sees it: the training's own thread, the thread that reads ahead, the device.

    python benchmarks/feed.py --out feed.parquet

Generated street scenes, one torch thread. Replayed batches come from a store that is recorded first; live ones are
made. Beside each stands the state before: every sample was made by itself in the training's own thread, conversion and
colors included (`before`). Exits with 1 where the two differ by more than rounding. Figures are medians over rounds,
which run in turns: milliseconds for a batch that pass, and those of the processor that its thread takes, which other
work on the machine changes less.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import default_collate

from kdtrain.data import Augment, Images, Streets, TrainBatches, open_role
from kdtrain.data.crops import Crops, finished
from kdtrain.loop.batches import LiveBatches, RawBatch
from kdtrain.loop.device import keep_freed_memory
from kdtrain.loop.evaluate import load_batch, read_batch
from kdtrain.loop.feed import AHEAD, B, fed
from kdtrain.loop.replayed import ReplayedBatches
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.loop.teacher_request import TeacherRequest
from kdtrain.replay import ReplayStore

CPU = torch.device("cpu")


class Spent(NamedTuple):
    """Milliseconds for a batch."""

    passed: float
    """By the clock."""
    processor: float
    """Of the thread alone."""


Rows = dict[str, list[Spent]]


def spent_since(start: Spent) -> Spent:
    return Spent(*(now - then for now, then in zip(clocks(), start, strict=True)))


def clocks() -> Spent:
    return Spent(1e3 * time.perf_counter(), 1e3 * time.thread_time())


def median(values: Iterable[Spent]) -> Spent:
    return Spent(*map(statistics.median, zip(*values, strict=True)))


def before(crops: Crops) -> tuple[Tensor, Tensor]:
    """A batch as it was made before, from what lies in the store: sample by sample, then stacked."""
    images, labels = [], []
    for image, ids, weights in zip(crops.images.numpy(), crops.labels.numpy(), crops.colors.tolist(), strict=True):
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div_(255)
        if weights:
            brightness, contrast, saturation = factors_of(*weights)
            pixels = pixels * brightness
            gray = pixels.mean(dim=0, keepdim=True)
            pixels = torch.lerp(gray, pixels, saturation)
            pixels = torch.lerp(gray.mean(), pixels, contrast).clamp_(0, 1)
        images.append(pixels)
        labels.append(torch.from_numpy(ids.astype(np.int64)))
    return default_collate(images).to(memory_format=torch.channels_last), default_collate(labels)


def factors_of(of_channel: float, of_gray: float, of_mean: float) -> tuple[float, float, float]:
    """Brightness, contrast and saturation: the inverse of `kdtrain.data.crops.stacked_colors`."""
    without_mean = of_channel + 3 * of_gray
    light = without_mean + 3 * of_mean
    return 255 * light, without_mean / light, of_channel / without_mean


def batches_of(images: Images, options: argparse.Namespace, photometric: float, workers: int = 0) -> TrainBatches:
    augment = Augment(scale=(0.5, 1.0), photometric=photometric)
    return TrainBatches(images, augment, options.batch, data_seed=0, workers=workers)


def opened(batches: TrainBatches, folder: Path) -> ReplayedBatches:
    """The batches from a store, their first epoch recorded; no byte of it is compared with its checksum yet."""
    source = ReplayedBatches(batches, ReplayStore(folder, 1 << 40), {}, None, None, CPU)
    prepare(source)
    past = time.time() - 60  # files that have just changed, or change now, are not known to this process
    for path in folder.rglob("*.bin"):
        os.utime(path, (past, past))
    prepare(source)
    return source


def prepare(source: LiveBatches) -> None:
    source.prepare(0, 0, TeacherRequest(), Stopwatch(), lambda: None)


def reader(batches: Iterator[RawBatch]) -> Spent:
    """What the thread spends on a batch if nobody makes it wait."""
    rows: list[Spent] = []

    def watched() -> Iterator[RawBatch]:
        start = clocks()
        for batch in batches:
            rows.append(spent_since(start))
            yield batch
            start = clocks()

    with fed(watched(), CPU) as ready:
        for _ in ready:
            pass
    return Spent(*map(statistics.mean, zip(*rows, strict=True)))


def taking(batches: Iterator[B], step_ms: float) -> Spent:
    """What the training's own thread spends on a batch before the device's work, where it waits for a device."""
    rows: list[Spent] = []
    with fed(batches, CPU) as ready:
        while True:
            time.sleep(1e-3 * step_ms)
            start = clocks()
            if next(ready, None) is None:
                return median(rows)
            rows.append(spent_since(start))


def launching(batches: Iterable[object], launches: int) -> Spent:
    """What the training's own thread spends on launching small operations for a batch, as for a GPU."""
    values, rows = torch.zeros(8), []
    for _ in batches:
        start = clocks()
        for _ in range(launches):
            values.add_(1)
        rows.append(spent_since(start))
    return Spent(*map(statistics.mean, zip(*rows, strict=True)))


def doing(work: Callable[[], object]) -> Spent:
    start = clocks()
    work()
    return spent_since(start)


def measure(options: argparse.Namespace, scratch: Path) -> Rows:
    """Every round's figures by name."""
    height, width = options.image
    data = Streets(size=(height, width), counts={"train": options.batch * options.batches})
    images = open_role(data, "train", None, scratch / "cache")
    rows: Rows = defaultdict(list)
    crops = {}
    for name, photometric in (("colored", 0.2), ("plain", 0.0)):
        source = opened(batches_of(images, options, photometric), scratch / name)
        crops[name] = next(source.epoch(0)).crops
        for new, old in zip(finished(crops[name]), before(crops[name]), strict=True):
            if not torch.allclose(new, old, rtol=0, atol=1e-6):
                raise SystemExit(f"{name}: the pixels differ from those that were made sample by sample")
        source.close()
    live = LiveBatches(batches_of(images, options, 0.2))
    helped = LiveBatches(batches_of(images, options, 0.2, options.workers))
    sum(1 for _ in helped.epoch(0))  # the worker processes start
    for _ in range(options.rounds):
        for name, one in crops.items():
            rows[f"before: own thread, {name}"].append(doing(partial(before, one)))
            rows[f"device's work on a CPU, {name}"].append(doing(partial(finished, one)))
        source = opened(batches_of(images, options, 0.2), scratch / "colored")
        rows["replayed: thread that reads ahead, for the first time"].append(reader(source.epoch(0)))
        prepare(source)
        rows["replayed: thread that reads ahead, checked before"].append(reader(source.epoch(0)))
        prepared = doing(partial(prepare, source))
        rows["replayed: own thread, to prepare the epoch"].append(Spent(*(ms / options.batches for ms in prepared)))
        rows["replayed: own thread"].append(taking(source.epoch(0), options.step))
        prepare(source)
        with fed(source.epoch(0), CPU) as ready:
            rows[f"{options.launches} launches, while a thread reads ahead"].append(launching(ready, options.launches))
        rows[f"{options.launches} launches, alone"].append(launching(range(options.batches), options.launches))
        source.close()
        rows["live: thread that reads ahead"].append(reader(live.epoch(0)))
        rows["live: own thread"].append(taking(live.epoch(0), options.step))
        rows[f"live, {options.workers} workers: thread that reads ahead"].append(reader(helped.epoch(0)))
        rows[f"live, {options.workers} workers: own thread"].append(taking(helped.epoch(0), options.step))
        indices = range(options.batch)
        rows["evaluation, before: own thread"].append(doing(partial(load_batch, images, indices, CPU)))
        evaluated = (read_batch(images, indices) for _ in range(options.batches))
        rows["evaluation: own thread"].append(taking(evaluated, options.step))
    helped.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", nargs=2, type=int, default=[360, 480], metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=12, help="per epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step", type=float, default=20.0, help="milliseconds that the device takes for a batch")
    parser.add_argument("--launches", type=int, default=5000, help="small operations for a batch")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--dir", type=Path, help="where the scratch folder is made")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"one thread, {AHEAD} batches ahead, load average {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory(prefix="kdsweep-", dir=options.dir) as scratch:
        rows = measure(options, Path(scratch))
    print(f"load average {os.getloadavg()[0]:.1f}")
    print(f"{'milliseconds for a batch':56}{'passed':>10}{'processor':>10}{'images/s':>10}")
    for name, values in rows.items():
        passed, processor = median(values)
        print(f"{name:56}{passed:10.2f}{processor:10.2f}{1e3 * options.batch / processor:10.0f}")
    if options.out:
        records = [{"name": name, **spent._asdict()} for name, values in rows.items() for spent in values]
        pq.write_table(pa.Table.from_pylist(records), options.out)


if __name__ == "__main__":
    main()
