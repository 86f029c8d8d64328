"""Losses that compare maps pixel by pixel: FitNet, attention transfer, local affinity."""

from typing import Literal

import torch
from torch import Tensor

from kdtrain.loss_forms import AffinityContrast, AttentionForm, FitReduction, Neighbours
from kdtrain.losses.blocks import block_elements, pays_for_launches
from kdtrain.losses.maps import LENGTH_EPS, distillation_loss, unit_vectors, wide

_NORM_EPS = 1e-12
"""As `torch.nn.functional.normalize` has it, by which public codes normalize."""
_CHANNELS_AT_ONCE = 32
_FLAT = 1e-8
"""Mean of squared contrasts below which maps are flat: neighbours that differ by less than about 0.3 %."""


@distillation_loss(equal_channels=True)
def fitnet(
    student: Tensor, teacher: Tensor, *, normalize: Literal["none", "map"] = "none", reduction: FitReduction = "mean"
) -> Tensor:
    """Squared differences of features (Romero et al., ICLR 2015, equation 3, without its factor 1/2).

    Args:
        student: Features `(N, C, H, W)`, behind the regressor if there is one.
        teacher: `(N, C, H, W)`.
        normalize: `none` (CIRKD), or `map`: the whole map of every image has the length 1 (mmrazor).
        reduction: `mean` over all numbers (CIRKD), or `image`: their sum, as a mean over images (mmrazor, MGD).
    """
    match normalize:
        case "none":
            difference = student - teacher
        case "map":
            s, t = (unit_vectors(wide(side).flatten(1), eps=_NORM_EPS) for side in (student, teacher))
            difference = s - t
        case _:
            raise ValueError(f"normalize must be none or map, got {normalize!r}")
    match reduction:
        case "mean":
            return difference.square().mean()
        case "image":
            return difference.square().sum() / len(difference)
    raise ValueError(f"reduction must be mean or image, got {reduction!r}")


@distillation_loss()
def attention_transfer(student: Tensor, teacher: Tensor, *, form: AttentionForm = "code", power: float = 2.0) -> Tensor:
    """Distance of attention maps (Zagoruyko & Komodakis, ICLR 2017, equation 2).

    An attention map is the sum over channels of `|F|^power`, as one vector of length 1 per image.

    Args:
        student: Features `(N, C_s, H, W)`.
        teacher: `(N, C_t, H, W)`.
        form: `code`: the mean of `(q_s - q_t)^2` over images and pixels, which is `2 (1 - cosine) / (H W)` and so
            shrinks with the map; `paper`: the mean over images of the distance `|q_s - q_t|`; `squared`: of its square,
            which is `code` times the pixels and depends on no size (inferred).
        power: 2 in the paper's tables and all codes; 1 is another of its choices.
    """
    s, t = (
        unit_vectors(_power_sums(side, power).flatten(1), eps=_NORM_EPS, shortest=LENGTH_EPS**power)
        for side in (student, teacher)
    )
    match form:
        case "code":
            return (s - t).square().mean()
        case "paper":
            distance: Tensor = torch.linalg.vector_norm(s - t, dim=1).mean()
            return distance
        case "squared":
            return (s - t).square().sum(1).mean()
    raise ValueError(f"form must be code, paper or squared, got {form!r}")


