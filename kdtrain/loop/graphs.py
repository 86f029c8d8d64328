"""CUDA graphs of whole steps: a GPU then starts the operations of a step by itself, where the host would be too slow.

A graph repeats the same operations on the same memory. So everything that changes from step to step, learning rate and
weights of the terms included, is a tensor that is copied into that memory.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from kdtrain.config import Machine
from kdtrain.errors import InputError
from kdtrain.explain import first_line
from kdtrain.methods import Term
from kdtrain.methods.modules.base import TermModule

Inputs = Mapping[str, Tensor]
Capture = Callable[[Callable[[], Tensor]], Callable[[], Tensor]]
"""Captures work without doing it; the result does the captured work and returns its output."""

WARM_UP = 3
"""Steps that are taken before one is captured: the first ones allocate states and choose algorithms."""


def capture_on_gpu(work: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Capture work as a CUDA graph.

    Raises:
        InputError: If the work cannot be captured, for example because it reads values of the GPU.
    """
    graph = torch.cuda.CUDAGraph()
    try:
        # other threads prepare the next batches meanwhile
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            output = work()
    except RuntimeError as error:
        raise InputError(
            f"cuda_graphs: must be false, because a step of this training cannot be captured: {first_line(error)}"
        ) from error

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay


@dataclass
class StepGraphs:
    """The captured steps of a training: one for every set of terms and every shape of the inputs.

    Attributes:
        capture: How work is captured.
    """

    capture: Capture = capture_on_gpu
    _taken: Counter[object] = field(default_factory=Counter)
    _captured: dict[object, tuple[Inputs, Callable[[], Tensor]]] = field(default_factory=dict)

    def __call__(self, terms: tuple[str, ...], inputs: Inputs, work: Callable[[Inputs], Tensor]) -> Tensor:
        """The output of `work` on `inputs`, on which alone, and on the terms, the work may depend."""
        shapes = tuple((name, values.shape, values.stride(), values.dtype) for name, values in inputs.items())
        key = (terms, shapes)
        if key not in self._captured:
            if self._taken[key] < WARM_UP:
                self._taken[key] += 1
                return _beside(work, inputs)
            memory = {name: values.clone() for name, values in inputs.items()}
            self._captured[key] = memory, self.capture(lambda: work(memory))
        fixed, replay = self._captured[key]
        for name, values in inputs.items():
            fixed[name].copy_(values, non_blocking=True)
        return replay().clone()


def _beside(work: Callable[[Inputs], Tensor], inputs: Inputs) -> Tensor:
    """The output of work; on a GPU in a stream of its own, as torch asks for steps that precede a capture."""
    device = next(iter(inputs.values())).device
    if device.type != "cuda":
        return work(inputs)
    current, stream = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        output = work(inputs)
    current.wait_stream(stream)
    return output


def open_graphs(
    machine: Machine, device: torch.device, scaled: bool, terms: list[Term], modules: nn.ModuleList
) -> StepGraphs | None:
    """The graphs of a training, if the machine asks for them.

    Args:
        machine: Where the training runs.
        device: The device of this process.
        scaled: Whether the loss is scaled for float16.
        terms: The terms that are computed.
        modules: Their modules.

    Raises:
        InputError: If the steps cannot be captured; the sentence says why.
    """
    if not machine.cuda_graphs:
        return None
    drawing = [
        term.name
        for term, module in zip(terms, modules, strict=True)
        if isinstance(module, TermModule) and module.draws
    ]
    if device.type != "cuda":
        reason = f"on the device {device.type}, which has no CUDA graphs"
    elif machine.processes > 1:
        reason = f"with {machine.processes} processes, which exchange gradients in every step"
    elif scaled:
        reason = "with amp float16, whose scale follows from every step; take bfloat16 or off"
    elif drawing:
        reason = f"with the loss {drawing[0]}, which draws random numbers on the host in every step"
    else:
        return StepGraphs()
    raise InputError(f"cuda_graphs: must be false {reason}")
