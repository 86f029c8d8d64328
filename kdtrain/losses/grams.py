"""Distances between matrices of products, through Gram matrices."""

import torch.nn.functional as F
from torch import Tensor


def gram_distance(s: Tensor, t: Tensor) -> Tensor:
    """`||S S^T - T T^T||^2` without a product of P x P numbers.

    With `D = S - T` and `U = S + T` the difference is `(D U^T + U D^T) / 2`, and its squared norm is
    `(<D^T D, U^T U> + <D^T U, U^T D>) / 2`: nothing cancels when student and teacher nearly agree.

    Args:
        s: `(N, P, C)`.
        t: `(N, P, C)`.

    Returns:
        `(N,)`.
    """
    return from_grams(*grams(s, t))


def grams(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Grams of the difference, of the sum, and of both."""
    d, u = s - t, s + t
    return d.mT @ d, u.mT @ u, d.mT @ u


def from_grams(dd: Tensor, uu: Tensor, du: Tensor) -> Tensor:
    """`gram_distance` from what `grams` gave, or from its sums over blocks of pixels."""
    return ((dd * uu).sum((-2, -1)) + (du * du.mT).sum((-2, -1))) / 2


def padded(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The narrower of both filled up with zero channels, which changes no product."""
    width = max(s.shape[-1], t.shape[-1])
    return F.pad(s, (0, width - s.shape[-1])), F.pad(t, (0, width - t.shape[-1]))
