"""A network as an ONNX file."""

from pathlib import Path
from typing import Any

import torch

from kdtrain.deploy.agreement import Run
from kdtrain.deploy.deployed import IMAGES, Deployed, Inside, exporting, ready, shapes
from kdtrain.deploy.quiet import quiet
from kdtrain.models import TappedNetwork
from kdtrain.torch_version import require_torch


def export_onnx(network: TappedNetwork, inside: Inside, file: Path, digest: str) -> Deployed:
    """Write a network as an ONNX file.

    Args:
        network: The network, in evaluation mode, on the CPU.
        inside: What the file computes besides the network.
        file: The file to write.
        digest: Of the student, which the file names in its metadata as `student`.

    Returns:
        The module that was exported, to compare the file with.

    Raises:
        InputError: If the graph cannot be exported, images of this size do not fit the network, or torch is too old.
    """
    module, example = ready(network, inside)
    require_torch((2, 6), "an export to ONNX")  # 2.4 has no dynamic_shapes; 2.5 was not tried
    with exporting("ONNX", inside), quiet("torch.onnx", "onnxscript", "onnx_ir"):
        program = torch.onnx.export(
            module,
            (example,),
            None,
            input_names=[IMAGES],
            output_names=[inside.output],
            dynamic_shapes=shapes(network, inside),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props["student"] = digest
    program.save(str(file))
    return module


def run_onnx(file: Path) -> Run:
    """An ONNX file in onnxruntime, on the CPU."""
    session = session_of(file)
    return lambda images: torch.from_numpy(session.run(None, {IMAGES: images.numpy()})[0])


def session_of(file: Path) -> Any:
    """An ONNX file, ready to run on the CPU."""
    import onnxruntime

    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
