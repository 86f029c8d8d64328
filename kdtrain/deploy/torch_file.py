"""A network as a program of `torch.export`, which runs without this package."""

from pathlib import Path

import torch

from kdtrain.deploy.agreement import Run
from kdtrain.deploy.deployed import Deployed, Inside, exporting, ready, shapes
from kdtrain.models import TappedNetwork
from kdtrain.torch_version import require_torch


def export_torch(network: TappedNetwork, inside: Inside, file: Path, digest: str) -> Deployed:
    """Write a network as a program of `torch.export`.

    Args:
        network: The network, in evaluation mode, on the CPU.
        inside: What the file computes besides the network.
        file: The file to write.
        digest: Of the student, which the file holds as its extra file `student`.

    Returns:
        The module that was exported, to compare the file with.

    Raises:
        InputError: If the graph cannot be exported, images of this size do not fit the network, or torch is too old.
    """
    module, example = ready(network, inside)
    if inside.dynamic:
        require_torch((2, 6), "--dynamic")  # 2.4 cannot read the file; 2.5 was not tried
    with exporting("torch", inside):
        program = torch.export.export(module, (example,), dynamic_shapes=shapes(network, inside), strict=False)
        torch.export.save(program, str(file), extra_files={"student": digest})
    return module


def run_torch(file: Path) -> Run:
    """An exported program, on the CPU."""
    program: Run = torch.export.load(str(file)).module()
    return program
