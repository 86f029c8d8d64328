"""Intra-class feature variation against its definition, class by class and pixel by pixel."""

import pytest
import torch
from loss_checks import check, compiles, labels_for, maps

from kdtrain.losses import intra_class_variation, resize_labels

torch.set_num_threads(1)

CASES = [((2, 5, 4, 6), 4), ((3, 2, 1, 7), 3), ((1, 11, 5, 5), 6)]


def definition_for(labels, classes, scope="image"):
    def cosines(x):
        found = torch.ones(labels.shape, dtype=x.dtype)
        for k in range(classes):
            for b in range(len(x)):
                images = [b] if scope == "image" else range(len(x))
                members = [x[n, :, i, j] for n in images for i, j in (labels[n] == k).nonzero().tolist()]
                if not members:
                    continue
                prototype = sum(members) / len(members)
                for i, j in (labels[b] == k).nonzero().tolist():
                    f = x[b, :, i, j]
                    lengths = f.square().sum().sqrt() * prototype.square().sum().sqrt()
                    found = found.clone()
                    found[b, i, j] = (f * prototype).sum() / lengths
        return found

    return lambda s, t: (cosines(s) - cosines(t)).square().mean()


def sample_labels(shape, classes):
    """Some pixels ignored, the last class absent."""
    return labels_for((shape[0], *shape[2:]), classes - 1)


@pytest.mark.parametrize(("shape", "classes"), CASES)
@pytest.mark.parametrize("scope", ["image", "batch"])
class TestDefinition:
    def test_value_and_gradient(self, shape, classes, scope):
        labels = sample_labels(shape, classes)
        student, teacher = maps(shape)

        def loss(s, t):
            return intra_class_variation(s, t, labels, classes, prototypes=scope)

        check(loss, definition_for(labels, classes, scope), student, teacher)

    def test_nearly_equal_maps(self, shape, classes, scope):
        labels = sample_labels(shape, classes)
        student, noise = maps(shape)
        teacher = student.detach() + 1e-4 * noise
        definition = definition_for(labels, classes, scope)
        exact = definition(student.detach().double(), teacher.double())

        def loss(s, t):
            return intra_class_variation(s, t, labels, classes, prototypes=scope)

        torch.testing.assert_close(loss(student, teacher).double(), exact, rtol=1e-4, atol=0)
        check(loss, definition, student, teacher, rtol=1e-4, atol=1e-12)


def test_ignored_pixels_count_with_zero():
    student, teacher = maps((2, 5, 4, 6))
    labels = labels_for((2, 4, 6), 3)
    values = []
    for ignored in (labels, torch.where(labels == 255, 7, labels)):  # 7 is no class either
        value = intra_class_variation(student, teacher, ignored, 3)
        (gradient,) = torch.autograd.grad(value, student)
        assert torch.equal(gradient.abs().sum(1) > 0, labels != 255)
        values.append(value)
    assert values[0] == values[1]
    assert intra_class_variation(student, teacher, torch.full((2, 4, 6), 255), 3) == 0
    kept = intra_class_variation(student, teacher, labels, 3, ignore_index=1)
    expected = intra_class_variation(student, teacher, torch.where(labels == 1, 255, labels), 3)
    assert kept == expected


def test_a_pixel_alone_in_its_class_gives_zero():
    student, teacher = maps((1, 5, 1, 3))
    value = intra_class_variation(student, teacher, torch.tensor([[[0, 1, 2]]]), 3)
    assert value.item() < 1e-12


def test_labels_of_another_size_are_taken_at_the_nearest_pixel():
    student, teacher = maps((2, 5, 4, 6))
    labels = labels_for((2, 9, 13), 3)
    torch.testing.assert_close(
        intra_class_variation(student, teacher, labels, 3),
        intra_class_variation(student, teacher, resize_labels(labels, (4, 6)), 3),
    )


def test_channels_may_differ():
    student, _ = maps((2, 3, 4, 5))
    _, teacher = maps((2, 7, 4, 5))
    labels = sample_labels((2, 3, 4, 5), 4)
    check(lambda s, t: intra_class_variation(s, t, labels, 4), definition_for(labels, 4), student, teacher)


@pytest.mark.parametrize("scale", [1e4, 1e-6, 0.0])
def test_extreme_maps_stay_finite(scale):
    student, teacher = maps((2, 5, 4, 6), scale=scale)
    value = intra_class_variation(student, teacher, labels_for((2, 4, 6), 3), 3)
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_gradient_reaches_the_student_only_under_autocast_too():
    student, teacher = maps((2, 5, 4, 6), dtype=torch.bfloat16)
    labels = labels_for((2, 4, 6), 3)
    full = intra_class_variation(student.detach().float(), teacher.float(), labels, 3)
    teacher.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = intra_class_variation(student, teacher, labels, 3)
    value.backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.detach(), full)
    assert teacher.grad is None
    assert student.grad.abs().max() > 0


@pytest.mark.parametrize("scope", ["image", "batch"])
def test_compiles_as_one_graph(scope):
    compiles(intra_class_variation, *maps((2, 5, 4, 6)), labels_for((2, 8, 12), 3), 3, prototypes=scope)


def test_unknown_scope():
    with pytest.raises(ValueError, match="prototypes must be image or batch, got 'class'"):
        intra_class_variation(*maps((1, 2, 3, 3)), torch.zeros(1, 3, 3).long(), 2, prototypes="class")
