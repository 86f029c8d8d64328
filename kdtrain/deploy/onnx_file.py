"""A network as an ONNX file, compared with torch on the spot."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kdtrain.deploy.deployed import Deployed, Inside, multiple_of, ready
from kdtrain.errors import InputError
from kdtrain.models import TappedNetwork

IMAGES = "images"
"""The name of the input."""
TOLERANCE = 1e-4
"""How far a logit may be from torch's, beside the largest logit of the image where that is above 1."""
_MOST_SIDE = 8192
_MOST_BATCH = 1024


class Agreement(NamedTuple):
    """How far an exported file is from torch, over all images that were compared."""

    images: int
    logit: float | None
    """The largest difference of a logit, beside the largest logit where that is above 1; None for class ids."""
    classes: float
    """The part of the pixels with the same class."""


def export_onnx(network: TappedNetwork, inside: Inside, file: Path, digest: str) -> Deployed:
    """Write a network as an ONNX file.

    Args:
        network: The network, in evaluation mode, on the CPU.
        inside: What the file computes besides the network.
        file: The file to write.
        digest: Of the student, which the file names in its metadata as `student`.

    Returns:
        The module that was exported, for `compare`.

    Raises:
        InputError: If the graph cannot be exported, or images of this size do not fit the network.
    """
    module, example = ready(network, inside)
    axes = {0: torch.export.Dim("batch", min=1, max=_MOST_BATCH)}
    if inside.dynamic:
        step = multiple_of(network)
        sides = (torch.export.Dim(name, min=1, max=_MOST_SIDE // step) for name in ("height", "width"))
        axes |= {2 + i: step * side if step > 1 else side for i, side in enumerate(sides)}
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                (example,),
                None,
                input_names=[IMAGES],
                output_names=[inside.output],
                dynamic_shapes={IMAGES: axes},
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        todo = "; leave --dynamic out" if inside.dynamic else ""
        raise InputError(f"the graph of this network cannot be exported to ONNX{todo}: {reason}") from error
    assert program is not None
    program.model.metadata_props["student"] = digest
    program.save(str(file))
    return module


def compare(file: Path, module: Deployed, images: Sequence[Tensor]) -> Agreement:
    """Run an ONNX file with onnxruntime and compare its outputs with torch's.

    A class may differ only where torch's two highest logits are closer than the tolerance.

    Args:
        file: The ONNX file.
        module: The module that it was made from.
        images: Batches `(N, 3, H, W)` in [0, 1].

    Raises:
        InputError: If they differ by more than the tolerance.
    """
    session = session_of(file)
    furthest, same, pixels = 0.0, 0, 0
    is_class = module.inside.output == "classes"
    for batch in images:
        (got,) = session.run(None, {IMAGES: batch.numpy()})
        with torch.inference_mode():
            logits = module.logits(batch)
        scale = max(1.0, float(logits.abs().max()))
        wanted = logits.argmax(dim=1)
        classes = torch.from_numpy(got) if is_class else torch.from_numpy(got).argmax(dim=1)
        if not is_class:
            furthest = max(furthest, float(np.abs(got - logits.numpy()).max()) / scale)
        differs = classes != wanted
        if differs.any():
            top = logits.topk(2, dim=1).values
            margin = float((top[:, 0] - top[:, 1])[differs].max()) / scale
            furthest = max(furthest, margin)
        same, pixels = same + int((~differs).sum()), pixels + differs.numel()
    agreement = Agreement(sum(map(len, images)), None if is_class else furthest, same / pixels)
    if furthest > TOLERANCE or not np.isfinite(furthest):
        raise InputError(
            f"the exported file differs from torch: {100 * agreement.classes:.3f} % of the pixels have the same class, "
            f"and logits differ by up to {furthest:.1e} of the largest (allowed: {TOLERANCE:g}); nothing was written"
        )
    return agreement


def session_of(file: Path) -> Any:
    """An ONNX file, ready to run on the CPU."""
    import onnxruntime

    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on its own steps."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
