"""Sums over pixels, computed in blocks."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

BLOCK_ELEMENTS = 2**18
"""Largest temporary, in numbers: longer work is cut into blocks, which the backward pass computes again."""


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
