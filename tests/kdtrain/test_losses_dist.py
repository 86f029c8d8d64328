"""DIST against its definition: correlations row by row and column by column."""

import pytest
import torch
from loss_checks import SHAPES, check, compiles, maps, serves_all

from kdtrain.losses import dist

torch.set_num_threads(1)


def softmax(x, temperature):
    exponentials = torch.exp((x - x.max(1, keepdim=True).values) / temperature)
    return exponentials / exponentials.sum(1, keepdim=True)


def correlation(a, b):
    a, b = a - sum(a) / len(a), b - sum(b) / len(b)
    if a.square().sum() == 0 or b.square().sum() == 0:
        return 0.0 * a.sum()
    return (a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt() + 1e-8)


def mean_correlation(table_s, table_t):
    rows = [correlation(a, b) for a, b in zip(table_s, table_t, strict=True)]
    return sum(rows) / len(rows)


def definition_for(inter=1.0, intra=1.0, temperature=1.0, scaled=False, intra_axis="pixels"):
    def definition(s, t):
        p_s, p_t = softmax(s, temperature), softmax(t, temperature)
        classes = s.shape[1]
        rows = [p.permute(0, 2, 3, 1).reshape(-1, classes) for p in (p_s, p_t)]
        columns = [table.T for table in rows] if intra_axis == "pixels" else [p.flatten(1).T for p in (p_s, p_t)]
        value = inter * (1 - mean_correlation(*rows)) + intra * (1 - mean_correlation(*columns))
        return temperature**2 * value if scaled else value

    return definition


OPTIONS = [
    {},
    {"inter": 2.0, "intra": 0.0},
    {"inter": 0.0, "intra": 0.5},
    {"temperature": 4.0},
    {"temperature": 4.0, "scaled": True},
    {"temperature": 2.0, "scaled": True, "intra_axis": "batch"},
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
class TestDefinition:
    def test_value_and_gradient(self, shape, options):
        if options.get("intra_axis") == "batch" and shape[0] == 1:
            with pytest.raises(ValueError, match="needs at least 2, got 1: take a larger batch"):
                dist(*maps(shape), **options)
            return
        check(lambda s, t: dist(s, t, **options), definition_for(**options), *maps(shape))

    def test_nearly_equal_maps(self, shape, options):
        if options.get("intra_axis") == "batch" and shape[0] == 1:
            return
        student, noise = maps(shape, scale=1.0)
        teacher = student.detach() + 1e-4 * noise
        definition = definition_for(**options)
        exact = definition(student.detach().double(), teacher.double())
        value = dist(student, teacher, **options)
        torch.testing.assert_close(value.double(), exact, rtol=1e-4, atol=0)
        check(lambda s, t: dist(s, t, **options), definition, student, teacher, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("scale", [1e4, 1e-6, 0.0])
@pytest.mark.parametrize("axis", ["pixels", "batch"])
def test_extreme_maps_stay_finite(scale, axis):
    student, teacher = maps((3, 5, 6, 7), scale=scale)
    value = dist(student, teacher, intra_axis=axis)
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_gradient_reaches_the_student_only_under_autocast_too():
    student, teacher = maps((2, 5, 4, 6), dtype=torch.bfloat16)
    full = dist(student.detach().float(), teacher.float())
    teacher.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = dist(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.detach(), full)
    assert teacher.grad is None
    assert student.grad.abs().max() > 0


def test_a_class_that_never_changes_counts_as_uncorrelated():
    student, teacher = maps((2, 3, 4, 5))
    with torch.no_grad():
        student[:, 2] = teacher[:, 2] = -1e4
    check(dist, definition_for(), student, teacher)


@pytest.mark.parametrize("axis", ["pixels", "batch"])
def test_compiles_as_one_graph(axis):
    compiles(dist, *maps((2, 5, 4, 6)), torch.tensor(2.0), torch.tensor(0.5), intra_axis=axis)


def test_one_graph_serves_every_temperature():
    student, teacher = maps((2, 5, 4, 6))
    serves_all(lambda s, t, tau: dist(s, t, temperature=tau, scaled=True), student.detach(), teacher)


def test_channels_must_be_classes():
    with pytest.raises(ValueError, match="dist needs equal channels"):
        dist(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, 3))
    with pytest.raises(ValueError, match="intra_axis must be pixels or batch, got 'image'"):
        dist(*maps((1, 2, 3, 3)), intra_axis="image")
