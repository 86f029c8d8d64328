"""A network as an ExecuTorch program, for phones and other small devices."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdtrain.deploy.agreement import Run
from kdtrain.deploy.deployed import Deployed, Inside, exporting, ready
from kdtrain.deploy.quiet import quiet
from kdtrain.errors import InputError
from kdtrain.explain import first_line
from kdtrain.models import TappedNetwork

_XNNPACK = "XnnpackBackend"
_STUDENT = "student"
"""The method of a file that gives the digest of the student."""


def export_executorch(network: TappedNetwork, inside: Inside, file: Path, digest: str) -> Deployed:
    """Write a network as an ExecuTorch program, which takes one image a call, since its memory is planned beforehand.

    What XNNPACK computes goes there where this machine's ExecuTorch has it; the portable kernels compute the rest.

    Args:
        network: The network, in evaluation mode, on the CPU.
        inside: What the file computes besides the network; not dynamic.
        file: The file to write.
        digest: Of the student, which the file's method `student` returns.

    Returns:
        The module that was exported, to compare the file with.

    Raises:
        InputError: If the graph cannot be exported, or images of this size do not fit the network.
    """
    module, example = ready(network, inside)
    with exporting("ExecuTorch", inside), quiet("torch.utils._pytree", "executorch"):
        from executorch.exir import to_edge_transform_and_lower

        program = torch.export.export(module, (example[:1],), strict=False)
        lowered = to_edge_transform_and_lower(
            program, partitioner=_partitioners(), constant_methods={_STUDENT: digest}
        ).to_executorch()
        file.write_bytes(lowered.buffer)
    return module


def run_executorch(file: Path) -> Run:
    """An ExecuTorch program in its runtime, on the CPU, image by image; InputError if it does not run there."""
    with _running():
        program = _runtime().load_program(file)
        method = program.load_method("forward")

    def run(images: Tensor) -> Tensor:
        with _running():
            return torch.cat([method.execute([image[None].contiguous()])[0].clone() for image in images])

    return run


@contextmanager
def _running() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise InputError(f"the exported file does not run in ExecuTorch: {first_line(error)}") from error


def backend() -> str:
    """What computes a file that is exported here: `xnnpack`, or `portable` kernels alone."""
    return "xnnpack" if _partitioners() else "portable"


def _partitioners() -> list[Any]:
    if not _runtime().backend_registry.is_available(_XNNPACK):
        return []
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    return [XnnpackPartitioner()]


def _runtime() -> Any:
    from executorch.runtime import Runtime

    return Runtime.get()
