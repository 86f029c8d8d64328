"""One, two, four and eight students of kd on one card: in turns, and by MPS."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from gpu_rows.bench import Bench, busy
from gpu_rows.resident import ResidentSteps, images_per_second

from kdtrain.runtime.mps import mps_daemon

_START_S = 90.0
"""Seconds in which all students must have started."""


def sharing(bench: Bench) -> None:
    """Images per second of all students together."""
    for count in bench.students:
        _measure(bench, "in turns", count, {})
    if not bench.on_gpu:
        bench.row("by MPS", "images/s", None, "needs a GPU")
        return
    said: list[str] = []
    with mps_daemon(said.append) as variables:
        if not variables:
            bench.row("by MPS", "images/s", None, said[0])
            return
        for count in bench.students:
            _measure(bench, "by MPS", count, variables)


def child(bench: Bench, name: str) -> None:
    """One of several students: builds, waits for the others, counts its images in the common window."""
    steps = ResidentSteps(bench.config("kd"), bench.machine(threads=1))
    images_per_second(replace(bench, window_s=0.0), steps)
    (bench.folder / f"{name}.ready").touch()
    go = bench.folder / f"{name.rpartition('-')[0]}.go"
    while not go.exists():
        time.sleep(0.005)
    (bench.folder / f"{name}.speed").write_text(str(images_per_second(bench, steps, warm_up=0)))


def _measure(bench: Bench, way: str, count: int, variables: Mapping[str, str]) -> None:
    group = f"{way.replace(' ', '')}{count}"
    names = [f"{group}-{number}" for number in range(count)]
    command = [sys.executable, str(Path(__file__).parents[1] / "gpu.py"), "--folder", str(bench.folder), "--child"]
    children = [subprocess.Popen([*command, name], env=os.environ | variables) for name in names]
    try:
        deadline = time.monotonic() + _START_S
        while not all((bench.folder / f"{name}.ready").exists() for name in names):
            if time.monotonic() > deadline or any(each.poll() is not None for each in children):
                bench.row(f"{count} {way}", "images/s", None, "a student did not start")
                return
            time.sleep(0.02)
        with busy(bench) as use:
            (bench.folder / f"{group}.go").touch()
            codes = [each.wait(_START_S) for each in children]
        if any(codes):
            bench.row(f"{count} {way}", "images/s", None, "a student failed")
            return
        speeds = [float((bench.folder / f"{name}.speed").read_text()) for name in names]
        bench.row(f"{count} {way}", "images/s", sum(speeds), "of all students together")
        if bench.on_gpu:
            bench.row(f"{count} {way}", "busy %", use.percent)
    finally:
        for each in children:
            each.kill()
            each.wait()
