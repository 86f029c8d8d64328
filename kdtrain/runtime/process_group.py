"""Several processes that train one student together, each on its share of every batch.

Many losses look across the whole batch, so each process computes the loss of the whole batch: maps and labels are
gathered, and only this process's share of the student's maps carries a gradient. The sum over the processes of the
student's gradients is then exactly the gradient of one process that sees the whole batch. Batch norm takes its
statistics from the whole batch, too. Weights, losses and decisions stay equal because all take those of the first.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.modules._functions import SyncBatchNorm
from torch.overrides import TorchFunctionMode

T = TypeVar("T")
_CPU = torch.device("cpu")
_TIMEOUT = timedelta(hours=1)
"""How long a process waits for another that is alive but slow; a dead one is noticed at once."""


class ProcessGroup:
    """The processes of a training; this class is a single process.

    Attributes:
        rank: The number of this process, from 0.
        size: How many there are.
    """

    rank = 0
    size = 1

    def join(self, device: torch.device) -> None:
        """Connect to the other processes; before this, only `share` may be used."""

    def share(self, items: list[T]) -> list[T]:
        """This process's part of items that the processes divide: equal, contiguous parts of a training batch."""
        return items

    def broadcast_object(self, value: T) -> T:
        """The `value` of the first process."""
        return value

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors the first process's values, in place."""

    def align(self, module: nn.Module) -> None:
        """Give a module the first process's weights and buffers."""
        self.broadcast_(value for value in module.state_dict().values() if isinstance(value, Tensor))

    def gather(self, share: Tensor) -> Tensor:
        """The shares `(n, ...)` of all processes as a batch `(N, ...)`; only this process's share has a gradient."""
        return share

    def sum(self, counts: Tensor) -> Tensor:
        """The sum of a tensor on the CPU over all processes."""
        return counts

    def whole_batch_norm(self) -> AbstractContextManager[object]:
        """A context in which batch norm in training mode takes its statistics from all processes."""
        return nullcontext()

    def sum_gradients(self, of_share: Iterable[nn.Parameter], of_batch: Iterable[nn.Parameter]) -> None:
        """Replace gradients by those of the whole batch.

        Args:
            of_share: Parameters of the student, which sees this process's share: their gradients are summed.
            of_batch: Parameters of modules that see the gathered maps: their gradients differ by rounding alone, and
                those of the first process are taken.
        """


ALONE = ProcessGroup()


