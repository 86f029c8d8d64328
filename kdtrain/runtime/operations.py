"""Counts what the host asks of a device: operations that it launches, and moments at which it waits for a result.

Both cost time on a GPU whatever the arithmetic: a launch some microseconds of the host, a wait the whole queue of work.
They are counted without a GPU, and without any arithmetic, on tensors of the device `meta`, which have shapes alone.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_ALLOCATIONS = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize_", "set_"})
"""Operations that only allocate or rename memory."""
_COPIES = frozenset({"_to_copy", "copy_"})
_CONSTANT = "lift_fresh"
"""What torch calls for numbers of Python that become a tensor on a device, as those of the index `x[[0, 1]]`."""


class OperationCounter(TorchDispatchMode):
    """Counts the operations on a device while it is entered, those of backward passes included.

    Views and allocations do not count, since they launch nothing. On the device `meta` a value that the host asks for
    is made up, as 0, so that the count goes on.

    Args:
        device: The type of the device.

    Attributes:
        operations: How often each operation was launched, by its name.
        waits: Where the host waits for the device: the operation and the line of our code that asks, in order. These
            are values that are read, results whose size depends on values, and copies between host and device that
            block.
    """

    def __init__(self, device: str = "meta") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: Counter[str] = Counter()
        self.waits: list[str] = []
        self._device = device

    @property
    def launched(self) -> int:
        """How many operations were launched."""
        return self.operations.total()

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count an operation, and run it."""
        kwargs = dict(kwargs or {})
        name: str = function.overloadpacket.__name__
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        reads = any(self._is_ours(values) for values in inputs) and _depends_on_values(function, args)
        result = _made_up(name, inputs) if reads and self._device == "meta" else function(*args, **kwargs)
        tensors = [*inputs, *(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))]
        ours = [self._is_ours(values) for values in tensors]
        if any(ours) and name == _CONSTANT:
            self.waits.append(f"{name} at {_place()}")
        if not any(ours) or function.is_view or name in _ALLOCATIONS:
            return result
        self.operations[name] += 1
        crosses = name in _COPIES and not all(ours) and not _is_asynchronous(name, args, kwargs)
        if reads or crosses:
            self.waits.append(f"{name} at {_place()}")
        return result

    def _is_ours(self, values: Tensor) -> bool:
        return values.device.type == self._device


def _is_asynchronous(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a copy between devices returns before it has ended."""
    return bool(kwargs.get("non_blocking", name == "copy_" and len(args) > 2 and args[2]))


def _depends_on_values(function: Any, args: Sequence[Any]) -> bool:
    """Whether the host must know values to go on: it reads a number, or the shape of the result depends on them."""
    if torch.Tag.data_dependent_output in function.tags:
        return True
    if function.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_):
        return any(values is not None and values.dtype in (torch.bool, torch.uint8) for values in args[1])
    return torch.Tag.dynamic_output_shape in function.tags


def _made_up(name: str, inputs: list[Tensor]) -> Any:
    """A result of an operation that depends on values, where there are none: 0, or as if a mask held everywhere."""
    if name == "_local_scalar_dense":
        return torch.zeros((), dtype=inputs[0].dtype).item()
    if name == "equal":
        return False
    if name == "nonzero":
        return inputs[0].new_empty((inputs[0].numel(), inputs[0].ndim), dtype=torch.int64)
    if name in ("index", "masked_select"):
        values, mask = inputs[:2]
        return values.new_empty((mask.numel(), *values.shape[mask.ndim :]))
    if name.startswith("index_put"):
        return inputs[0] if name.endswith("_") else torch.empty_like(inputs[0])
    raise NotImplementedError(f"{name} has no result on the device meta")


def _place() -> str:
    """The innermost line of our code that runs."""
    for frame in _frames(sys._getframe(2)):
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] == "kdtrain" and module != __name__:
            return f"{module}:{frame.f_lineno}"
    return "the backward pass"


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
