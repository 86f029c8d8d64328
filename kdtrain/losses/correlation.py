"""Channel and spatial correlation, CSC (Park & Heo, Sensors 2020, 20(16), 4616).

Of this method only the abstract and claim 1 of the authors' patent US 11,756,202 B2 could be read. Stated
there: the feature vector of every pixel of the last layer is normalized; vectors of channel association are
made from it and its circular shifts, then concatenated; the loss is a Euclidean norm of the difference
between the matrices of student and teacher. The rest is inferred, and every inferred piece is a switch.

Notation: `f` is the normalized vector of a pixel, `F (P, C)` stacks the P pixels of an image, `R_k` shifts
channels by k.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from kdtrain.loss_forms import CscForm, PoolKind, needs_equal_channels
from kdtrain.losses.blocks import BLOCK_ELEMENTS, block_elements, blockwise
from kdtrain.losses.grams import gram_distance, grams, padded
from kdtrain.losses.maps import distillation_loss, pool_map, root, unit_vectors, wide
from kdtrain.losses.pair_products import count_pairs, squared_product_distances
from kdtrain.losses.rank_one import rank_one_distances


@distillation_loss()
def csc(
    student: Tensor,
    teacher: Tensor,
    form: CscForm = "A",
    *,
    squared: bool = True,
    pool: int = 1,
    pool_kind: PoolKind = "max",
    include_zero_shift: bool = True,
    detach_norm: bool = False,
    relation: Literal["product", "vectors"] = "product",
) -> Tensor:
    """Mean squared difference between the entries of the relation matrices `M` of student and teacher.

    Forms of `M` (A follows the claim as far as it could be read; all are inferred):

    * `A`: `G G^T (P, P)`, `G (P, C^2)` stacking `f * R_k f` for all k; its entries are `(f_i . f_j)^2`;
    * `A0`: `G` itself: all products of two channels at every pixel;
    * `B`: `R R^T (P, P)`, or `R` itself, with `R[i, k] = f_i . R_k f_i`;
    * `C`: `f_i . R_k f_j` for all k, i, j;
    * `D`: all products of two entries of `F`;
    * `E`: two matrices, `F F^T` and `F^T F / P`, whose losses are added.

    No form builds an object of P x P numbers: products of matrices are compared through their Gram matrices
    in float64, or block by block, whichever multiplies less.

    Args:
        student: Score maps or features `(N, C_s, H, W)`.
        teacher: `(N, C_t, H, W)`; only A, and B with `product`, allow other channels than the student's.
        form: Which `M`.
        squared: False: per image the root of the mean squared difference, so that the weight keeps its
            meaning for maps of any size.
        pool: Both maps are pooled before, with this kernel and stride.
        pool_kind: How.
        include_zero_shift: Whether k starts at 0, for the forms A, A0, B and C.
        detach_norm: Whether the length of a vector counts as a constant (as SKD's code does).
        relation: For form B.
    """
    if form not in _FORMS:
        raise ValueError(f"form must be one of {', '.join(_FORMS)}, got {form!r}")
    if form in ("D", "E") and not include_zero_shift:
        raise ValueError(f"form {form} has no circular shifts: include_zero_shift must be True, got False")
    if student.shape[1] != teacher.shape[1] and needs_equal_channels(form, relation):
        raise ValueError(
            f"form {form} needs equal channels, got student {tuple(student.shape)}, teacher {tuple(teacher.shape)}"
        )
    if not include_zero_shift and min(student.shape[1], teacher.shape[1]) < 2:
        raise ValueError("one channel has no shifts but 0: include_zero_shift must be True, got False")
    s, t = (_pixels(side, pool, pool_kind) for side in (student, teacher))
    means = _FORMS[form](s, t, 0 if include_zero_shift else 1, relation, detach_norm).clamp_min(0)
    return (means if squared else root(means)).mean()


def _form_a(s: Tensor, t: Tensor, first_shift: int, relation: str) -> Tensor:
    s, t = padded(s, t)
    pixels, channels = s.shape[1:]
    if 3 * count_pairs(channels, first_shift) ** 2 <= 2 * pixels * channels:
        total = squared_product_distances(s.mT, t.mT, first_shift)
    else:
        step = max(block_elements(s.device, BLOCK_ELEMENTS) // (len(s) * pixels), 1)

        def rows(x: Tensor, y: Tensor) -> tuple[Tensor]:
            return ((_relation(x, s, first_shift) - _relation(y, t, first_shift)).square().sum((-2, -1)),)

        (total,) = blockwise(rows, step, s, t)
    return total / pixels**2


def _form_a0(s: Tensor, t: Tensor, first_shift: int, relation: str, detach_norm: bool) -> Tensor:
    total = rank_one_distances(s.mT, t.mT, bool(first_shift), detach_norm)
    return total / (s.shape[1] * s.shape[2] * (s.shape[2] - first_shift))


def _form_b(s: Tensor, t: Tensor, first_shift: int, relation: str) -> Tensor:
    s, t = (_autocorrelation(side)[..., first_shift:] for side in (s, t))
    match relation:
        case "product":
            return gram_distance(*padded(s, t)) / s.shape[1] ** 2
        case "vectors":
            return (s - t).square().mean((-2, -1))
    raise ValueError(f"relation must be product or vectors, got {relation!r}")


def _form_c(s: Tensor, t: Tensor, first_shift: int, relation: str) -> Tensor:
    # sum_k ||A R_k B^T||^2 only depends on the sums along the wrapped diagonals of the Gram matrices
    dd, uu, du = (_diagonals(gram) for gram in grams(s, t))
    ud = du.roll(-1, -1).flip(-1)
    total = ((dd * uu).sum(-1) + (du * ud).sum(-1)) / 2
    if first_shift:
        total = total - gram_distance(s, t)
    return total / (s.shape[1] ** 2 * (s.shape[2] - first_shift))


def _form_d(s: Tensor, t: Tensor, first_shift: int, relation: str) -> Tensor:
    s, t = s.flatten(1)[..., None], t.flatten(1)[..., None]
    return gram_distance(s, t) / s.shape[1] ** 2


def _form_e(s: Tensor, t: Tensor, first_shift: int, relation: str) -> Tensor:
    pixels = s.shape[1]
    channels = (s.mT @ s - t.mT @ t) / pixels
    return gram_distance(s, t) / pixels**2 + channels.square().mean((-2, -1))


def _of_vectors(form: Callable[[Tensor, Tensor, int, str], Tensor]) -> "_Form":
    """A form that takes pixels, made of one that takes their normalized vectors in float64."""

    def of_pixels(s: Tensor, t: Tensor, first_shift: int, relation: str, detach_norm: bool) -> Tensor:
        s, t = (unit_vectors(wide(side), detach_norm) for side in (s, t))
        return form(s, t, first_shift, relation)

    return of_pixels


_Form = Callable[[Tensor, Tensor, int, str, bool], Tensor]
"""Takes pixels `(N, P, C)` of both sides, the first shift, the relation, and whether lengths are constants."""

_FORMS: dict[str, _Form] = {
    "A": _of_vectors(_form_a),
    "A0": _form_a0,
    "B": _of_vectors(_form_b),
    "C": _of_vectors(_form_c),
    "D": _of_vectors(_form_d),
    "E": _of_vectors(_form_e),
}


def _pixels(values: Tensor, pool: int, kind: PoolKind) -> Tensor:
    """Pooled `(N, C, H, W)` as `(N, P, C)`."""
    return pool_map(values, pool, kind).flatten(2).transpose(1, 2)


def _relation(rows: Tensor, f: Tensor, first_shift: int) -> Tensor:
    """Rows of `G G^T`: squared products of vectors, less the share of the shift 0."""
    squared = (rows @ f.mT).square()
    return squared - rows.square() @ f.square().mT if first_shift else squared


def _autocorrelation(f: Tensor) -> Tensor:
    """`f . R_k f` for all k."""
    sums: Tensor = torch.fft.irfft(torch.fft.rfft(f).abs().square(), n=f.shape[-1])
    return sums


def _diagonals(gram: Tensor) -> Tensor:
    """Sums along the wrapped diagonals: `sum_a gram[..., a, (a + d) mod C]` for all d."""
    index = torch.arange(gram.shape[-1], device=gram.device)
    return gram[..., index[None, :], (index[None, :] + index[:, None]) % len(index)].sum(-1)
