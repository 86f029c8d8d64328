"""What tests of losses share: made-up maps, and the comparison with a definition in float64."""

import torch

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
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    leaf = student.detach().requires_grad_()
    expected, found = loss(leaf, *args, **kwargs), compiled(leaf, *args, **kwargs)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(value, leaf)[0] for value in (expected, found)]
    torch.testing.assert_close(gradients[1], gradients[0])


def serves_all(loss, student, teacher, temperatures=(1.0, 2.0, 4.0), **kwargs):
    """One compiled graph serves every temperature that comes as a tensor: `loss(student, teacher, temperature)`."""
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(loss, fullgraph=True, backend=counter)
    for temperature in temperatures:
        found = compiled(student, teacher, torch.tensor(temperature), **kwargs)
        torch.testing.assert_close(found, loss(student, teacher, temperature, **kwargs))
    assert counter.frame_count == 1
