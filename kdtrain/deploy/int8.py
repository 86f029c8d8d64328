"""An ONNX file in 8-bit integers, by calibration on images, and its score beside that of the file in floats."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kdtrain.data import Images
from kdtrain.deploy.deployed import IMAGES, Inside
from kdtrain.deploy.onnx_file import export_onnx, session_of
from kdtrain.deploy.students import load_student
from kdtrain.errors import InputError
from kdtrain.explain import first_line
from kdtrain.loop.evaluate import evaluate, load_batch
from kdtrain.runtime.scratch import scratch_folder

CALIBRATED = 64
"""Images that int8 is calibrated on, at most."""
_QUANTIZED = ["Conv", "Gemm", "MatMul"]
"""Operations whose inputs and weights become integers; normalization, resizing and argmax stay as they are."""


def quantize(file: Path, to: Path, images: Sequence[Tensor]) -> None:
    """Write an ONNX file whose convolutions and matrix products compute in int8: QDQ, weights by channel.

    Args:
        file: The file in floats.
        to: The file to write.
        images: Batches `(N, 3, H, W)` in [0, 1], which show the ranges of all maps.

    Raises:
        InputError: If onnxruntime cannot quantize the graph.
    """
    from onnxruntime.quantization import quant_pre_process, quantize_static

    inferred = file.with_name("inferred.onnx")
    try:
        with _quiet():
            quant_pre_process(file, inferred, skip_symbolic_shape=True)
            quantize_static(inferred, to, _Batches(images), op_types_to_quantize=_QUANTIZED, per_channel=True)
    except Exception as error:
        raise InputError(f"onnxruntime cannot quantize this network: {first_line(error)}") from error
    finally:
        inferred.unlink(missing_ok=True)


def calibration_images(images: Images, size: tuple[int, int], most: int = CALIBRATED) -> list[Tensor]:
    """So many images of a role at most, evenly chosen, each as a batch `(1, 3, H, W)` in [0, 1] in one size.

    Args:
        images: The role, `train` for a student that is measured on others.
        size: Height and width.
        most: How many.
    """
    chosen = range(0, len(images), max(1, len(images) // most))[:most]
    batches = (load_batch(images, [index], torch.device("cpu"))[0] for index in chosen)
    return [functional.interpolate(each, size, mode="bilinear", align_corners=True).contiguous() for each in batches]


def int8_miou(place: Path, train: Images, select: Images, scale: float) -> float:
    """The mean IoU of a student in 8-bit integers, as a fraction.

    Args:
        place: As of `kdtrain.deploy.students.load_student`.
        train: What it is calibrated on.
        select: What it is measured on, images of one size.
        scale: Factor on the size of images, as at evaluation.

    Raises:
        InputError: If the images differ in size, or onnxruntime cannot quantize the student.
    """
    sizes = sorted(set(select.sizes))
    if len(sizes) > 1:
        raise InputError(f"int8 takes images of one size, and those of role {select.role} have {len(sizes)} sizes")
    height, width = (max(1, round(side * scale)) for side in sizes[0])
    _, card, network = load_student(place)
    with scratch_folder() as scratch:
        floats, integers = scratch / "floats.onnx", scratch / "int8.onnx"
        export_onnx(network, Inside(height=height, width=width, output="logits"), floats, card.digest)
        quantize(floats, integers, calibration_images(train, (height, width)))
        session = session_of(integers)

        def logits_of(batch: Tensor) -> Tensor:
            return torch.from_numpy(session.run(None, {IMAGES: batch.numpy()})[0])

        score = evaluate(logits_of, select, select.role, 1, scale, torch.device("cpu")).miou
    return float("nan") if score is None else score


class _Batches:
    """What `quantize_static` reads images from."""

    def __init__(self, images: Sequence[Tensor]) -> None:
        self._left = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch; None after the last."""
        batch = next(self._left, None)
        return None if batch is None else {IMAGES: batch.numpy()}


def classes_of(file: Path) -> Callable[[Tensor], Tensor]:
    """A function from images `(N, 3, H, W)` to class ids, at the size that the file gives, computed by onnxruntime."""
    session = session_of(file)

    def classes(images: Tensor) -> Tensor:
        (got,) = session.run(None, {IMAGES: images.numpy()})
        result = torch.from_numpy(got)
        return result if result.ndim == 3 else result.argmax(dim=1)

    return classes


def agreement(file: Path, other: Path, images: Sequence[Tensor]) -> float:
    """The part of the pixels to which two files give the same class."""
    pair = classes_of(file), classes_of(other)
    same = [(pair[0](batch) == pair[1](batch)).flatten() for batch in images]
    return float(torch.cat(same).float().mean())


def miou(file: Path, images: Images, role: str) -> float:
    """The mean IoU of a file on images of the size that it takes, as a fraction."""
    classes, count = classes_of(file), len(images.classes)

    def logits_of(batch: Tensor) -> Tensor:
        return functional.one_hot(classes(batch), count).permute(0, 3, 1, 2).float()

    score = evaluate(logits_of, images, role, 1, 1.0, torch.device("cpu")).miou
    return float("nan") if score is None else score


@contextmanager
def _quiet() -> Iterator[Any]:
    """Without the quantizer's advice, which goes to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
