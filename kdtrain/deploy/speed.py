"""How fast a student is: latency, throughput and memory in a runtime, each measured in a process of its own."""

import json
import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, ValidationError

from kdtrain.config_base import Strict
from kdtrain.deploy import device_report
from kdtrain.deploy.deployed import Inside, ready
from kdtrain.deploy.onnx_file import export_onnx
from kdtrain.deploy.students import load_student
from kdtrain.errors import InputError, unreadable
from kdtrain.explain import sentence
from kdtrain.runtime.scratch import scratch_folder

Runtime = Literal["torch", "compile", "onnxruntime"]
Count = Annotated[int, Field(ge=1, le=4096)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Setting(Strict):
    """What is measured: a runtime with all that its speed depends on."""

    runtime: Runtime = "torch"
    """`compile` is `torch.compile`."""
    device: str = "cpu"
    """As torch names it; onnxruntime takes the CPU alone."""
    threads: Count = 1
    """Of the CPU, within one operation."""
    batch: Count = 1
    """Images of a call."""
    height: int = Field(ge=1, le=8192)
    """Of the images, in pixels."""
    width: int = Field(ge=1, le=8192)
    seconds: Positive = 3.0
    """Of measuring, after a warm-up of a tenth of it."""

    @property
    def inside(self) -> Inside:
        """What is computed besides the network: normalization, the resizing of the logits, and the argmax."""
        return Inside(height=self.height, width=self.width)


class Speed(Strict):
    """What was measured, as `device_report.py` prints it."""

    student: str
    """The digest of the student."""
    runtime: str
    version: str
    """Of the runtime."""
    provider: str | None = None
    """Of onnxruntime."""
    device: str
    """Its name."""
    threads: Count
    batch: Count
    height: Count
    width: Count
    calls: Count
    """How often the student was called."""
    median_ms: Positive
    """Of a call, as the next two."""
    low_ms: Positive
    """The 10 % quantile."""
    high_ms: Positive
    """The 90 % quantile."""
    images_per_s: Positive
    """At the median."""
    peak_mib: Positive | None
    """The most memory of the process, or on a GPU of its tensors, in MiB; null where the system does not say it."""


def measure(place: Path, setting: Setting) -> Speed:
    """Measure a student.

    Args:
        place: As of `load_student`.
        setting: What is measured.

    Raises:
        InputError: If the student cannot be read, or does not run in the runtime.
    """
    if setting.runtime == "onnxruntime":
        return _in_onnxruntime(place, setting)
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_in_torch, place, setting).result()
    except BrokenProcessPool as error:
        raise InputError(
            f"the process that measured {setting.runtime} ended without a result, perhaps for lack of memory; try a "
            "smaller --size or --batch"
        ) from error


def read_report(file: Path) -> Speed:
    """Read a report that `device_report.py` printed on another machine.

    Raises:
        InputError: If it is not such a report.
    """
    try:
        return Speed.model_validate(json.loads(file.read_text()))
    except OSError as error:
        raise unreadable(file, error) from error
    except ValidationError as error:
        raise InputError(f"{file}: {sentence(error, Speed)}") from None
    except ValueError:
        raise InputError(f"{file}: must be the JSON that device_report.py prints") from None


def _in_torch(place: Path, setting: Setting) -> Speed:
    torch.set_num_threads(setting.threads)
    _, card, network = load_student(place)
    module, _ = ready(network, setting.inside)
    device = torch.device(setting.device)
    images = torch.rand(setting.batch, 3, setting.height, setting.width, device=device)
    is_gpu = device.type == "cuda"
    run: Callable[[torch.Tensor], torch.Tensor] = module.to(device)
    if setting.runtime == "compile":
        run = torch.compile(module)

    def call() -> None:
        run(images)
        if is_gpu:
            torch.cuda.synchronize(device)

    with torch.inference_mode():
        taken = device_report.timed(call, setting.seconds)
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if is_gpu else device_report.peak_mib()
    return Speed(
        student=card.digest,
        runtime=setting.runtime,
        version=torch.__version__,
        device=torch.cuda.get_device_name(device) if is_gpu else device_report.device_name(),
        threads=setting.threads,
        batch=setting.batch,
        height=setting.height,
        width=setting.width,
        peak_mib=peak,
        **device_report.figures(taken, setting.batch),
    )


def _in_onnxruntime(place: Path, setting: Setting) -> Speed:
    _, card, network = load_student(place)
    with scratch_folder() as scratch:
        file = scratch / "student.onnx"
        export_onnx(network, setting.inside, file, card.digest)
        options = [f"--{name}={getattr(setting, name)}" for name in ("threads", "batch", "seconds")]
        command = [sys.executable, device_report.__file__, str(file), *options]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise InputError(f"the student does not run in onnxruntime: {last}")
    return Speed.model_validate_json(ended.stdout)
