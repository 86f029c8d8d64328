"""Pairwise SKD, KA, ICKD and PKD against their definitions, written out with all pairs."""

import pytest
import torch
import torch.nn.functional as F
from loss_checks import EveryLoss, check, maps

from kdtrain.losses import channel_correlation, knowledge_affinity, pairwise, pearson, relations

torch.set_num_threads(1)


def unit(vector):
    return vector / (vector.square().sum().sqrt() + 1e-8)


def cosines(features, detach_norm=False):
    columns = [c / ((c.detach() if detach_norm else c).norm() + 1e-8) for c in features.flatten(1).T]
    return torch.stack([torch.stack([a @ b for b in columns]) for a in columns])


def pairwise_definition(kernel, detach_norm=False, pool=F.max_pool2d):
    def definition(s, t):
        sides = kernel(s.shape[2], s.shape[3])
        s, t = (pool(side, sides, sides, ceil_mode=True) for side in (s, t))
        differences = [cosines(a, detach_norm) - cosines(b) for a, b in zip(s, t, strict=True)]
        return torch.stack(differences).square().mean()

    return definition


def square(side):
    return lambda height, width: (side, side)


def halves(height, width):
    return max(height // 2, 1), max(width // 2, 1)


def affinity_definition(reduction):
    def definition(s, t):
        total = 0.0
        for a, b in zip(s.flatten(2).flatten(0, 1), t.flatten(2).flatten(0, 1), strict=True):
            difference = torch.outer(unit(a), unit(a)) - torch.outer(unit(b), unit(b))
            squares = difference.square().sum()
            total = total + (squares if reduction == "mean" else squares.sqrt() / a.numel())
        return total / (s.shape[0] * (s.shape[1] if reduction == "mean" else 1))

    return definition


def correlation_definition(power):
    def definition(s, t):
        total = 0.0
        for a, b in zip(s.flatten(2), t.flatten(2), strict=True):
            for c in range(len(a)):
                row_s, row_t = (torch.stack([side[c] @ other for other in side]) for side in (a, b))
                total = total + (row_s / row_s.norm() - row_t / row_t.norm()).square().sum()
        return total / (s.shape[1] * s.shape[0] ** power)

    return definition


def pearson_definition(s, t):
    total = 0.0
    for c in range(s.shape[1]):
        a, b = ((side[:, c] - side[:, c].mean()) / (side[:, c].std() + 1e-6) for side in (s, t))
        total = total + (a - b).square().mean()
    return total / s.shape[1] / 2


LOSSES = {
    "pairwise": (pairwise, pairwise_definition(square(2))),
    "pairwise every pixel": (lambda s, t: pairwise(s, t, 1), pairwise_definition(square(1))),
    "pairwise detached": (lambda s, t: pairwise(s, t, detach_norm=True), pairwise_definition(square(2), True)),
    "pairwise average": (
        lambda s, t: pairwise(s, t, pool_kind="average"),
        pairwise_definition(square(2), pool=F.avg_pool2d),
    ),
    "pairwise official": (
        lambda s, t: pairwise(s, t, detach_norm=True, nodes="official"),
        pairwise_definition(halves, True),
    ),
    "knowledge_affinity": (knowledge_affinity, affinity_definition("mean")),
    "knowledge_affinity torchdistill": (
        lambda s, t: knowledge_affinity(s, t, reduction="torchdistill"),
        affinity_definition("torchdistill"),
    ),
    "channel_correlation": (channel_correlation, correlation_definition(1)),
    "channel_correlation zoo": (lambda s, t: channel_correlation(s, t, reduction="zoo"), correlation_definition(2)),
    "pearson": (pearson, pearson_definition),
}


@pytest.mark.parametrize("name", LOSSES)
class TestEveryRelation(EveryLoss):
    LOSSES = LOSSES


@pytest.mark.parametrize("shape", [(2, 3, 6, 7), (2, 9, 3, 4)])
def test_pairwise_takes_other_channels(shape):
    """Gram form for few channels, rows of pairs for many."""
    student, _ = maps(shape)
    _, teacher = maps((2, shape[1] + 2, *shape[2:]))
    check(lambda s, t: pairwise(s, t, 1), pairwise_definition(square(1)), student, teacher)


def test_pairwise_of_other_channels_that_nearly_agree_loses_no_digits():
    student, noise = maps((2, 5, 6, 7))[0], torch.randn(2, 12, 6, 7, generator=torch.Generator().manual_seed(1))
    turn, _ = torch.linalg.qr(torch.randn(12, 5, generator=torch.Generator().manual_seed(2)))
    teacher = torch.einsum("nchw,dc->ndhw", student.detach(), turn) + 1e-4 * noise
    definition = pairwise_definition(square(1))
    assert definition(student.double(), teacher.double()) < 1e-7
    check(lambda s, t: pairwise(s, t, 1), definition, student, teacher, rtol=1e-4, atol=0.0)


def test_blocks_change_nothing(monkeypatch):
    monkeypatch.setattr(relations, "BLOCK_ELEMENTS", 60)
    check(lambda s, t: pairwise(s, t, 1), pairwise_definition(square(1)), *maps((2, 9, 3, 4)))


def test_grams_meet_the_matrix_of_all_pairs():
    def matrix(s, t):
        s, t = (F.normalize(side.flatten(2), dim=1) for side in (s, t))
        return (s.mT @ s - t.mT @ t).square().mean()

    check(lambda s, t: pairwise(s, t, 1), matrix, *maps((1, 19, 20, 24)))


@pytest.mark.parametrize(("size", "nodes"), [((65, 65), 9), ((64, 128), 4), ((45, 45), 9), ((45, 60), 6)])
def test_official_nodes_are_four_to_nine(size, nodes):
    student, teacher = maps((1, 3, *size))
    kernel = (int(size[0] * 0.5), int(size[1] * 0.5))
    pooled = [F.max_pool2d(side, kernel, kernel, ceil_mode=True) for side in (student, teacher)]
    assert pooled[0][0, 0].numel() == nodes
    torch.testing.assert_close(pairwise(student, teacher, nodes="official"), pairwise(*pooled, pool=1))


def test_affinity_is_the_sine_between_channels():
    student, teacher = maps((2, 3, 4, 5))
    s, t = (F.normalize(side.detach().double().flatten(2), dim=2) for side in (student, teacher))
    expected = (2 - 2 * (s * t).sum(2).square()).mean()
    torch.testing.assert_close(knowledge_affinity(student, teacher).double(), expected, rtol=1e-5, atol=0)


def test_pearson_is_nearly_one_minus_the_correlation():
    student, teacher = maps((2, 3, 8, 9))
    rows = torch.cat([side.detach().transpose(0, 1).flatten(1) for side in (student, teacher)])
    correlations = torch.corrcoef(rows)[:3, 3:].diagonal()
    torch.testing.assert_close(pearson(student, teacher), (1 - correlations).mean() * (143 / 144), rtol=1e-4, atol=0)


def test_one_pixel_has_no_deviation():
    with pytest.raises(ValueError, match="at least two pixels"):
        pearson(torch.zeros(1, 4, 1, 1), torch.zeros(1, 4, 1, 1))


@pytest.mark.parametrize("loss", [knowledge_affinity, channel_correlation, pearson])
def test_channels_must_agree(loss):
    with pytest.raises(ValueError, match=r"needs equal channels.*\(1, 2, 3, 3\).*\(1, 3, 3, 3\)"):
        loss(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, 3))


@pytest.mark.parametrize("loss", [pairwise, knowledge_affinity, channel_correlation, pearson])
def test_sizes_must_agree(loss):
    with pytest.raises(ValueError, match="equal height and width"):
        loss(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 4))


@pytest.mark.parametrize(
    ("loss", "option"),
    [
        (pairwise, {"nodes": "all"}),
        (pairwise, {"pool_kind": "mean"}),
        (knowledge_affinity, {"reduction": "sum"}),
        (channel_correlation, {"reduction": "sum"}),
    ],
)
def test_unknown_options_are_named(loss, option):
    (name,) = option
    with pytest.raises(ValueError, match=f"{name} must be .* got"):
        loss(*maps((1, 2, 3, 3)), **option)
