"""Double similarity, DSD (Feng et al., IEEE TIP 30, 2021): of pixels between layers, and of categories."""

from collections.abc import Sequence
from itertools import combinations, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from kdtrain.loss_forms import LayerPairs, SimilarityForm, SimilarityReduction, SimilaritySoftmax
from kdtrain.losses.maps import (
    CONSTANT_BELOW,
    IMPOSSIBLE,
    LENGTH_EPS,
    distillation_loss,
    full_precision,
    pool_map,
    precise,
    unit_vectors,
    wide,
)


def pixel_similarity(
    students: Sequence[Tensor],
    teachers: Sequence[Tensor],
    *,
    pairs: LayerPairs = "all",
    reduction: SimilarityReduction = "mean",
) -> Tensor:
    """Mean squared difference between what changes in the attention of student and teacher from layer to layer.

    The attention of a map is its squares averaged over channels, as a vector of unit length over pixels; what
    changes is the difference between the attentions of two maps, again of unit length. Runs outside autocast in
    float32 or float64; the teachers' maps are detached.

    Args:
        students: At least two maps `(N, C, H, W)` of equal height and width and any channels.
        teachers: As many, with the same heights and widths.
        pairs: Which two maps: `all` (CIRKD's code), or `adjacent` ones (descriptions of the paper).
        reduction: `mean` over pixels (CIRKD's code), which falls as 1 over their number, or `image`: their sum, as a
            mean over images and pairs, which depends on no size (inferred).

    Raises:
        ValueError: For fewer than two maps, or maps of different size.
    """
    students, teachers = tuple(students), tuple(teachers)
    shapes = f"students {[tuple(m.shape) for m in students]}, teachers {[tuple(m.shape) for m in teachers]}"
    if len(students) != len(teachers) or len(students) < 2:
        raise ValueError(f"pixel_similarity needs two or more maps of both, and equally many, got {shapes}")
    if len({(len(m), *m.shape[2:]) for m in (*students, *teachers)}) > 1 or students[0].ndim != 4:
        raise ValueError(f"pixel_similarity needs maps (N, C, H, W) of equal batch, height and width, got {shapes}")
    match pairs:
        case "all":
            chosen = list(combinations(range(len(students)), 2))
        case "adjacent":
            chosen = list(pairwise(range(len(students))))
        case _:
            raise ValueError(f"pairs must be all or adjacent, got {pairs!r}")
    if reduction not in ("mean", "image"):
        raise ValueError(f"reduction must be mean or image, got {reduction!r}")
    with full_precision(students[0]):
        attentions = [
            [unit_vectors(wide(m).square().mean(1).flatten(1), eps=0.0, shortest=LENGTH_EPS**2) for m in side]
            for side in (students, [teacher.detach() for teacher in teachers])
        ]
        s, t = (
            torch.stack(
                [
                    unit_vectors(side[later] - side[earlier], eps=1e-12, shortest=CONSTANT_BELOW)
                    for earlier, later in chosen
                ]
            )
            for side in attentions
        )
        squares = (s - t).square()
        mean = squares.mean() if reduction == "mean" else squares.sum(-1).mean()
        return mean.to(precise(students[0]).dtype)


@distillation_loss(equal_channels=True)
def category_similarity(
    student: Tensor,
    teacher: Tensor,
    temperature: float | Tensor = 4.0,
    *,
    pool: int = 2,
    form: SimilarityForm = "code",
    softmax: SimilaritySoftmax = "space",
) -> Tensor:
    """Mean squared difference between the products `Q Q^T` of the classes' soft maps `Q (C, P)`.

    Args:
        student: Logits `(N, C, H, W)`.
        teacher: `(N, C, H, W)`.
        temperature: Divides the pooled logits.
        pool: Both maps are averaged over squares of this side before.
        form: `code`: `Q` as the softmax gives it (CIRKD), which for maps of 64 x 128 is too small to count beside
            any other loss; `rows`: each class's map is brought to unit length first (descriptions of the paper).
        softmax: Over `space` (CIRKD's code), or over each pixel's classes (`class`, descriptions of the paper).
    """
    if softmax not in ("space", "class"):
        raise ValueError(f"softmax must be space or class, got {softmax!r}")
    if form not in ("code", "rows"):
        raise ValueError(f"form must be code or rows, got {form!r}")
    axis = -1 if softmax == "space" else 1
    products = []
    for side in (student, teacher):
        rows = F.softmax(pool_map(wide(side), pool, "average").flatten(2).clamp_min(IMPOSSIBLE) / temperature, dim=axis)
        rows = unit_vectors(rows, eps=0.0) if form == "rows" else rows
        products.append(rows @ rows.mT)
    return (products[0] - products[1]).square().mean()
