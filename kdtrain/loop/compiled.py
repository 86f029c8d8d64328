"""`torch.compile` of the losses: fewer and larger kernels on a GPU, after a compilation of seconds to minutes.

Losses that draw random numbers on the host run as they are, and so does everything else of a step. Values differ from
uncompiled ones by rounding.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import nn

from kdtrain.errors import InputError
from kdtrain.explain import first_line
from kdtrain.methods.modules.base import TermModule
from kdtrain.torch_version import require_torch

BACKEND = "inductor"
"""Torch's compiler."""
_COMPILER = ("torch._dynamo", "torch._inductor")
"""The modules of its errors, which are not imported here: that takes seconds and a hundred megabytes."""


def compile_losses(modules: nn.ModuleList, device: torch.device) -> None:
    """Compile the modules of terms, in place; the compilation itself follows at the first call.

    Raises:
        InputError: If this machine has no compiler for the device, or torch is too old.
    """
    require_torch((2, 6), "compile_losses: true")  # 2.4 cannot compile a check of autocast; 2.5 was not tried
    _check_compiler(device)
    import torch._functorch.config as settings

    settings.donated_buffer = False  # a step that measures gradients passes through the graph of each loss twice
    for module in modules:
        if not (isinstance(module, TermModule) and module.draws):
            module.compile(fullgraph=True, dynamic=False, backend=BACKEND)


@contextmanager
def explained(term: str) -> Iterator[None]:
    """Make an error of the compiler in the block one that names the term.

    Raises:
        InputError: In place of the compiler's error.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(_COMPILER):
            raise
        raise InputError(
            f"compile_losses: must be false, because the loss {term} cannot be compiled here: {first_line(error)}"
        ) from error


def _check_compiler(device: torch.device) -> None:
    if device.type == "cuda":
        if find_spec("triton") is None:
            raise InputError("compile_losses: must be false on a GPU without triton, which is not installed")
    elif not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
        raise InputError("compile_losses: must be false on a CPU without a C++ compiler: no g++ or clang++")
