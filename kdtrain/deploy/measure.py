"""Measures latency, throughput and memory of a student, each runtime in a process of its own."""

import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from kdtrain.deploy import device_report
from kdtrain.deploy.deployed import Inside, ready
from kdtrain.deploy.onnx_file import export_onnx
from kdtrain.deploy.speed import Cost, Setting, Speed
from kdtrain.deploy.students import load_student, student_folder
from kdtrain.errors import InputError
from kdtrain.explain import first_line
from kdtrain.loop.cost import count_macs
from kdtrain.models import Network, build_network
from kdtrain.runtime.scratch import scratch_folder
from kdtrain.teacher import read_card, save_model


def measure(place: Path, setting: Setting, images: Sequence[torch.Tensor] = ()) -> Speed:
    """Measure a student.

    Args:
        place: As of `load_student`.
        setting: What is measured.
        images: What int8 is calibrated on, see `kdtrain.deploy.int8.quantize`.

    Raises:
        InputError: If the student cannot be read, or does not run in the runtime.
    """
    read_card(student_folder(place))  # refuses code that is not trusted, which a new process would not
    if setting.runtime == "onnxruntime":
        return _in_onnxruntime(place, setting, images)
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_in_torch, place, setting).result()
    except BrokenProcessPool as error:
        raise InputError(
            f"the process that measured {setting.runtime} ended without a result, perhaps for lack of memory; try a "
            "smaller --size or --batch"
        ) from error
    except InputError:
        raise
    except Exception as error:
        where = f"{setting.runtime} on {setting.device}"
        raise InputError(f"the student does not run in {where}: {first_line(error)}") from error


def cost_of(
    network: Network,
    classes: int,
    size: tuple[int, int],
    setting: Setting | None,
    images: Sequence[torch.Tensor] = (),
) -> Cost:
    """What a student costs, which its weights do not change: it is measured with arbitrary ones.

    Args:
        network: The kind of network.
        classes: Of the data.
        size: Height and width of an image.
        setting: In which its latency is measured; none where that is not needed, which takes no time.
        images: As of `measure`.

    Raises:
        InputError: If it does not run in the runtime.
    """
    built = build_network(network, classes, bare=True).eval()
    params = sum(parameter.numel() for parameter in built.parameters())
    macs = count_macs(built, torch.zeros(1, 3, *size))
    if setting is None:
        return Cost(params=params, macs=macs)
    names = tuple(f"class {index}" for index in range(classes))
    with scratch_folder() as scratch:
        save_model(scratch, built.net, {"network": network, "classes": names, "trained_on": "nothing"})
        return Cost(params=params, macs=macs, speed=measure(scratch, setting, images))


def _in_torch(place: Path, setting: Setting) -> Speed:
    torch.set_num_threads(setting.threads)
    _, card, network = load_student(place)
    module, _ = ready(network, _inside(setting))
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


def _in_onnxruntime(place: Path, setting: Setting, calibration: Sequence[torch.Tensor]) -> Speed:
    _, card, network = load_student(place)
    with scratch_folder() as scratch:
        file = scratch / "student.onnx"
        export_onnx(network, _inside(setting), file, card.digest)
        if setting.int8:
            from kdtrain.deploy.int8 import quantize

            floats, file = file, scratch / "int8.onnx"
            quantize(floats, file, calibration)
        options = [f"--{name}={getattr(setting, name)}" for name in ("threads", "batch", "seconds")]
        command = [sys.executable, device_report.__file__, str(file), *options]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise InputError(f"the student does not run in onnxruntime: {last}")
    return Speed.model_validate_json(ended.stdout).model_copy(update={"int8": setting.int8})


def _inside(setting: Setting) -> Inside:
    """What is computed besides the network: normalization, the resizing of the logits, and the argmax."""
    return Inside(height=setting.height, width=setting.width)
