"""Linear centered kernel alignment (CKA): how alike two sets of features arrange the same samples."""

import torch
from torch import Tensor

from kdtrain.loss_forms import LEAST_SAMPLES, Distance, Estimator
from kdtrain.losses.kernels import inner_products
from kdtrain.losses.maps import CONSTANT_BELOW, LENGTH_EPS, wide


def cka(x: Tensor, y: Tensor, estimator: Estimator = "biased") -> Tensor:
    """Linear CKA of `x (..., n, p)` and `y (..., n, q)`, n samples each; float64 `(...)`.

    `biased` lies in [0, 1] and tends to 1 for any two inputs when `p` and `q` far exceed `n` (two samples:
    exactly 1); `unbiased` uses the estimator of HSIC by Song et al. (JMLR 2012, equation 5) and can be
    negative. Where one side does not vary at all, the value is 0.
    """
    n = x.shape[-2]
    if n <= min(x.shape[-1], y.shape[-1]):
        return kernel_cka(centered_kernel(x), centered_kernel(y), estimator)
    x, y = (_apart(wide(side)) for side in (x, y))
    inner = [(left.mT @ right).square().sum((-2, -1)) for left, right in ((x, x), (y, y), (x, y))]
    return _ratio(inner, x.square().sum(-1), y.square().sum(-1), estimator)


def _apart(x: Tensor) -> Tensor:
    """The rows of `x (..., n, p)` less their mean; 0 for equal rows."""
    apart = x - x.mean(-2, keepdim=True)
    length, whole = (torch.linalg.vector_norm(side.detach(), dim=(-2, -1), keepdim=True) for side in (apart, x))
    return torch.where(length > CONSTANT_BELOW * whole, apart, 0.0)


def centered_kernel(x: Tensor) -> Tensor:
    """Inner products of the n rows of `x (..., n, p)` less their mean: float64 `(..., n, n)`; 0 for equal rows."""
    kernel = inner_products(x, centered=x.shape[-2])
    length = torch.linalg.vector_norm(x.detach(), dim=(-2, -1)).to(kernel)
    varies = kernel.detach().diagonal(dim1=-2, dim2=-1).sum(-1) > (CONSTANT_BELOW * length).square()
    return torch.where(varies[..., None, None], kernel, 0.0)


def kernel_cka(k: Tensor, m: Tensor, estimator: Estimator = "biased") -> Tensor:
    """As `cka`, of two centered kernels `(..., n, n)`."""
    inner = [(left * right).sum((-2, -1)) for left, right in ((k, k), (m, m), (k, m))]
    a, b = (kernel.diagonal(dim1=-2, dim2=-1) for kernel in (k, m))
    return _ratio(inner, a, b, estimator)


def kernel_terms(x: Tensor, added: Tensor | None) -> Tensor:
    """Coefficients `(..., 3, n, n)` of the centered kernel of `x + f y`, a polynomial of degree 2 in the factor `f`.

    Args:
        x: `(..., n, p)`.
        added: `y`, of the same shape; without it there is one coefficient, for `f = 0`.
    """
    if added is None:
        return centered_kernel(x).unsqueeze(-3)
    n = x.shape[-2]
    both = inner_products(torch.cat([x, added], -2), centered=n)
    mixed = both[..., :n, n:]
    return torch.stack([both[..., :n, :n], mixed + mixed.mT, both[..., n:, n:]], -3)


def kernel_at(factor: float | Tensor, terms: Tensor) -> Tensor:
    """The centered kernel `(..., n, n)` for a factor, from what `kernel_terms` gives."""
    first, *higher = terms.unbind(-3)
    if not higher:
        return first
    linear, squared = higher
    return first + factor * (linear + factor * squared)


def distance_of(cka: Tensor, estimator: Estimator, distance: Distance) -> Tensor:
    """Mean of `-log(CKA + 1e-8)` or `1 - CKA`.

    Raises:
        ValueError: If there is no such distance, or not for this estimator.
    """
    if distance not in ("neg_log", "one_minus"):
        raise ValueError(f"distance must be neg_log or one_minus, got {distance!r}")
    if distance == "neg_log" and estimator == "unbiased":
        raise ValueError("the unbiased CKA can be negative: distance must be 'one_minus', got 'neg_log'")
    return -(cka + 1e-8).log().mean() if distance == "neg_log" else (1 - cka).mean()


def _ratio(inner: list[Tensor], a: Tensor, b: Tensor, estimator: Estimator) -> Tensor:
    """CKA from inner products of centered kernels (of the first with itself, the second, both) and their diagonals.

    HSIC need be known only up to a factor that depends on n alone.
    """
    n = a.shape[-1]
    if n < LEAST_SAMPLES[estimator]:
        raise ValueError(
            f"the {estimator} CKA needs at least {LEAST_SAMPLES[estimator]} samples, got {n}: "
            "take a larger batch, or samples='pixels'"
        )
    if estimator == "unbiased":
        inner = [_unbiased(product, *sides, n) for product, sides in zip(inner, ((a, a), (b, b), (a, b)), strict=True)]
    of_x, of_y, both = inner
    varies = (of_x > LENGTH_EPS**4) & (of_y > LENGTH_EPS**4)
    product = of_x * of_y
    return torch.where(varies, both / torch.where(varies, product, 1.0).sqrt(), 0.0)


def _unbiased(inner: Tensor, a: Tensor, b: Tensor, n: int) -> Tensor:
    """Equation (5) with kernels of centered features, whose rows without the diagonal sum to minus the diagonal."""
    diagonals = (a * b).sum(-1)
    return inner - diagonals * n / (n - 2) + a.sum(-1) * b.sum(-1) / ((n - 1) * (n - 2))
