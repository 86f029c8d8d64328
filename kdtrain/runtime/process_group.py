"""Several processes that train one student together, each on its share of every batch.

Many losses look across the whole batch, so each process computes the loss of the whole batch: maps and labels are
gathered, and only the own share of the student's maps carries a gradient. The sum over the processes of the student's
gradients is then exactly that of one process which sees the whole batch. Batch norm takes its statistics from the
whole batch, too. What is equal in all processes (weights, losses, decisions) is kept so by taking it from the first.
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
_PATIENCE = timedelta(hours=1)
"""How long a process waits for one that is alive but slow; a dead one is noticed at once."""


class ProcessGroup:
    """The processes of a training: this one alone.

    Attributes:
        rank: The number of this process, from 0.
        size: How many there are.
    """

    rank = 0
    size = 1

    def join(self, device: torch.device) -> None:
        """Meet the others; before this, nothing but `share` may be used."""

    def share(self, items: list[T]) -> list[T]:
        """This process's part of what all do together: equal, contiguous parts of a training batch."""
        return items

    def broadcast_object(self, value: T) -> T:
        """What the first process has as `value`."""
        return value

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors the first process's values, in place."""

    def align(self, module: nn.Module) -> None:
        """Give a module the first process's weights and buffers."""
        self.broadcast_(value for value in module.state_dict().values() if isinstance(value, Tensor))

    def gather(self, own: Tensor) -> Tensor:
        """All processes' shares `(n, ...)` of a batch as `(N, ...)`, of which the own one carries its gradient."""
        return own

    def sum(self, counts: Tensor) -> Tensor:
        """The sum of a tensor on the CPU over all processes."""
        return counts

    def whole_batch_norm(self) -> AbstractContextManager[Any]:
        """Inside it, batch norm in training mode takes its statistics from all processes."""
        return nullcontext()

    def sum_gradients(self, own: Iterable[nn.Parameter], common: Iterable[nn.Parameter]) -> None:
        """Bring gradients to those of the whole batch.

        Args:
            own: Of the student, which has seen the own share alone: summed over the processes.
            common: Of what has seen the gathered maps, and so is equal but for rounding: taken from the first.
        """


ALONE = ProcessGroup()


class SpawnedGroup(ProcessGroup):
    """Several processes of one node, joined by gloo on the CPU and by NCCL on GPUs.

    Args:
        rank: The number of this process.
        size: How many there are.
        folder: A new folder of this node in which they find each other.
        ready: Called before this process waits for the others.
    """

    def __init__(self, rank: int, size: int, folder: Path, ready: Callable[[], None]) -> None:
        self.rank, self.size = rank, size
        self._folder, self._ready = folder, ready

    def join(self, device: torch.device) -> None:
        """Meet the others."""
        self._ready()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        hook = sys.excepthook
        with _loopback():
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
                store=distributed.FileStore(str(self._folder / "store"), self.size),
                rank=self.rank,
                world_size=self.size,
                timeout=_PATIENCE,
            )
        sys.excepthook = hook  # torch has put in one that writes the rank before every line, for good

    def leave(self) -> None:
        """Part from the others, who part as well."""
        if distributed.is_initialized():
            distributed.destroy_process_group()

    def abandon(self) -> None:
        """Part from others who may be dead."""
        self.abort()
        self.leave()

    def abort(self) -> None:
        """End what waits for a dead process on the GPU; on the CPU, such waiting ends by itself."""
        group = distributed.group.WORLD
        if group is not None and "nccl" in distributed.get_backend_config():
            group.abort()

    def share(self, items: list[T]) -> list[T]:
        """This process's contiguous part."""
        start, end = (len(items) * rank // self.size for rank in (self.rank, self.rank + 1))
        return items[start:end]

    def broadcast_object(self, value: T) -> T:
        """What the first process has; travels by pickle."""
        values = [value]
        distributed.broadcast_object_list(values, src=0, device=_CPU)
        return values[0]

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Broadcast tensor by tensor."""
        for tensor in tensors:
            common = tensor.contiguous()
            distributed.broadcast(common, src=0)
            tensor.copy_(common)

    def gather(self, own: Tensor) -> Tensor:
        """All shares, in the order of the batch."""
        sent = own.detach().contiguous()
        parts = [torch.empty_like(sent) for _ in range(self.size)]
        distributed.all_gather(parts, sent)
        parts[self.rank] = own
        return torch.cat(parts)

    def sum(self, counts: Tensor) -> Tensor:
        """The sum, in place."""
        distributed.all_reduce(counts)
        return counts

    def whole_batch_norm(self) -> AbstractContextManager[Any]:
        """Whatever module calls `functional.batch_norm`."""
        return _WholeBatchNorm(self.size)

    def sum_gradients(self, own: Iterable[nn.Parameter], common: Iterable[nn.Parameter]) -> None:
        """One message for all gradients of a type."""
        summed = [parameter.grad for parameter in own if parameter.grad is not None]
        taken = [parameter.grad for parameter in common if parameter.grad is not None]
        if self.rank > 0:
            for gradient in taken:
                gradient.zero_()
        gradients = [*summed, *taken]
        for dtype in {gradient.dtype: None for gradient in gradients}:
            alike = [gradient for gradient in gradients if gradient.dtype == dtype]
            flat = torch.cat([gradient.flatten() for gradient in alike])
            distributed.all_reduce(flat)
            for gradient, total in zip(alike, flat.split([part.numel() for part in alike]), strict=True):
                gradient.copy_(total.view_as(gradient))


@contextmanager
def _loopback() -> Iterator[None]:
    """Lets gloo join by the loopback, whatever the name of the host means."""
    name = "GLOO_SOCKET_IFNAME"
    found = [interface for _, interface in socket.if_nameindex() if interface in ("lo", "lo0")]
    if name in os.environ or not found:
        yield
        return
    os.environ[name] = found[0]
    try:
        yield
    finally:
        del os.environ[name]


class _WholeBatchNorm(TorchFunctionMode):
    """Replaces the function rather than the modules, since libraries have batch norms of their own classes."""

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
    """`functional.batch_norm` over equal shares in `size` processes; on GPUs it is that of `nn.SyncBatchNorm`."""
    if not training:
        return functional.batch_norm(values, running_mean, running_var, weight, bias, False, momentum, eps)
    if values.device.type == "cuda":
        of_torch: Tensor = SyncBatchNorm.apply(
            values, weight, bias, running_mean, running_var, eps, momentum, distributed.group.WORLD, size
        )
        return of_torch
    axes = [0, *range(2, values.ndim)]
    along = [1, -1, *[1] * (values.ndim - 2)]
    count = values.numel() // values.shape[1] * size
    precise = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    mean = _Sum.apply(precise.sum(axes)) / count
    centred = precise - mean.view(along)
    variance = _Sum.apply(centred.square().sum(axes)) / count
    normal = centred * (variance + eps).rsqrt().view(along)
    if weight is not None:
        normal = normal * weight.view(along)
    if bias is not None:
        normal = normal + bias.view(along)
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        if running_var is not None:
            running_var.lerp_((variance * (count / (count - 1))).to(running_var.dtype), momentum)
    return normal.to(values.dtype)


class _Sum(torch.autograd.Function):
    """The sum over the processes; what each of them derives from it adds to the gradient."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total
