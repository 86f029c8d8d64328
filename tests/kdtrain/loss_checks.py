"""What tests of losses share: made-up maps, and the comparison with a definition in float64."""

import pytest
import torch
from torch_releases import needs_torch

SHAPES = [(2, 5, 4, 6), (3, 2, 1, 7), (1, 11, 5, 5)]


def maps(shape, seed=0, scale=2.0, dtype=torch.float32):
    source = torch.Generator().manual_seed(seed)
    student = torch.randn(shape, generator=source, dtype=torch.float64) * scale
    teacher = torch.randn(shape, generator=source, dtype=torch.float64) * scale
    return student.to(dtype).requires_grad_(), teacher.to(dtype)


def labels_for(shape, classes, seed=0, ignored=0.2):
    source = torch.Generator().manual_seed(seed + 100)
    labels = torch.randint(classes, shape, generator=source)
    labels[torch.rand(shape, generator=source) < ignored] = 255
    return labels


def check(loss, definition, student, teacher, rtol=2e-5, atol=1e-6):
    """Value and gradient of `loss` in float32 equal those of `definition` in float64."""
    exact_student = student.detach().double().requires_grad_()
    exact = definition(exact_student, teacher.double())
    (exact_gradient,) = torch.autograd.grad(exact, exact_student)
    value = loss(student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.dtype == torch.float32
    assert value.shape == ()
    torch.testing.assert_close(value.double(), exact, rtol=rtol, atol=atol)
    scale = exact_gradient.abs().max().item()
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=rtol, atol=1e-9 + 1e-5 * scale)


def compiles(loss, student, *args, **kwargs):
    """`loss` is one graph without breaks, and that graph gives the same value and gradient."""
    needs_torch(2, 6)
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    leaf = student.detach().requires_grad_()
    expected, found = loss(leaf, *args, **kwargs), compiled(leaf, *args, **kwargs)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(value, leaf)[0] for value in (expected, found)]
    torch.testing.assert_close(gradients[1], gradients[0])


def serves_all(loss, student, teacher, temperatures=(1.0, 2.0, 4.0), **kwargs):
    """One compiled graph serves every temperature that comes as a tensor: `loss(student, teacher, temperature)`."""
    needs_torch(2, 6)
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(loss, fullgraph=True, backend=counter)
    for temperature in temperatures:
        found = compiled(student, teacher, torch.tensor(temperature), **kwargs)
        torch.testing.assert_close(found, loss(student, teacher, temperature, **kwargs))
    assert counter.frame_count == 1


class EveryLoss:
    """What all losses must withstand; subclasses are parametrized by name and hold name -> (loss, definition)."""

    LOSSES = {}

    @pytest.mark.parametrize("shape", SHAPES)
    def test_definition(self, name, shape):
        check(*self.LOSSES[name], *maps(shape))

    def test_nearly_equal_maps(self, name):
        loss, definition = self.LOSSES[name]
        student, noise = maps((2, 5, 4, 6))
        check(loss, definition, student, student.detach() + 1e-4 * noise, rtol=1e-4, atol=0)

    @pytest.mark.parametrize("scale", [1e4, 1e-6, 0.0])
    def test_extreme_maps_stay_finite(self, name, scale):
        student, teacher = maps((3, 5, 6, 7), scale=scale)
        value = self.LOSSES[name][0](student, teacher)
        value.backward()
        assert value.isfinite()
        assert student.grad.isfinite().all()

    def test_zero_vectors_beside_others_stay_finite(self, name):
        student, teacher = maps((3, 5, 6, 7))
        with torch.no_grad():
            student[:, :, 2:4] = 0
            teacher[:, :, 3:5] = 0
        value = self.LOSSES[name][0](student, teacher)
        value.backward()
        assert value.isfinite()
        assert student.grad.abs().max() < 1e3

    def test_equal_maps_give_zero(self, name):
        student, _ = maps((3, 5, 6, 7))
        value = self.LOSSES[name][0](student, student.detach().clone())
        value.backward()
        assert value == 0
        assert student.grad.abs().max() < 1e-12

    def test_gradient_reaches_the_student_only(self, name):
        student, teacher = maps((3, 5, 6, 7))
        teacher.requires_grad_()
        self.LOSSES[name][0](student, teacher).backward()
        assert teacher.grad is None
        assert student.grad.abs().max() > 0

    def test_autocast_changes_nothing(self, name):
        student, teacher = maps((3, 5, 6, 7), dtype=torch.bfloat16)
        full = self.LOSSES[name][0](student.detach().float(), teacher.float())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = self.LOSSES[name][0](student, teacher)
        value.backward()
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.detach(), full)

    def test_compiles_as_one_graph(self, name):
        compiles(self.LOSSES[name][0], *maps((2, 5, 4, 6)))
