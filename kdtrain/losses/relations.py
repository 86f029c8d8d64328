"""Relations within a map: between pixels (SKD), within channels (KA, PKD), between channels (ICKD)."""

from torch import Tensor

from kdtrain.loss_forms import AffinityReduction, CorrelationReduction, Nodes, PoolKind
from kdtrain.losses.blocks import BLOCK_ELEMENTS, block_elements, blockwise
from kdtrain.losses.grams import gram_distance, padded, separate_grams_distance
from kdtrain.losses.maps import LENGTH_EPS, deviations, distillation_loss, pool_map, root, unit_vectors, wide


@distillation_loss()
def pairwise(
    student: Tensor,
    teacher: Tensor,
    pool: int = 2,
    detach_norm: bool = False,
    *,
    nodes: Nodes = "pool",
    scale: float = 0.5,
    pool_kind: PoolKind = "max",
) -> Tensor:
    """Mean squared difference between the cosines of all pairs of nodes (SKD: Liu et al., CVPR 2019).

    No matrix of all pairs is built: Gram matrices over channels in float64 give the same number, or blocks of
    rows do, whichever multiplies less.

    Args:
        student: Features `(N, C_s, H, W)`.
        teacher: `(N, C_t, H, W)`.
        pool: Side of the square that makes a node, for `nodes="pool"` (2 in CIRKD, whose norm is not detached).
        detach_norm: Whether the length of a vector counts as a constant (as SKD's code does).
        nodes: `official`: a node spans `int(scale H) x int(scale W)` pixels, which leaves 4 to 9 nodes for SKD's
            `scale = 0.5`; `pool`: `pool x pool` pixels.
        scale: For `nodes="official"`.
        pool_kind: How a node is made of its pixels.
    """
    match nodes:
        case "pool":
            kernel = (pool, pool)
        case "official":
            kernel = (max(int(student.shape[2] * scale), 1), max(int(student.shape[3] * scale), 1))
        case _:
            raise ValueError(f"nodes must be pool or official, got {nodes!r}")
    s, t = (pool_map(side, kernel, pool_kind).flatten(2).transpose(1, 2) for side in (student, teacher))

    def vectors(pixels: Tensor) -> Tensor:
        return unit_vectors(wide(pixels), detach_norm)

    count, widths = s.shape[1], (s.shape[2], t.shape[2])
    if 3 * max(widths) ** 2 > count * sum(widths):
        s, t = vectors(s), vectors(t)

        def rows(x: Tensor, y: Tensor) -> tuple[Tensor]:
            return ((x @ s.mT - y @ t.mT).square().sum((-2, -1)),)

        step = max(block_elements(s.device, BLOCK_ELEMENTS) // (len(s) * count), 1)
        (total,) = blockwise(rows, step, s, t)
    elif widths[0] == widths[1] or student.device.type == "mps":  # which has no float64
        total = gram_distance(*padded(vectors(s), vectors(t)))
    else:
        total = separate_grams_distance(s, t, vectors)
    return (total.clamp_min(0) / count**2).mean()


@distillation_loss(equal_channels=True)
def knowledge_affinity(student: Tensor, teacher: Tensor, *, reduction: AffinityReduction = "mean") -> Tensor:
    """Distance between the affinities of pixels within each channel (KA: He et al., CVPR 2019).

    With `s_c` channel c of an image as a vector of unit length over its P pixels, `d_c = ||s_c s_c^T - t_c t_c^T||`
    (Frobenius), which is `sqrt(2 - 2 (s_c . t_c)^2)`.

    Args:
        student: Features `(N, C, H, W)`.
        teacher: `(N, C, H, W)`.
        reduction: `mean`: of `d_c^2` over images and channels (inferred), which does not depend on P;
            `torchdistill`: the mean over images of the sum over channels of `d_c / P`.
    """
    s, t = (unit_vectors(wide(side).flatten(2), eps=0.0).flatten(0, 1)[..., None] for side in (student, teacher))
    squared = gram_distance(s, t).clamp_min(0)
    match reduction:
        case "mean":
            return squared.mean()
        case "torchdistill":
            return root(squared).sum() / (len(student) * s.shape[1])
    raise ValueError(f"reduction must be mean or torchdistill, got {reduction!r}")


@distillation_loss(equal_channels=True)
def channel_correlation(student: Tensor, teacher: Tensor, *, reduction: CorrelationReduction = "mean") -> Tensor:
    """Squared difference between the correlations of channels (ICKD: Liu et al., ICCV 2021).

    Per image, with `X (C, P)`: the rows of `X X^T` brought to unit length.

    Args:
        student: Features `(N, C, H, W)`.
        teacher: `(N, C, H, W)`.
        reduction: `mean`: summed over both channels, divided by `N C` (the authors' code today); `zoo`: divided by
            `N^2 C` (their ImageNet code, and the copies of it).
    """
    s, t = (
        unit_vectors(x @ x.mT, eps=0.0, shortest=LENGTH_EPS**2)
        for x in (wide(side).flatten(2) for side in (student, teacher))
    )
    mean = (s - t).square().sum((-2, -1)).mean() / s.shape[1]
    match reduction:
        case "mean":
            return mean
        case "zoo":
            return mean / len(s)
    raise ValueError(f"reduction must be mean or zoo, got {reduction!r}")


@distillation_loss(equal_channels=True)
def pearson(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the mean squared difference of standardized channels, nearly `1 - r` (PKD: Cao et al., NeurIPS 2022).

    Each channel is standardized over all pixels of the batch, with the unbiased deviation plus 1e-6 (as mmrazor does).

    Args:
        student: Features `(N, C, H, W)`.
        teacher: `(N, C, H, W)`.

    Raises:
        ValueError: For a single pixel, which has no deviation.
    """
    if student[:, 0].numel() < 2:
        raise ValueError(f"pearson needs at least two pixels in the batch, got a student {tuple(student.shape)}")
    s, t = (_standardized(wide(side).transpose(0, 1).flatten(1)) for side in (student, teacher))
    return (s - t).square().mean() / 2


def _standardized(rows: Tensor) -> Tensor:
    scale = (rows.shape[1] - 1) ** 0.5
    standardized: Tensor = unit_vectors(deviations(rows, (1,)), eps=1e-6 * scale) * scale
    return standardized
