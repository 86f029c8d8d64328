"""Batches on their way to the device: a thread reads ahead, and a GPU receives a batch while it computes another."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from kdtrain.runtime.read_ahead import read_ahead

AHEAD = 3
"""Batches that are being read, or are read and not used yet."""


class HasTensors(Protocol):
    """A batch of tensors."""

    def with_tensors(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The batch with all its tensors changed."""
        ...


B = TypeVar("B", bound=HasTensors)


@contextmanager
def fed(batches: Iterator[B], device: torch.device) -> Iterator[Iterator[B]]:
    """Iterate over batches on the device; a thread, which ends with the block, iterates over `batches` ahead.

    For a GPU the thread copies every batch into pinned memory; torch keeps the buffers and uses them again once their
    transfer has ended. For a CPU nothing is copied.
    """
    if device.type != "cuda":
        with read_ahead(batches, AHEAD) as ready:
            yield (batch.with_tensors(lambda values: values.to(device)) for batch in ready)
        return
    with read_ahead(_pinned(batches, device), AHEAD) as ready:
        yield _transferred(ready, device)


def _pinned(batches: Iterator[B], device: torch.device) -> Iterator[B]:
    with torch.cuda.device(device):  # or a thread pins its memory in the context of the first GPU
        for batch in batches:
            yield batch.with_tensors(Tensor.pin_memory)


def _transferred(batches: Iterator[B], device: torch.device) -> Iterator[B]:
    """Batches on a GPU; the transfer of the next one begins before a batch is handed out, on a stream of its own."""
    transfers = torch.cuda.Stream(device)
    ahead: tuple[B, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(transfers):
            on_device = batch.with_tensors(lambda values: values.to(device, non_blocking=True))
        arriving = on_device, transfers.record_event()
        if ahead is not None:
            yield _received(*ahead, device)
        ahead = arriving
    if ahead is not None:
        yield _received(*ahead, device)


def _received(batch: B, transferred: torch.cuda.Event, device: torch.device) -> B:
    """The batch, for which the current stream of its device waits."""
    stream = torch.cuda.current_stream(device)
    stream.wait_event(transferred)

    def used(values: Tensor) -> Tensor:
        values.record_stream(stream)  # so that its memory is not used again before this stream is done with it
        return values

    return batch.with_tensors(used)
