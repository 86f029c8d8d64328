"""CSC against its matrices, built entry by entry from explicit circular shifts."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from kdtrain.losses import correlation, csc
from kdtrain.losses.correlation import gram_distance

torch.set_num_threads(1)


def pixel_vectors(image, detach_norm=False):
    """`(P, C)` unit vectors of one image `(C, H, W)`."""
    vectors = image.flatten(1).T
    norm = vectors.square().sum(1, keepdim=True).sqrt()
    return vectors / ((norm.detach() if detach_norm else norm) + 1e-8)


def shifted(vectors, k):
    """Circular shift of the channels by k."""
    return torch.cat([vectors[:, k:], vectors[:, :k]], dim=1)


def matrices(f, form, first=0, relation="product"):
    """The matrices whose entries a form compares."""
    shifts = range(first, f.shape[1])
    if form in ("A", "A0"):
        g = torch.cat([f * shifted(f, k) for k in shifts], dim=1)
        return [g] if form == "A0" else [g @ g.T]
    if form == "B":
        r = torch.stack([(f * shifted(f, k)).sum(1) for k in shifts], dim=1)
        return [r @ r.T] if relation == "product" else [r]
    if form == "C":
        return [torch.stack([f @ shifted(f, k).T for k in shifts])]
    if form == "D":
        return [torch.outer(f.flatten(), f.flatten())]
    return [f @ f.T, f.T @ f / len(f)]


def definition(student, teacher, form="A", squared=True, first=0, relation="product", detach_norm=False):
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        ms = matrices(pixel_vectors(s, detach_norm), form, first, relation)
        mt = matrices(pixel_vectors(t), form, first, relation)
        mean = sum((a - b).square().mean() for a, b in zip(ms, mt, strict=True))
        total = total + (mean if squared else mean.sqrt())
    return total / len(student)


def maps(shape, other_channels=None, seed=0, noise=None):
    source = torch.Generator().manual_seed(seed)
    teacher_shape = (shape[0], other_channels or shape[1], *shape[2:])
    teacher = torch.randn(teacher_shape, generator=source)
    student = torch.randn(shape, generator=source)
    if noise is not None:
        student = teacher + noise * student
    return student.requires_grad_(), teacher


def check(student, teacher, rtol=1e-5, form="A", **options):
    names = {"include_zero_shift": "first"}
    exact_options = {names.get(k, k): (int(not v) if k in names else v) for k, v in options.items()}
    exact_student = student.detach().double().requires_grad_()
    exact = definition(exact_student, teacher.double(), form, **exact_options)
    (exact_gradient,) = torch.autograd.grad(exact, exact_student)
    value = csc(student, teacher, form, **options)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), exact, rtol=rtol, atol=0)
    error = (gradient.double() - exact_gradient).abs().max() / exact_gradient.abs().max()
    assert error < rtol


# few pixels and many channels take the pixels' way through form A, many pixels and few channels the channels'
SHAPES = [(2, 4, 9, 11), (3, 11, 3, 5), (1, 3, 1, 1), (2, 2, 7, 3), (1, 19, 5, 4)]
FORMS = ["A", "A0", "B", "C", "D", "E"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_definition(form, shape):
    check(*maps(shape), form=form)


@pytest.mark.parametrize("form", FORMS)
def test_root(form):
    check(*maps((2, 4, 9, 11)), form=form, squared=False)


@pytest.mark.parametrize("form", ["A", "A0", "B", "C"])
@pytest.mark.parametrize("shape", [(2, 4, 9, 11), (3, 11, 3, 5)])
def test_without_the_zero_shift(form, shape):
    check(*maps(shape), form=form, include_zero_shift=False)


def test_autocorrelation_vectors():
    check(*maps((2, 5, 4, 3)), form="B", relation="vectors")
    check(*maps((2, 5, 4, 3)), form="B", relation="vectors", include_zero_shift=False)


@pytest.mark.parametrize("form", FORMS)
def test_constant_length(form):
    check(*maps((2, 5, 4, 3)), form=form, detach_norm=True)


@pytest.mark.parametrize("form", ["A", "B"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("channels", [3, 12])
def test_other_channels_than_the_teacher(form, first, channels):
    check(*maps((2, 5, 6, 7), other_channels=channels), form=form, include_zero_shift=first)


@pytest.mark.parametrize("form", ["A0", "C", "D", "E"])
def test_forms_which_compare_channels_refuse_others(form):
    with pytest.raises(ValueError, match=f"form {form} needs equal channels"):
        csc(*maps((2, 5, 6, 7), other_channels=4), form)


@pytest.mark.parametrize("noise", [1e-3, 1e-5, 1e-6])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(2, 4, 9, 11), (2, 11, 3, 5)])
def test_nearly_equal_maps_lose_no_digits(form, shape, noise):
    """The textbook identity of Gram matrices gives 0 here in float32; the truth is about noise^2."""
    check(*maps(shape, noise=noise), form=form, rtol=1e-4)


@pytest.mark.parametrize("form", ["A", "B"])
def test_permuted_channels_agree_but_for_nothing(form):
    """Relations between pixels do not see the order of channels (nor, for the autocorrelation, a shift)."""
    student, _ = maps((2, 7, 9, 11))
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1)) if form == "A" else torch.arange(7).roll(2)
    value = csc(student, student.detach()[:, order], form)
    assert abs(value.item()) < 1e-15


def test_form_a_is_the_squared_cosine():
    student, teacher = maps((2, 5, 4, 6))
    units = [F.normalize(side.flatten(2), dim=1) for side in (student, teacher)]
    cosines = [unit.mT @ unit for unit in units]
    expected = (cosines[0].square() - cosines[1].square()).square().mean()
    torch.testing.assert_close(csc(student, teacher), expected)


@pytest.mark.parametrize("form", ["A", "A0"])
@pytest.mark.parametrize("shape", [(2, 4, 9, 11), (2, 11, 3, 5)])
@pytest.mark.parametrize("first", [True, False])
def test_blocks_change_nothing(form, shape, first, monkeypatch):
    monkeypatch.setattr(correlation, "BLOCK_ELEMENTS", 200)
    check(*maps(shape), form=form, include_zero_shift=first)


@pytest.mark.parametrize(("kind", "pooling"), [("max", F.max_pool2d), ("average", F.avg_pool2d)])
def test_pooling(kind, pooling):
    student, teacher = maps((2, 5, 7, 6))
    pooled = [pooling(side, 2, 2, ceil_mode=True) for side in (student, teacher)]
    assert pooled[0].shape[-2:] == (4, 3)
    torch.testing.assert_close(csc(student, teacher, pool=2, pool_kind=kind), csc(*pooled))


def test_gram_distance_is_the_distance_of_products():
    s, t = (torch.randn(2, 9, 4, dtype=torch.float64) for _ in range(2))
    expected = (s @ s.mT - t @ t.mT).square().sum((1, 2))
    torch.testing.assert_close(gram_distance(s, t), expected)


def test_wrong_options_are_named():
    student, teacher = maps((1, 3, 2, 2))
    with pytest.raises(ValueError, match="form must be one of A, A0, B, C, D, E, got 'F'"):
        csc(student, teacher, "F")
    with pytest.raises(ValueError, match="form D has no circular shifts"):
        csc(student, teacher, "D", include_zero_shift=False)


@pytest.mark.slow
def test_the_memory_of_a_whole_process_is_a_twentieth_of_the_definition():
    benchmark = Path(__file__).parents[2] / "benchmarks" / "loss_memory.py"
    share = runpy.run_path(str(benchmark))["share"]
    _, _, ratio = share(batch=2, threads=1)
    assert ratio < 0.05


def test_plain_calls_do_not_import_the_compiler():
    code = (
        "import sys, torch; from kdtrain.losses import csc, cross_image_relation, cam_cka; "
        "s = torch.randn(2, 3, 4, 4, requires_grad=True); before = set(sys.modules); "
        "[loss(s, torch.randn(2, 3, 4, 4)).backward() for loss in (csc, cross_image_relation, cam_cka)]; "
        "csc(s, s.detach() + 1, 'A0').backward(); new = set(sys.modules) - before; "
        "sys.exit(' '.join(sorted(new)[:5]) if any(name.startswith(('torch._dynamo', 'sympy')) for name in new) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
