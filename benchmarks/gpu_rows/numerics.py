"""Mixed precision beside float32, the switches of a step on and off, and a GPU beside a CPU."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from gpu_rows.bench import Bench
from gpu_rows.resident import ResidentSteps, images_per_second

from kdtrain import EpochReport, Machine, train

LOSS_ROUNDING, SCORE_ROUNDING = 2e-3, 0.02
"""What `equality` allows: relative differences of the first epoch's losses, and a difference of mIoU as a fraction."""
_SWITCHES = ("compile_losses", "cuda_graphs")


def precision(bench: Bench) -> None:
    """The losses of the first step in bfloat16 beside float32, and the speed of both."""
    for method in ("none", *bench.methods):
        losses = {}
        for amp in ("off", "bfloat16"):
            steps = ResidentSteps(bench.config(method), bench.machine(amp=amp))
            losses[amp] = {name: float(value) for name, value in steps().raw.items()}
            bench.row(f"{method}, amp {amp}", "images/s", images_per_second(bench, steps))
            del steps
        for term, exact in losses["off"].items():
            difference = abs(losses["bfloat16"][term] - exact) / max(abs(exact), 1e-12)
            bench.row(f"{method}, {term}", "relative difference of bfloat16", difference)


def switches(bench: Bench) -> None:
    """Replayed trainings with and without compiled losses and CUDA graphs."""
    present = [name for name in _SWITCHES if name in Machine.model_fields]
    for name in _SWITCHES:
        if name not in present:
            bench.row(name, "images/s", None, "this version has no such setting")
    if not bench.on_gpu and "compile_losses" in present:
        present.remove("compile_losses")
        bench.row("compile_losses", "images/s", None, "not on a CPU, whose compiler takes minutes")
    sets: list[tuple[str, ...]] = [(), *((name,) for name in present), *([tuple(present)] if len(present) > 1 else [])]
    for method in bench.methods:
        plain: EpochReport | None = None
        for on in sets:
            where = bench.machine(replay=bench.replay(method), **dict.fromkeys(on, True))
            begin = time.perf_counter()
            case = f"{method}, {' and '.join(on) or 'neither'}"
            try:
                reports = train(bench.config(method), where).reports
            except Exception as error:
                bench.row(case, "images/s", None, f"{type(error).__name__}: {str(error)[:200]}")
                continue
            bench.row(case, "images/s", bench.images_per_second(reports))
            bench.row(case, "s in all", time.perf_counter() - begin)
            plain = plain or reports[0]
            bench.row(case, "relative difference of losses", _difference(plain, reports[0]))


def equality(bench: Bench) -> None:
    """The same small trainings on the device and on the CPU, both in float32."""
    with _whole_float32():
        _compare(bench)


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Let no product of the device be rounded to TF32 in the block."""
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def _compare(bench: Bench) -> None:
    height, width = (max(32, side // 4) for side in bench.image)
    changes = {"augment": {"crop": (height, width), "photometric": 0.2}, "batch_size": 4, "epochs": 2}
    for method in ("none", *bench.methods):
        config = bench.config(method, **changes, data=_small(bench, (height, width)))
        here, there = (train(config, bench.machine(device=device, amp="off")) for device in (bench.device, "cpu"))
        losses = _difference(there.reports[0], here.reports[0])
        score = abs(here.reports[-1].metrics["miou"] - there.reports[-1].metrics["miou"])
        bench.row(method, "relative difference of losses", losses, f"at most {LOSS_ROUNDING:g} is allowed")
        bench.row(method, "difference of mIoU", score, f"at most {SCORE_ROUNDING:g} is allowed")
        bench.row(method, "equal", float(losses <= LOSS_ROUNDING and score <= SCORE_ROUNDING))


def _small(bench: Bench, size: tuple[int, int]) -> dict[str, object]:
    return {"name": "streets", "size": size, "counts": {"train": 16, "select": 4, "test": 1}}


def _difference(expected: EpochReport, got: EpochReport) -> float:
    """The largest relative difference of the mean losses of an epoch."""
    pairs = ((expected.losses[name]["raw"], got.losses[name]["raw"]) for name in expected.losses)
    return max(abs(one - other) / max(abs(one), 1e-12) for one, other in pairs)