class SpawnedGroup(ProcessGroup):
    """Several processes of one node, joined by gloo on the CPU and by NCCL on GPUs.

    Args:
        rank: The number of this process.
        size: How many there are.
        folder: A new folder of this node, by which the processes find each other.
        ready: Called before this process waits for the others.
    """

    def __init__(self, rank: int, size: int, folder: Path, ready: Callable[[], None]) -> None:
        self.rank, self.size = rank, size
        self._folder, self._ready = folder, ready

    def join(self, device: torch.device) -> None:
        """Connect to the other processes."""
        self._ready()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        hook = sys.excepthook
        with _loopback():
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
                store=distributed.FileStore(  # type: ignore[attr-defined, unused-ignore]
                    str(self._folder / "store"), self.size
                ),
                rank=self.rank,
                world_size=self.size,
                timeout=_TIMEOUT,
            )
        sys.excepthook = hook  # torch has replaced it by one that writes the rank before every line

    def leave(self) -> None:
        """Disconnect; all processes do so at the same time."""
        if distributed.is_initialized():
            distributed.destroy_process_group()

    def abandon(self) -> None:
        """Disconnect from processes that may be dead."""
        self.abort()
        self.leave()

    def abort(self) -> None:
        """End operations that wait for a dead process on a GPU; on a CPU they end by themselves."""
        group = distributed.group.WORLD
        if group is not None and "nccl" in distributed.get_backend_config():
            group.abort()

    def share(self, items: list[T]) -> list[T]:
        """This process's contiguous part."""
        start, end = (len(items) * rank // self.size for rank in (self.rank, self.rank + 1))
        return items[start:end]

    def broadcast_object(self, value: T) -> T:
        """The value of the first process, sent by pickle."""
        values = [value]
        distributed.broadcast_object_list(values, src=0, device=_CPU)
        return values[0]

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Broadcast tensor by tensor."""
        for tensor in tensors:
            values = tensor.contiguous()
            distributed.broadcast(values, src=0)
            tensor.copy_(values)

    def gather(self, share: Tensor) -> Tensor:
        """All shares, in the order of the batch."""
        sent = share.detach().contiguous()
        parts = [torch.empty_like(sent) for _ in range(self.size)]
        distributed.all_gather(parts, sent)
        parts[self.rank] = share
        return torch.cat(parts)

    def sum(self, counts: Tensor) -> Tensor:
        """The sum, in place."""
        distributed.all_reduce(counts)
        return counts

    def whole_batch_norm(self) -> AbstractContextManager[object]:
        """Replaces `functional.batch_norm`, whichever module calls it."""
        return _WholeBatchNorm(self.size)

    def sum_gradients(self, of_share: Iterable[nn.Parameter], of_batch: Iterable[nn.Parameter]) -> None:
        """One message for all gradients of a type."""
        summed = [parameter.grad for parameter in of_share if parameter.grad is not None]
        taken = [parameter.grad for parameter in of_batch if parameter.grad is not None]
        if self.rank > 0:
            for gradient in taken:
                gradient.zero_()
        gradients = [*summed, *taken]
        for dtype in {gradient.dtype: None for gradient in gradients}:
            same_type = [gradient for gradient in gradients if gradient.dtype == dtype]
            flat = torch.cat([gradient.flatten() for gradient in same_type])
            distributed.all_reduce(flat)
            sizes = [gradient.numel() for gradient in same_type]
            for gradient, total in zip(same_type, torch.split(flat, sizes), strict=True):
                gradient.copy_(total.view_as(gradient))


@contextmanager
def _loopback() -> Iterator[None]:
    """Makes gloo connect by the loopback interface, whatever address the name of the host has."""
    name = "GLOO_SOCKET_IFNAME"
    loopbacks = [interface for _, interface in socket.if_nameindex() if interface in ("lo", "lo0")]
    if name in os.environ or not loopbacks:
        yield
        return
    os.environ[name] = loopbacks[0]
    try:
        yield
    finally:
        del os.environ[name]


class _WholeBatchNorm(TorchFunctionMode):
    """Replaces the function rather than the modules, because libraries have their own classes of batch norm."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, or its replacement."""
        if function is functional.batch_norm:
            return _batch_norm(self._size, *args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _batch_norm(
    size: int,
    values: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`functional.batch_norm` over equal shares in `size` processes; on GPUs it is the one of `nn.SyncBatchNorm`."""
    if not training:
        return functional.batch_norm(values, running_mean, running_var, weight, bias, False, momentum, eps)
    if values.device.type == "cuda":
        normalized: Tensor = SyncBatchNorm.apply(
            values, weight, bias, running_mean, running_var, eps, momentum, distributed.group.WORLD, size
        )
        return normalized
    axes = [0, *range(2, values.ndim)]
    along = [1, -1, *[1] * (values.ndim - 2)]
    count = values.numel() // values.shape[1] * size
    precise = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    mean = _Sum.apply(precise.sum(axes)) / count
    centered = precise - mean.view(along)
    variance = _Sum.apply(centered.square().sum(axes)) / count
    result: Tensor = centered * (variance + eps).rsqrt().view(along)
    if weight is not None:
        result = result * weight.view(along)
    if bias is not None:
        result = result + bias.view(along)
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        if running_var is not None:
            running_var.lerp_((variance * (count / (count - 1))).to(running_var.dtype), momentum)
    return result.to(values.dtype)


class _Sum(torch.autograd.Function):
    """The sum over the processes; its gradient is the sum of the gradients in all of them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total
