"""Inner products of rows, summed in float64 without a float64 copy of the rows."""

from typing import Any

from torch import Tensor

from kdtrain.losses.blocks import block_elements
from kdtrain.losses.maps import wide
from kdtrain.losses.operators import Operator

CHUNK_ELEMENTS = 2**20
"""Largest float64 copy on a CPU, in numbers."""


def inner_products(rows: Tensor, centered: int = 0) -> Tensor:
    """`x x^T` for `x (..., n, p)`: `(..., n, n)`.

    Float64 where the device has it, since what is computed from them cancels; the gradient is a product in the type of
    `x`.

    Args:
        rows: `x`.
        centered: So many successive rows are taken less their mean; 0 for all as they are.
    """
    products: Tensor = _INNER_PRODUCTS(rows, centered)
    return products


def _centered(rows: Tensor, group: int) -> Tensor:
    groups = rows.unflatten(-2, (-1, group))
    centered: Tensor = (groups - groups.mean(-2, keepdim=True)).flatten(-3, -2)
    return centered


def _inner_products(rows: Tensor, centered: int) -> Tensor:
    total = wide(rows.new_zeros((*rows.shape[:-1], rows.shape[-2])))
    sums = total.view(-1, *total.shape[-2:])
    chunk = block_elements(rows.device, CHUNK_ELEMENTS)
    for block in rows.split(max(chunk // max(rows[..., 0].numel(), 1), 64), -1):
        values = wide(block)
        if centered:
            values = _centered(values, centered)
        values = values.reshape(-1, *values.shape[-2:])
        sums.baddbmm_(values, values.mT)
    return total


def _empty(rows: Tensor, centered: int) -> Tensor:
    return wide(rows.new_empty((*rows.shape[:-1], rows.shape[-2])))


def _keep(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.centered = inputs[1]


def _slopes(ctx: Any, gradient: Tensor, compiled: bool) -> Tensor:
    (rows,) = ctx.saved_tensors
    factors = gradient + gradient.mT
    if ctx.centered:
        factors = _centered(_centered(factors, ctx.centered).mT, ctx.centered)
    factors = factors.to(rows.dtype)
    # the gradient lies in memory as the rows do; the factors are symmetric
    gradients: Tensor = (rows.mT @ factors).mT if rows.stride(-2) == 1 else factors @ rows
    return gradients


_INNER_PRODUCTS = Operator("inner_products", _inner_products, _empty, _keep, _slopes)
