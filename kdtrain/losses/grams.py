"""Distances between matrices of products, through Gram matrices."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from kdtrain.losses.blocks import BLOCK_ELEMENTS, block_elements, blockwise


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


def separate_grams_distance(s: Tensor, t: Tensor, prepare: Callable[[Tensor], Tensor]) -> Tensor:
    """`||S S^T - T T^T||^2` as `||S^T S||^2 - 2 ||S^T T||^2 + ||T^T T||^2`, for maps of different widths.

    Filling up the narrower one would multiply by zeros. What cancels here has the digits of float64 to lose.

    Args:
        s: `(N, P, C_s)`.
        t: `(N, P, C_t)`, without a gradient.
        prepare: Makes float64 `S` and `T` of some of their pixels.

    Returns:
        `(N,)`.
    """
    step = max(block_elements(s.device, BLOCK_ELEMENTS) // (len(s) * max(s.shape[-1], t.shape[-1])), 1)

    def products(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x, y = prepare(x), prepare(y)
        return x.mT @ x, x.mT @ y

    def gram(y: Tensor, _: Tensor) -> tuple[Tensor]:
        y = prepare(y)
        return (y.mT @ y,)

    of_student, both = blockwise(products, step, s, t)
    (constant,) = blockwise(gram, step, t, t)
    return of_student.square().sum((-2, -1)) - 2 * both.square().sum((-2, -1)) + constant.square().sum((-2, -1))


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
