"""Every loss of every method at maps that do not vary, are enormous or tiny, or hold minus infinity."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kdtrain.losses import (
    adaptive_cross_entropy,
    cam_cka,
    category_similarity,
    channel_wise,
    dist,
    grid_pam_cka,
    pearson,
    pixel_kd,
)
from kdtrain.losses.maps import resize_map, resize_scores
from kdtrain.methods import METHODS
from kdtrain.methods.modules.base import TermInput
from kdtrain.testing import example_module

torch.set_num_threads(1)

CLASSES = 5
LARGEST_GRADIENT = 1e3
LIMITS = {"memory_relation": 1e4}
"""The BatchNorm of its projection divides what does not vary by the root of 1e-5."""
MAPS = {
    "random": lambda z: z,
    "zero": torch.zeros_like,
    "constant": lambda z: torch.full_like(z, 3.7),
    "rounding": lambda z: 3.7 + 2e-7 * z.sign(),
    "constant by channel": lambda z: (0.1 + 0.37 * torch.arange(z.shape[1]).view(1, -1, 1, 1)).expand_as(z).clone(),
    "the same in all channels": lambda z: z[:, :1].expand_as(z).clone(),
    "one hot": lambda z: torch.zeros_like(z).scatter_(1, z.argmax(1, keepdim=True), 100.0),
    "constant, far from zero": lambda z: 1e3 * (1 + 1e-7 * z.sign()),
    "one hot of 1e4": lambda z: torch.zeros_like(z).scatter_(1, z.argmax(1, keepdim=True), 1e4),
    "the smallest numbers": lambda z: 1e-45 * z.sign(),
    "the same in all images": lambda z: z[:1].expand_as(z) * (1 + 1e-7 * z.sign()),
    "as large as half precision": lambda z: (3e4 * z).clamp(-6e4, 6e4),
    "tiny": lambda z: 1e-20 * z,
}
CONSTANT = ("zero", "constant", "rounding", "constant, far from zero", "the smallest numbers")
TEACHERS = ("random", "zero", "constant", "one hot", "as large as half precision")


def _terms():
    terms = {}
    for name, method in METHODS.items():
        for term in (*method.terms, *method.published):
            key = term.model_dump_json(exclude={"name", "weight", "schedule"})
            terms.setdefault(key, pytest.param(term, id=f"{name}-{term.name}"))
    return list(terms.values())


def _input(term, student, teacher, size=(8, 8), images=None, ignored=False, dtype=torch.float32):
    noise = torch.Generator().manual_seed(0)
    images = max(images or 2, term.smallest_batch)

    def maps(layers, kind, features):
        same = term.equal_channels
        counts = (CLASSES if layer in ("logits", "aux") or same else features for layer in layers)
        return tuple(MAPS[kind](torch.randn(images, count, *size, generator=noise)).to(dtype) for count in counts)

    labels = torch.randint(CLASSES, (images, 4 * size[0], 4 * size[1]), generator=noise)
    return TermInput(
        students=tuple(values.requires_grad_() for values in maps(term.student_layers, student, 4)),
        teachers=maps(term.teacher_layers, teacher, 6),
        labels=torch.full_like(labels, 255) if ignored else labels,
        num_classes=CLASSES,
        ignore_index=255,
        generator=torch.Generator().manual_seed(1),
    )


def _checked(term, batch, where):
    module = example_module(term, batch)
    value = module(batch)
    value.backward()
    gradients = [values.grad for values in batch.students if values.grad is not None]
    assert value.isfinite(), where
    assert all(gradient.isfinite().all() for gradient in gradients), where
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters()), where
    return max((float(gradient.abs().max()) for gradient in gradients), default=0.0)


@pytest.mark.parametrize("term", _terms())
def test_value_and_gradient_are_finite_and_bounded(term):
    for student in MAPS:
        for teacher in TEACHERS if term.needs_teacher else ("random",):
            where = f"student {student}, teacher {teacher}"
            largest = _checked(term, _input(term, student, teacher), where)
            if "half" not in where and "1e4" not in where:  # a squared difference of enormous maps has such a gradient
                assert largest < LIMITS.get(term.loss, LARGEST_GRADIENT), where


@pytest.mark.parametrize("term", _terms())
def test_small_maps_single_images_and_ignored_labels(term):
    for kind in ("random", "zero"):
        if term.loss != "holistic":  # its discriminator refuses such maps
            assert _checked(term, _input(term, kind, "random", size=(1, 1)), "1 x 1") < LARGEST_GRADIENT
        assert _checked(term, _input(term, kind, "random", images=1), "one image") < LARGEST_GRADIENT
        assert _checked(term, _input(term, kind, "random", ignored=True), "ignored") < LARGEST_GRADIENT


@pytest.mark.parametrize("term", _terms())
def test_the_same_under_autocast(term):
    for student in ("zero", "constant", "one hot", "as large as half precision"):
        with torch.autocast("cpu", torch.bfloat16):
            _checked(term, _input(term, student, "random", dtype=torch.bfloat16), student)


@pytest.mark.parametrize("loss", [cam_cka, grid_pam_cka])
@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_images_that_are_equal_but_for_rounding_have_no_gradient_from_cka(loss, gamma):
    noise = torch.randn(4, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    student = MAPS["the same in all images"](noise).requires_grad_()
    value = loss(student, noise.flip(0), gamma=gamma)
    value.backward()
    assert value.isfinite()
    assert not student.grad.any()


@pytest.mark.parametrize("term", _terms())
def test_one_image_repeated_and_a_class_that_is_absent(term):
    batch = _input(term, "random", "random", images=4)
    repeated = [side.detach()[:1].repeat(4, 1, 1, 1) for side in batch.students]
    labels = batch.labels[:1].repeat(4, 1, 1) % (CLASSES - 1)
    same = replace(batch, students=tuple(side.requires_grad_() for side in repeated), labels=labels)
    assert _checked(term, same, "one image repeated") < LARGEST_GRADIENT


def _dist_over_images(student, teacher):
    return dist(student, teacher, intra_axis="batch")


@pytest.mark.parametrize("loss", [dist, _dist_over_images, pearson])
@pytest.mark.parametrize("side", ["student", "teacher"])
@pytest.mark.parametrize("kind", CONSTANT)
def test_correlations_have_no_gradient_where_a_side_does_not_vary(loss, side, kind):
    noise = torch.randn(2, CLASSES, 6, 6, generator=torch.Generator().manual_seed(0))
    student, teacher = (MAPS[kind](noise), noise) if side == "student" else (noise.clone(), MAPS[kind](noise))
    student.requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert value.isfinite()
    if loss is pearson:
        assert student.grad.abs().max() < 1
    else:
        assert not student.grad.any()


def test_dist_of_a_class_that_is_constant_keeps_the_gradient_of_the_others():
    noise = torch.randn(1, CLASSES, 6, 6, generator=torch.Generator().manual_seed(0))
    student = noise.clone()
    student[0, :, 0, 0] = 1.0  # a uniform pixel among others that vary
    student.requires_grad_()
    dist(student, noise.flip(-1)).backward()
    assert 0 < student.grad.abs().max() < 1


# Teachers with classes that cannot be


def _with_impossible(kind):
    teacher = torch.randn(2, CLASSES, 6, 6, generator=torch.Generator().manual_seed(1))
    if kind == "a class":
        teacher[:, 2] = -torch.inf
    else:
        teacher[torch.rand(teacher.shape, generator=torch.Generator().manual_seed(2)) < 0.2] = -torch.inf
        teacher[:, 0] = 0.0
    return teacher


def _ace(form):
    labels = torch.randint(CLASSES, (2, 13, 11), generator=torch.Generator().manual_seed(3))
    return lambda s, t: adaptive_cross_entropy(s, t, labels, form)


LOSSES = {
    "pixel_kd": pixel_kd,
    "pixel_kd skd": lambda s, t: pixel_kd(s, t, 2.0, reduction="skd"),
    "pixel_kd confidence": lambda s, t: pixel_kd(s, t, confidence=0.2),
    "channel_wise channel": channel_wise,
    "channel_wise class": lambda s, t: channel_wise(s, t, normalize="class"),
    "channel_wise mse": lambda s, t: channel_wise(s, t, normalize="class", divergence="mse"),
    **{f"ace {form}": _ace(form) for form in ("hard", "soft", "threshold", "swap")},
    "dist": dist,
    "category_similarity": category_similarity,
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", ["a class", "some"])
def test_minus_infinity_is_the_limit_of_ever_lower_scores(name, kind):
    teacher = _with_impossible(kind)
    finite = teacher.clamp_min(-1e5)
    results = []
    for side in (teacher, finite):
        student = torch.randn(2, CLASSES, 6, 6, generator=torch.Generator().manual_seed(4)).requires_grad_()
        value: Tensor = LOSSES[name](student, side)
        value.backward()
        assert value.isfinite()
        assert student.grad.isfinite().all()
        results.append((value.detach(), student.grad))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("kind", ["reverse", "symmetric"])
@pytest.mark.parametrize("normalize", ["channel", "class"])
def test_divergences_that_are_infinite_there_are_bounded(kind, normalize):
    student = torch.randn(2, CLASSES, 6, 6, generator=torch.Generator().manual_seed(4)).requires_grad_()
    value = channel_wise(student, _with_impossible("some"), normalize=normalize, divergence=kind)
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_resized_scores_keep_minus_infinity_where_it_takes_part():
    scores = torch.tensor([[0.0, -torch.inf, 2.0, 4.0]]).view(1, 1, 1, 4)
    resized = resize_scores(scores, (1, 7)).flatten()
    assert resized.tolist() == [0.0, -torch.inf, -torch.inf, -torch.inf, 2.0, 3.0, 4.0]
    maps = torch.randn(2, 3, 5, 7)
    assert torch.equal(resize_scores(maps, (9, 4)), resize_map(maps, (9, 4)))


@pytest.mark.parametrize("name", ["kd", "cwd", "csc_ace"])
def test_terms_take_such_teachers_of_another_size(name):
    for term in METHODS[name].terms:
        if not term.needs_teacher or term.loss == "csc":
            continue
        batch = _input(term, "random", "random")
        smaller = _with_impossible("a class")
        batch = TermInput(**{**vars(batch), "teachers": (smaller,)})
        _checked(term, batch, term.name)