@distillation_loss()
def local_affinity(
    student: Tensor,
    teacher: Tensor,
    *,
    neighbours: Neighbours = 8,
    of: Literal["logits", "probabilities"] = "logits",
    contrast: AffinityContrast = "absolute",
) -> Tensor:
    """How much every pixel differs from its neighbours (Xie et al., arXiv 1810.08476).

    With `c_i` the sum of `|x_i - x_j|^2` over the neighbours j of pixel i, the mean over images and pixels of
    `(c_i of the student - c_i of the teacher)^2`. Pixels at the border have copies of it as neighbours (inferred).

    As `c` is quadratic, `c(s) - c(t)` is written in `s - t` and `s + t`: nothing cancels when the two nearly agree.

    Args:
        student: Logits or features `(N, C_s, H, W)`.
        teacher: `(N, C_t, H, W)`.
        neighbours: 8 or 24: the pixels of a window of 3 x 3 or 5 x 5.
        of: `logits`: the maps as they are; `probabilities`: behind a softmax over channels.
        contrast: `absolute`, or `relative`: divided by the mean of `c_i^2` of student and teacher together, a constant
            of each batch. In a larger map of the same image neighbours differ less: `c` shrinks, relative `c` does not
            (inferred).
    """
    if neighbours not in (8, 24):
        raise ValueError(f"neighbours must be 8 or 24, got {neighbours!r}")
    if of not in ("logits", "probabilities"):
        raise ValueError(f"of must be logits or probabilities, got {of!r}")
    if contrast not in ("absolute", "relative"):
        raise ValueError(f"contrast must be absolute or relative, got {contrast!r}")
    radius = 1 if neighbours == 8 else 2
    s, t = student, teacher
    if of == "probabilities":
        s, t = wide(s).softmax(1), wide(t).softmax(1)
    s, t = _continued(s, radius), _continued(t, radius)
    if s.shape[1] == t.shape[1]:
        difference = _contrast(s - t, s + t, radius)
    else:
        difference = _contrast(s, s, radius) - _contrast(t, t, radius)
    if contrast == "absolute":
        return difference.square().mean()
    with torch.no_grad():
        own = [_contrast(side, side, radius).square().mean() for side in (s, t)]
    return difference.square().mean() / (own[0] + own[1] + _FLAT)


def _power_sums(maps: Tensor, power: float) -> Tensor:
    """Sum over channels of `|x|^power`, in float64, some channels at a time: `(N, C, H, W)` to `(N, H, W)`."""
    per_channel = maps[:, 0].numel()
    step = max(block_elements(maps.device, _CHANNELS_AT_ONCE * per_channel) // per_channel, 1)
    parts = (wide(part) for part in maps.split(step, dim=1))
    sums = [(part.square() if power == 2 else part.abs().pow(power)).sum(1) for part in parts]
    return torch.stack(sums).sum(0)


def _contrast(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """Sum over the window's pixels j of `(a_i - a_j) . (b_i - b_j)`.

    Every pair of neighbours is computed once, unless launches cost more than the arithmetic.

    Args:
        a: `(N, C, H + 2 radius, W + 2 radius)`, the map with its border continued.
        b: Of the same shape.
        radius: The window has `2 radius + 1` pixels on a side.

    Returns:
        `(N, H, W)`.
    """
    side = 2 * radius + 1
    if pays_for_launches(a.device) and side**2 * a.numel() <= block_elements(a.device, 0):
        middle = (..., slice(radius, -radius), slice(radius, -radius), None, None)
        one, other = (values.unfold(2, side, 1).unfold(3, side, 1) - values[middle] for values in (a, b))
        return (one * other).sum((1, 4, 5))
    height, width = a.shape[2] - 2 * radius, a.shape[3] - 2 * radius
    total = a.new_zeros(len(a), height, width)
    half = [(dy, dx) for dy in range(radius + 1) for dx in range(-radius, radius + 1) if (dy, dx) > (0, 0)]
    for dy, dx in half:
        right, left = max(dx, 0), max(-dx, 0)
        above, below = (slice(radius - dy + by, radius + height + by) for by in (0, dy))
        before, behind = (slice(radius - right + by, radius + width + left + by) for by in (0, dx))
        pairs = (a[..., above, before] - a[..., below, behind]) * (b[..., above, before] - b[..., below, behind])
        pairs = pairs.sum(1)
        total = total + pairs[:, dy:, right : right + width] + pairs[:, :height, left : left + width]
    return total


def _continued(values: Tensor, margin: int) -> Tensor:
    """The map with copies of its border around it."""
    for axis in (2, 3):
        first, last = values.narrow(axis, 0, 1), values.narrow(axis, -1, 1)
        values = torch.cat([first] * margin + [values] + [last] * margin, dim=axis)
    return values
