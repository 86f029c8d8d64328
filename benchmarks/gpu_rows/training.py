"""The student alone, and every method with a live teacher and replayed."""

import os
import platform
import shutil

import torch
from gpu_rows.bench import Bench, busy
from gpu_rows.resident import ResidentSteps, images_per_second

from kdtrain import Machine, train


def machine(bench: Bench) -> None:
    """The machine and its software, and the data of all sections."""
    if bench.on_gpu:
        facts = torch.cuda.get_device_properties(0)
        bench.row(facts.name, "GB", facts.total_memory / 1e9, f"{facts.multi_processor_count} multiprocessors")
    bench.row(f"{platform.machine()}, Python {platform.python_version()}", "cores", os.cpu_count())
    bench.row(f"torch {torch.__version__}", "threads", torch.get_num_threads(), f"networks of {bench.networks}")
    mps = shutil.which("nvidia-cuda-mps-control")
    bench.row("nvidia-cuda-mps-control", "on the PATH", float(mps is not None))
    bench.row("load", "average", os.getloadavg()[0])
    config = bench.config("kd", epochs=1)
    train(config, bench.machine())  # decodes the images, and loads what the first training of a machine loads


def student(bench: Bench) -> None:
    """The student alone and with each method's losses, on a batch that stays on the device: what a feed can reach."""
    for method in ("none", *bench.methods):
        steps = ResidentSteps(bench.config(method), bench.machine())
        with busy(bench) as use:
            speed = images_per_second(bench, steps)
        bench.row(method, "images/s", speed)
        bench.row(method, "busy %", use.percent)
        if bench.on_gpu:
            bench.row(method, "peak GB", torch.cuda.max_memory_reserved() / 1e9)
        del steps


def methods(bench: Bench) -> None:
    """Whole trainings through `train`: live, recording, replayed."""
    for method in ("none", *bench.methods):
        stored = bench.machine(replay=bench.replay(method))
        for way, where in (("live", bench.machine()), ("recording", stored), ("replayed", stored)):
            _training(bench, method, way, where)
    workers = max(1, (os.cpu_count() or 2) - 2)
    _training(bench, "none", f"live, {workers} workers", bench.machine(workers=workers))


def _training(bench: Bench, method: str, way: str, where: Machine) -> None:
    with busy(bench) as use:
        reports = train(bench.config(method), where).reports
    case, last = f"{method}, {way}", reports[-1]
    bench.row(case, "images/s", bench.images_per_second(reports))
    bench.row(case, "busy %", use.percent)
    bench.row(case, "asked", float(sum(past.asked or 0 for past in reports)))
    for part in ("data", "teacher", "losses"):
        bench.row(case, f"{part} ms/step", 1e3 * last.seconds.get(part, 0.0) / bench.steps)
    if last.peak_memory_bytes is not None:
        bench.row(case, "peak GB", last.peak_memory_bytes / 1e9)
