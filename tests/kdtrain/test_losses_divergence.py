"""Divergences between softmaxes: nearly equal sides, extreme scores, blocks, confident pixels."""

import pytest
import torch
from loss_checks import SHAPES, check, labels_for, maps

from kdtrain.losses import channel_wise, divergence, pixel_kd
from kdtrain.losses.divergence import divergences

torch.set_num_threads(1)

KINDS = ["kl", "reverse", "symmetric", "mse"]


def written_out(s, t, temperature, dim, kind):
    log_s, log_t = (torch.log_softmax(side.double() / temperature, dim) for side in (s, t))
    forward, reverse = log_t.exp() * (log_t - log_s), log_s.exp() * (log_s - log_t)
    squared = (log_s.exp() - log_t.exp()).square()
    return {"kl": forward, "reverse": reverse, "symmetric": (forward + reverse) / 2, "mse": squared}[kind].sum(dim)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("block", [1, 40, 10**6])
def test_definition_in_blocks_of_any_size(kind, dim, block, monkeypatch):
    monkeypatch.setattr(divergence, "BLOCK_ELEMENTS", block)
    student, teacher = maps((3, 4, 6))
    weights = torch.rand(3, 6 if dim == 1 else 4)

    def total(of):
        return lambda s, t: (of(s, t, 3.0, dim, kind) * weights).sum().to(s.dtype)

    check(total(divergences), total(written_out), student, teacher)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalize", ["channel", "class"])
@pytest.mark.parametrize("shape", [(2, 5, 6, 7), (1, 19, 16, 16)])
@pytest.mark.parametrize("noise", [1e-3, 1e-4])
def test_nearly_equal_maps_lose_no_digits(kind, normalize, shape, noise):
    student, teacher = maps(shape)
    student = (teacher + noise * student.detach()).requires_grad_()
    groups = shape[0] * (shape[1] if normalize == "channel" else shape[2] * shape[3])

    def definition(s, t):
        rows = written_out(s.flatten(2), t.flatten(2), 3.0, 2 if normalize == "channel" else 1, kind)
        return 9 * rows.sum() / groups

    assert definition(student, teacher) < 1e-5
    check(
        lambda s, t: channel_wise(s, t, 3.0, normalize=normalize, divergence=kind),
        definition,
        student,
        teacher,
        rtol=1e-5,
        atol=0.0,
    )


@pytest.mark.parametrize("noise", [1e-3, 1e-4])
@pytest.mark.parametrize("shape", SHAPES)
def test_nearly_equal_logits_lose_no_digits(noise, shape):
    student, teacher = maps(shape)
    student = (teacher + noise * student.detach()).requires_grad_()

    def definition(s, t):
        return 9 * written_out(s, t, 3.0, 1, "kl").mean()

    check(lambda s, t: pixel_kd(s, t, 3.0), definition, student, teacher, rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_scores_have_the_value_of_the_definition(kind):
    student, teacher = maps((2, 5, 6), scale=1e4)
    check(
        lambda s, t: divergences(s, t, 1.0, 1, kind).mean().float(),
        lambda s, t: written_out(s, t, 1.0, 1, kind).mean(),
        student,
        teacher,
    )


def test_only_the_gradient_is_kept_for_the_backward_pass():
    student, teacher = maps((4, 8, 32, 32))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: kept.append(x.numel() * x.element_size()) or x, lambda x: x
    ):
        channel_wise(student, teacher, 4.0)
    assert sum(kept) < 1.1 * student.numel() * 4


@pytest.mark.parametrize("reduction", ["mean", "ifvd", "mmrazor", "skd"])
@pytest.mark.parametrize("masked", [False, True])
def test_confident_pixels_alone(reduction, masked):
    student, teacher = maps((3, 5, 4, 6))
    labels = labels_for((3, 4, 6), 5) if masked else None
    p_t = torch.softmax(teacher.double() / 2, 1)
    counts = p_t.amax(1) >= 0.6
    if labels is not None:
        counts &= labels != 255
    assert 0 < counts.sum() < counts.numel()
    log_s = torch.log_softmax(student.double() / 2, 1)
    kl, cross = (p_t * (p_t.log() - log_s)).sum(1)[counts], -(p_t * log_s).sum(1)[counts]
    expected = {
        "mean": 4 * kl.mean(),
        "ifvd": kl.mean() / 5,
        "mmrazor": 4 * kl.sum() / 3,
        "skd": cross.sum() / 24,
    }[reduction]
    for confidence in (0.6, torch.tensor(0.6)):
        found = pixel_kd(student, teacher, 2.0, reduction=reduction, labels=labels, confidence=confidence)
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0.0)
    (gradient,) = torch.autograd.grad(found, student)
    assert torch.equal(gradient.abs().sum(1) > 0, counts)


def test_confidence_of_nought_counts_all_and_above_all_counts_none():
    student, teacher = maps((2, 5, 4, 6))
    everything = pixel_kd(student, teacher)
    assert pixel_kd(student, teacher, confidence=0.0) == everything
    assert pixel_kd(student, teacher, confidence=torch.tensor(0.0)) == everything
    assert pixel_kd(student, teacher, confidence=torch.tensor(1.1)) == 0


def test_a_gradient_of_the_gradient_is_refused():
    student, teacher = maps((2, 3, 4))
    (slope,) = torch.autograd.grad(divergences(student, teacher, 1.0, 1, "kl").sum(), student, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        slope.square().sum().backward()
