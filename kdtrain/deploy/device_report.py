"""Measure an ONNX file of `kdsweep export onnx` on any device.

It needs Python 3.9 or newer, onnxruntime and numpy, nothing else: copy this file and the .onnx file to the device.

    python device_report.py student.onnx --threads 1 > report.json

`kdsweep bench --device-report report.json` reads what it prints.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Optional

FEWEST_CALLS, MOST_SECONDS = 10, 60.0


def timed(call: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of each call: as many calls as fit the time, after a warm-up of a tenth of it."""
    warm = time.perf_counter()
    call()
    while time.perf_counter() - warm < seconds / 10:
        call()
    begin, taken = time.perf_counter(), list[float]()
    while sum(taken) < seconds or (len(taken) < FEWEST_CALLS and time.perf_counter() - begin < MOST_SECONDS):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return sorted(taken)


def figures(taken: list[float], batch: int) -> dict[str, float]:
    """Median, 10 % and 90 % quantile of sorted seconds, in milliseconds; images per second at the median."""
    low, median, high = (taken[round(share * (len(taken) - 1))] for share in (0.1, 0.5, 0.9))
    figures = {"median_ms": 1000 * median, "low_ms": 1000 * low, "high_ms": 1000 * high, "calls": len(taken)}
    return {**figures, "images_per_s": batch / median}


def peak_mib() -> Optional[float]:  # noqa: UP045 Python 3.9
    """The most memory that this process has had, in MiB; None where the system does not say it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None


def device_name() -> str:
    """The name of the board, or else of the processor."""
    try:
        return Path("/proc/device-tree/model").read_text().strip("\0 \n")
    except OSError:
        pass
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    """Print the report of a file as JSON."""
    import numpy
    import onnxruntime

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="the .onnx file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1, help="images of a call")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="for a file that takes any size")
    parser.add_argument("--seconds", type=float, default=3.0, help="of measuring")
    parser.add_argument("--provider", default="CPUExecutionProvider", help="of onnxruntime")
    parser.add_argument("--device", default=device_name(), help="its name in the report")
    given = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = given.threads, 1
    session = onnxruntime.InferenceSession(given.file, options, providers=[given.provider])
    (asked,) = session.get_inputs()
    height, width = given.size or asked.shape[2:]
    if not isinstance(height, int) or not isinstance(width, int):
        parser.error("the file takes images of any size: give one as --size H W")
    images = numpy.random.default_rng(0).random((given.batch, 3, height, width), numpy.float32)
    taken = timed(lambda: session.run(None, {asked.name: images}), given.seconds)
    report = {"runtime": "onnxruntime", "version": onnxruntime.__version__, "provider": session.get_providers()[0]}
    report |= {"device": given.device, "threads": given.threads, "batch": given.batch, "height": height, "width": width}
    report |= {**figures(taken, given.batch), "peak_mib": peak_mib()}
    described = session.get_modelmeta().custom_metadata_map  # of a quantized file, what quantized it, too
    print(json.dumps({**report, **{name: described[name] for name in ("student",) if name in described}}, indent=1))


if __name__ == "__main__":
    main()
