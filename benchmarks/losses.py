"""What the losses cost: forward and backward, time and peak memory, beside their plain definitions in the same run.

    python benchmarks/losses.py --out losses.parquet

Sizes: maps of 45 x 45 with 11 classes (a CamVid crop at stride 8) and of 64 x 128 with 19 (Cityscapes); features of 128
channels for the student and 512 for the teacher (128 for both where a loss needs equal ones). Times are medians of
alternating runs on all cores; memory is what a run takes beyond its inputs (on a CPU the rise of the process's resident
memory, in a process whose allocator gives everything back at once; on a GPU that of torch's allocator). Values of both
must agree, or the run ends with 1.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import plain_losses as plain
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from kdtrain import losses
from kdtrain.losses.attention import random_projections

SIZES = {"45x45": (45, 45, 11), "64x128": (64, 128, 19)}
STUDENT, TEACHER, QUEUE = 128, 512, 1024
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_ARENA_MAX": "1"}
"""Makes glibc ask the system for every tensor and give it back at once."""

Run = Callable[["Maps"], Tensor]


@dataclass(frozen=True)
class Maps:
    """The inputs of one case: `s` has a gradient."""

    s: Tensor
    t: Tensor
    labels: Tensor
    classes: int


@dataclass(frozen=True)
class Case:
    """A loss and its plain definition, which is none where it cannot be built at any of the sizes."""

    name: str
    maps: Literal["logits", "features", "equal features"]
    ours: Run
    plain: Run


def cases() -> list[Case]:
    """All of them."""
    gamma, grid = 0.5, 1

    def pam(m: Maps, loss: Callable[..., Tensor]) -> Tensor:
        source = torch.Generator().manual_seed(0)
        both = tuple(random_projections(1, side.shape[1], source).to(m.s) for side in (m.s, m.t))
        if loss is plain.pam_cka:
            return loss(m.s, m.t, tuple((drawn[0, :, :-1], drawn[0, :, -1]) for drawn in both), 2.0, gamma)
        return loss(m.s, m.t, 2.0, gamma, grid, projection=both)

    def csc(form: str) -> Case:
        definition: Callable[..., Tensor] = getattr(plain, f"csc_{form.lower()}")
        return Case(f"csc {form}", "logits", lambda m: losses.csc(m.s, m.t, form), lambda m: definition(m.s, m.t))

    return [
        Case(
            "cross_entropy",
            "logits",
            lambda m: losses.cross_entropy(m.s, m.labels),
            lambda m: plain.cross_entropy(m.s, m.labels),
        ),
        Case("pixel_kd", "logits", lambda m: losses.pixel_kd(m.s, m.t, 2.0), lambda m: plain.pixel_kd(m.s, m.t, 2.0)),
        Case(
            "channel_wise",
            "logits",
            lambda m: losses.channel_wise(m.s, m.t, 4.0),
            lambda m: plain.channel_wise(m.s, m.t, 4.0),
        ),
        Case(
            "channel_wise",
            "equal features",
            lambda m: losses.channel_wise(m.s, m.t, 4.0),
            lambda m: plain.channel_wise(m.s, m.t, 4.0),
        ),
        *(csc(form) for form in ("A", "A0", "B", "C", "D", "E")),
        Case(
            "adaptive_cross_entropy",
            "logits",
            lambda m: losses.adaptive_cross_entropy(m.s, m.t, m.labels),
            lambda m: plain.adaptive_cross_entropy(m.s, m.t, m.labels),
        ),
        *(
            Case(
                f"pairwise, pool {pool}",
                kind,
                lambda m, pool=pool: losses.pairwise(m.s, m.t, pool=pool),
                lambda m, pool=pool: plain.pairwise(m.s, m.t, pool),
            )
            for pool, kind in ((1, "logits"), (1, "features"), (2, "features"))
        ),
        Case(
            "knowledge_affinity",
            "logits",
            lambda m: losses.knowledge_affinity(m.s, m.t),
            lambda m: plain.knowledge_affinity(m.s, m.t),
        ),
        Case(
            "channel_correlation",
            "equal features",
            lambda m: losses.channel_correlation(m.s, m.t),
            lambda m: plain.channel_correlation(m.s, m.t),
        ),
        Case("pearson", "equal features", lambda m: losses.pearson(m.s, m.t), lambda m: plain.pearson(m.s, m.t)),
        Case(
            "cross_image_relation",
            "features",
            lambda m: losses.cross_image_relation(m.s, m.t, 0.1),
            lambda m: plain.cross_image_relation(m.s, m.t, 0.1),
        ),
        Case("fitnet", "equal features", lambda m: losses.fitnet(m.s, m.t), lambda m: plain.fitnet(m.s, m.t)),
        Case(
            "attention_transfer",
            "features",
            lambda m: losses.attention_transfer(m.s, m.t),
            lambda m: plain.attention_transfer(m.s, m.t),
        ),
        Case(
            "local_affinity",
            "logits",
            lambda m: losses.local_affinity(m.s, m.t),
            lambda m: plain.local_affinity(m.s, m.t),
        ),
        Case(
            "intra_class_variation",
            "features",
            lambda m: losses.intra_class_variation(m.s, m.t, m.labels, m.classes),
            lambda m: plain.intra_class_variation(m.s, m.t, m.labels, m.classes),
        ),
        Case("dist", "logits", lambda m: losses.dist(m.s, m.t), lambda m: plain.dist(m.s, m.t)),
        Case(
            "pixel_similarity",
            "features",
            lambda m: losses.pixel_similarity([m.s, m.s.flip(1)[:, ::2]], [m.t, m.t.flip(1)[:, ::2]]),
            lambda m: plain.pixel_similarity([m.s, m.s.flip(1)[:, ::2]], [m.t, m.t.flip(1)[:, ::2]]),
        ),
        Case(
            "category_similarity",
            "logits",
            lambda m: losses.category_similarity(m.s, m.t),
            lambda m: plain.category_similarity(m.s, m.t),
        ),
        Case(
            "cam_cka",
            "features",
            lambda m: losses.cam_cka(m.s, m.t, 2.0, gamma),
            lambda m: plain.cam_cka(m.s, m.t, 2.0, gamma),
        ),
        Case(
            "pam_cka, no grid",
            "features",
            lambda m: pam(m, losses.grid_pam_cka),
            lambda m: pam(m, plain.pam_cka),
        ),
    ]


def make_maps(kind: str, size: str, batch: int, device: str) -> Maps:
    """Random inputs; the images of a batch differ in their means, as those of networks do."""
    height, width, classes = SIZES[size]
    source = torch.Generator().manual_seed(0)
    student, teacher = {
        "logits": (classes, classes),
        "features": (STUDENT, TEACHER),
        "equal features": (STUDENT, STUDENT),
    }[kind]
    s, t = (torch.randn(batch, channels, height, width, generator=source) for channels in (student, teacher))
    labels = torch.randint(classes, (batch, height * 8, width * 8), generator=source)
    labels[:, : height // 4] = 255
    return Maps(s.to(device).requires_grad_(), t.to(device), labels.to(device), classes)


def once(run: Run, maps: Maps) -> tuple[float, float]:
    """Seconds of forward and backward, and the value."""
    maps.s.grad = None
    begin = time.perf_counter()
    value = run(maps)
    value.backward()
    if maps.s.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin, float(value.detach())


def paired(case: Case, maps: Maps, budget: float) -> tuple[float, float, float, float]:
    """Medians of our and the plain seconds, in turns, within about `budget` seconds, and both values.

    The first turn only warms up, unless it has taken so long that warmth does not matter.
    """
    (ours, value), (theirs, expected) = once(case.ours, maps), once(case.plain, maps)
    rounds = min(int(budget / (ours + theirs)), 15)
    pairs = [(once(case.ours, maps)[0], once(case.plain, maps)[0]) for _ in range(rounds)] or [(ours, theirs)]
    mine, plain_ones = zip(*pairs, strict=True)
    return statistics.median(mine), statistics.median(plain_ones), value, expected


def peak(run: Run, maps: Maps) -> int:
    """Bytes that a run takes at most, its inputs and the gradient of the student not counted."""
    maps.s.grad = torch.zeros_like(maps.s)
    run(maps).backward()
    gc.collect()
    if maps.s.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(maps).backward()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # forgets the highest resident memory so far
    before = _resident("VmRSS")
    run(maps).backward()
    return max(_resident("VmHWM") - before, 0)


def _resident(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field + ":"))


def feasible(case: Case, size: str, batch: int) -> bool:
    """Whether the plain definition fits into memory: form D builds a matrix of (P C) x (P C) numbers."""
    height, width, classes = SIZES[size]
    return case.name != "csc D" or 8 * 4 * batch * (height * width * classes) ** 2 < 12 * 2**30


def selected(options: argparse.Namespace) -> list[tuple[Case, str]]:
    wanted = [case for case in cases() if options.only is None or options.only in case.name]
    return [(case, size) for size in options.sizes for case in wanted]


def memory_phase(options: argparse.Namespace) -> None:
    """Prints a line of JSON for each case; runs in a process of its own."""
    for case, size in selected(options):
        maps = make_maps(case.maps, size, options.batch, options.device)
        ours = peak(case.ours, maps)
        theirs = peak(case.plain, maps) if feasible(case, size, options.batch) else None
        print(json.dumps([case.name, case.maps, size, ours, theirs]), flush=True)


def memory_of_all(options: argparse.Namespace) -> dict[tuple[str, str, str], tuple[int, int | None]]:
    command = [sys.executable, __file__, *sys.argv[1:], "--memory-phase"]
    found = {}
    with subprocess.Popen(command, env=os.environ | _ALLOCATOR, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            name, kind, size, ours, theirs = json.loads(line)
            found[name, kind, size] = ours, theirs
            print(f"\rmemory {len(found)}/{len(selected(options))}", end="", file=sys.stderr, flush=True)
    if process.returncode:
        raise SystemExit(f"the measurement of memory failed with {process.returncode}")
    print(file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--only", help="a part of a loss's name")
    parser.add_argument("--budget", type=float, default=5.0, help="seconds for the timing of one loss, about")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory-phase", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_phase:
        memory_phase(options)
        return
    memory = memory_of_all(options)
    print(f"{options.device}, batch {options.batch}, load average {os.getloadavg()[0]:.1f}")
    print(f"{'':46}{'ms':>9}{'plain':>10}{'faster':>9}{'MiB':>9}{'plain':>10}{'share':>9}")
    rows: list[dict[str, Any]] = []
    wrong = []
    for case, size in selected(options):
        maps = make_maps(case.maps, size, options.batch, options.device)
        ours_bytes, plain_bytes = memory[case.name, case.maps, size]
        row = {"loss": case.name, "maps": case.maps, "size": size, "batch": options.batch, "device": options.device}
        if plain_bytes is None:
            ours_s, plain_s = statistics.median(once(case.ours, maps)[0] for _ in range(3)), None
        else:
            ours_s, plain_s, value, expected = paired(case, maps, options.budget)
            if abs(value - expected) > 1e-3 * abs(expected) + 1e-6:
                wrong.append(f"{case.name} at {size}: {value:.6g}, but plainly {expected:.6g}")
        rows.append(row | {"s": ours_s, "plain_s": plain_s, "bytes": ours_bytes, "plain_bytes": plain_bytes})
        print(_line(rows[-1]), flush=True)
    print(f"load average {os.getloadavg()[0]:.1f}")
    if options.out:
        pq.write_table(pa.Table.from_pylist(rows), options.out)
    if wrong:
        raise SystemExit("\n".join(wrong))


def _line(row: dict[str, Any]) -> str:
    named = f"{row['loss']} ({row['maps']}, {row['size']})"
    mib = row["bytes"] / 2**20
    if row["plain_s"] is None:
        return f"{named:46}{1e3 * row['s']:9.1f}{'too large':>10}{'':9}{mib:9.1f}{'too large':>10}"
    share = f"{100 * row['bytes'] / row['plain_bytes']:.1f}%" if row["plain_bytes"] else "-"
    times = f"{1e3 * row['s']:9.1f}{1e3 * row['plain_s']:10.1f}{row['plain_s'] / row['s']:8.1f}x"
    return f"{named:46}{times}{mib:9.1f}{row['plain_bytes'] / 2**20:10.1f}{share:>9}"


if __name__ == "__main__":
    main()
