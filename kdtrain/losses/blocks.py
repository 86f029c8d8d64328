"""How large a temporary may be, and sums over pixels that are computed in blocks.

On a CPU blocks are small, because what its caches hold is read faster. On an accelerator every block costs launches, so
that there are several only where memory asks for them.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

BLOCK_ELEMENTS = 2**18
"""Largest temporary on a CPU, in numbers: longer work is cut into blocks, which the backward pass computes again."""
ACCELERATOR_ELEMENTS = 2**25
"""Largest temporary on an accelerator, in numbers: 128 MiB in float32."""

WITHOUT_LAUNCHES = frozenset({"cpu"})
"""Types of devices on which an operation starts at once, in the process that asks for it."""


def pays_for_launches(device: torch.device) -> bool:
    """Whether a device is asked to compute by another, so that one large operation is faster than many small ones."""
    return device.type not in WITHOUT_LAUNCHES


def block_elements(device: torch.device, on_cpu: int) -> int:
    """The largest temporary on a device, in numbers, where it is `on_cpu` on a CPU."""
    return ACCELERATOR_ELEMENTS if pays_for_launches(device) else on_cpu


def blockwise(
    work: Callable[[Tensor, Tensor], tuple[Tensor, ...]], step: int, s: Tensor, t: Tensor
) -> tuple[Tensor, ...]:
    """Sum of `work` over blocks of `step` pixels; if there are several, the backward pass repeats them."""
    if step >= s.shape[1]:
        return work(s, t)
    blocks = zip(s.split(step, 1), t.split(step, 1), strict=True)
    total: tuple[Tensor, ...] | None = None
    for x, y in blocks:
        part = checkpoint(work, x, y, use_reentrant=False, preserve_rng_state=False)
        total = part if total is None else tuple(torch.add(*sums) for sums in zip(total, part, strict=True))
    assert total is not None
    return total
