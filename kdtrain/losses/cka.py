"""Linear centred kernel alignment (CKA): how alike two sets of features arrange the same samples."""

from typing import Literal

import torch
from torch import Tensor

from kdtrain.losses.kernels import inner_products
from kdtrain.losses.maps import wide

Samples = Literal["batch", "pixels"]
Estimator = Literal["biased", "unbiased"]
Distance = Literal["neg_log", "one_minus"]

LEAST_SAMPLES: dict[Estimator, int] = {"biased": 2, "unbiased": 4}


def cka(x: Tensor, y: Tensor, estimator: Estimator = "biased") -> Tensor:
    """Linear CKA of `x (..., n, p)` and `y (..., n, q)`, n samples each; float64 `(...)`.

    `biased` lies in [0, 1] and tends to 1 for any two inputs when `p` and `q` far exceed `n` (two samples:
    exactly 1); `unbiased` uses the estimator of HSIC by Song et al. (JMLR 2012, equation 5) and can be
    negative. Where one side does not vary at all, the value is 0.
    """
    if x.shape[-2] < LEAST_SAMPLES[estimator]:
        raise ValueError(
            f"the {estimator} CKA needs at least {LEAST_SAMPLES[estimator]} samples, but came {x.shape[-2]}: "
            "take a larger batch, or samples='pixels'"
        )
    own_x, own_y, both = _hsics(x, y, estimator)
    product = own_x.clamp_min(0) * own_y.clamp_min(0)
    varies = product > 0
    return torch.where(varies, both / torch.where(varies, product, 1.0).sqrt(), 0.0)


def cka_distance(x: Tensor, y: Tensor, estimator: Estimator, distance: Distance) -> Tensor:
    """Mean over `...` of `-log(CKA + 1e-8)` or `1 - CKA`, for `x (..., n, p)` and `y (..., n, q)`."""
    if distance == "one_minus":
        return (1 - cka(x, y, estimator)).mean()
    if distance != "neg_log":
        raise ValueError(f"distance must be neg_log or one_minus, but came {distance!r}")
    if estimator == "unbiased":
        raise ValueError("the unbiased CKA can be negative: distance must be 'one_minus', but came 'neg_log'")
    return -(cka(x, y) + 1e-8).log().mean()


def as_samples(features: Tensor, samples: Samples) -> Tensor:
    """Lay out `(N, C, H, W)` with one row per image `(N, CHW)`, or per pixel of every image `(N, HW, C)`."""
    match samples:
        case "batch":
            return features.flatten(1)
        case "pixels":
            return features.flatten(2).transpose(1, 2)
    raise ValueError(f"samples must be batch or pixels, but came {samples!r}")


def _hsics(x: Tensor, y: Tensor, estimator: Estimator) -> tuple[Tensor, Tensor, Tensor]:
    """HSIC of x with itself, of y with itself and of both, up to a factor that depends on n alone: CKA is a ratio."""
    n = x.shape[-2]
    if n <= min(x.shape[-1], y.shape[-1]):
        k, m = inner_products(x, centred=True), inner_products(y, centred=True)
        inner = [(one * other).sum((-2, -1)) for one, other in ((k, k), (m, m), (k, m))]
        a, b = (kernel.diagonal(dim1=-2, dim2=-1) for kernel in (k, m))
    else:
        x, y = (wide(side) - wide(side).mean(-2, keepdim=True) for side in (x, y))
        inner = [(one.mT @ other).square().sum((-2, -1)) for one, other in ((x, x), (y, y), (x, y))]
        a, b = x.square().sum(-1), y.square().sum(-1)
    if estimator == "unbiased":
        inner = [_unbiased(one, *sides, n) for one, sides in zip(inner, ((a, a), (b, b), (a, b)), strict=True)]
    return inner[0], inner[1], inner[2]


def _unbiased(inner: Tensor, a: Tensor, b: Tensor, n: int) -> Tensor:
    """Equation (5) with kernels of centred features, whose rows without the diagonal sum to minus the diagonal."""
    diagonals = (a * b).sum(-1)
    return inner - diagonals * n / (n - 2) + a.sum(-1) * b.sum(-1) / ((n - 1) * (n - 2))
