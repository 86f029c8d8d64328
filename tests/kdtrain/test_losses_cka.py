"""CSKD's losses against definitions with centring matrices, explicit attention maps and explicit sums."""

import itertools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kdtrain.losses import attention, cam_cka, grid_pam_cka
from kdtrain.losses.attention import (
    channel_attention,
    count_blocks,
    position_attention,
    random_projections,
)
from kdtrain.losses.cka import centered_kernel, cka, kernel_at, kernel_terms
from kdtrain.losses.kernels import inner_products

torch.set_num_threads(1)


def maps(shape, other_channels=None, seed=0, noise=None):
    source = torch.Generator().manual_seed(seed)
    teacher = torch.randn(shape[0], other_channels or shape[1], *shape[2:], generator=source)
    student = torch.randn(shape, generator=source)
    if noise is not None:
        student = teacher + noise * student
    return student.requires_grad_(), teacher


def hsic(k, m, estimator):
    n = len(k)
    if estimator == "biased":
        centre = torch.eye(n, dtype=k.dtype) - 1 / n
        return ((centre @ k @ centre) * (centre @ m @ centre)).sum()
    # Song et al. 2012 by the U-statistic itself: the mean over all quadruples of different samples
    total, count = 0.0, 0
    for i, j, q, r in itertools.permutations(range(n), 4):
        total = total + k[i, j] * m[i, j] + k[i, j] * m[q, r] - 2 * k[i, j] * m[i, q]
        count += 1
    return total / count


def naive_cka(x, y, estimator="biased"):
    k, m = x @ x.T, y @ y.T
    return hsic(k, m, estimator) / torch.sqrt(hsic(k, k, estimator) * hsic(m, m, estimator))


def naive_cam(x, temperature, gamma):
    out = []
    for image in x:
        f = image.flatten(1)
        energy = f @ f.T
        energy = energy.max(1, keepdim=True).values - energy
        attention = torch.softmax(energy / temperature, dim=1)
        out.append((gamma * (attention @ f) + f).view_as(image))
    return torch.stack(out)


def naive_pam(x, projection, temperature, gamma):
    weight, bias = projection[:, :-1].double(), projection[:, -1].double()
    channels = x.shape[1]
    queries = max(channels // 8, 1)
    out = []
    for image in x:
        f = image.flatten(1)
        q, k, v = (weight @ f + bias[:, None]).split([queries, queries, channels])
        attention = torch.softmax(q.T @ k / temperature, dim=1)
        out.append((gamma * (v @ attention.T) + f).view_as(image))
    return torch.stack(out)


def naive_distance(x, y, samples, estimator, distance):
    if samples == "batch":
        values = [naive_cka(x.flatten(1), y.flatten(1), estimator)]
    else:
        values = [naive_cka(a.flatten(1).T, b.flatten(1).T, estimator) for a, b in zip(x, y, strict=True)]
    if distance == "neg_log":
        return sum(-torch.log(v.abs() + 1e-8) for v in values) / len(values)
    return sum(1 - v for v in values) / len(values)


def check(loss, definition, student, teacher, rtol=1e-4, gradient_rtol=1e-4, atol=1e-8):
    exact_student = student.detach().double().requires_grad_()
    exact = definition(exact_student, teacher.double())
    (exact_gradient,) = torch.autograd.grad(exact, exact_student)
    value = loss(student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), exact, rtol=rtol, atol=atol)
    error = (gradient.double() - exact_gradient).abs().max() / exact_gradient.abs().max()
    assert error < gradient_rtol


MODES = [
    ("batch", "biased", "neg_log"),
    ("batch", "biased", "one_minus"),
    ("batch", "unbiased", "one_minus"),
    ("pixels", "biased", "neg_log"),
    ("pixels", "unbiased", "one_minus"),
]


@pytest.mark.parametrize(("samples", "estimator", "distance"), MODES)
@pytest.mark.parametrize(("shape", "other"), [((5, 8, 2, 3), 8), ((4, 3, 3, 2), 5)])
@pytest.mark.parametrize("gamma", [0.0, 0.7])
def test_cam_definition(samples, estimator, distance, shape, other, gamma):
    def definition(s, t):
        s, t = naive_cam(s, 2.0, gamma), naive_cam(t, 2.0, gamma)
        return naive_distance(s, t, samples, estimator, distance)

    def loss(s, t):
        return cam_cka(s, t, 2.0, gamma, samples=samples, estimator=estimator, distance=distance)

    check(loss, definition, *maps(shape, other))


@pytest.mark.parametrize("noise", [1e-3, 1e-5])
def test_nearly_equal_features_lose_no_digits(noise):
    def definition(s, t):
        return naive_distance(s, t, "batch", "biased", "neg_log")

    check(cam_cka, definition, *maps((6, 8, 3, 5), noise=noise), rtol=1e-3, gradient_rtol=1e-3)


@pytest.mark.parametrize("gamma", [0.0, 0.7])
def test_one_image_has_many_pixels(gamma):
    def definition(s, t):
        return naive_distance(naive_cam(s, 2.0, gamma), naive_cam(t, 2.0, gamma), "pixels", "biased", "neg_log")

    check(lambda s, t: cam_cka(s, t, 2.0, gamma, samples="pixels"), definition, *maps((1, 6, 5, 7), 4))


def test_cka_chooses_the_smaller_side_without_changing_the_value():
    source = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2, 6, p, generator=source, dtype=torch.float64) for p in (3, 9))
    for estimator in ("biased", "unbiased"):
        for a, b in ((x, y), (y, x), (x, x.flip(-1) ** 2), (y, y**2)):
            expected = torch.stack([naive_cka(one, two, estimator) for one, two in zip(a, b, strict=True)])
            torch.testing.assert_close(cka(a, b, estimator), expected)


def test_features_that_do_not_vary_give_a_finite_loss_without_gradient():
    student = torch.ones(4, 8, 3, 3, requires_grad=True)
    value = cam_cka(student, torch.randn(4, 8, 3, 3))
    value.backward()
    assert value.item() == pytest.approx(18.42, abs=0.01)
    assert student.grad.abs().max() == 0


def test_few_samples():
    one = torch.randn(1, 8, 4, 4)
    for loss in (cam_cka, grid_pam_cka):
        with pytest.raises(ValueError, match=r"at least 2 samples, got 1.*samples='pixels'"):
            loss(one, one)
        with pytest.raises(ValueError, match="at least 4 samples"):
            loss(one.repeat(3, 1, 1, 1), one.repeat(3, 1, 1, 1), estimator="unbiased", distance="one_minus")
    assert cam_cka(one, one + 1, samples="pixels").isfinite()


def test_two_images_always_agree():
    student, teacher = maps((2, 8, 4, 4))
    value = cam_cka(student, teacher)
    value.backward()
    assert abs(value.item()) < 1e-7
    assert student.grad.abs().max() < 1e-7


def test_a_negative_cka_has_no_logarithm():
    with pytest.raises(ValueError, match="distance must be 'one_minus'"):
        cam_cka(*maps((5, 8, 4, 4)), estimator="unbiased")


def test_factor_is_learned_through_both_branches():
    gamma = torch.zeros((), requires_grad=True)
    student, teacher = maps((5, 8, 4, 4))
    cam_cka(student, teacher, gamma=gamma).backward()
    exact = torch.zeros((), requires_grad=True, dtype=torch.float64)
    s, t = naive_cam(student.detach().double(), 2.0, exact), naive_cam(teacher.double(), 2.0, exact)
    naive_distance(s, t, "batch", "biased", "neg_log").backward()
    torch.testing.assert_close(gamma.grad.double(), exact.grad, rtol=1e-3, atol=1e-6)
    assert gamma.grad != 0


class TestGrid:
    @staticmethod
    def blocks(x, grid):
        """Blocks of ceil(size / grid) rows and columns, the last ones shorter."""
        high, wide = (-(-size // grid) for size in x.shape[2:])
        return [
            x[:, :, i : i + high, j : j + wide] for i in range(0, x.shape[2], high) for j in range(0, x.shape[3], wide)
        ]

    def test_number_of_blocks(self):
        for height, width, grid in itertools.product(range(1, 14), range(1, 14), range(1, 7)):
            assert count_blocks(height, width, grid) == len(self.blocks(torch.zeros(1, 1, height, width), grid))

    @pytest.mark.parametrize(("shape", "grid"), [((4, 8, 6, 11), 5), ((3, 4, 9, 5), 3), ((5, 8, 4, 4), 1)])
    def test_without_attention(self, shape, grid):
        def definition(s, t):
            pairs = list(zip(self.blocks(s, grid), self.blocks(t, grid), strict=True))
            return sum(naive_distance(a, b, "batch", "biased", "neg_log") for a, b in pairs) / len(pairs)

        check(lambda s, t: grid_pam_cka(s, t, grid=grid), definition, *maps(shape, 6))

    @pytest.mark.parametrize("projection", ["resampled", "fixed", "given"])
    def test_with_attention(self, projection):
        student, teacher = maps((4, 16, 5, 4), 8)
        source = torch.Generator().manual_seed(0)
        drawn = [random_projections(4, 16, source), random_projections(4, 8, source)]
        if projection == "fixed":
            drawn[1] = random_projections(4, 8, torch.Generator().manual_seed(1))
        if projection == "given":
            drawn = [one[:1].expand(4, -1, -1) for one in drawn]

        def definition(s, t):
            total = 0.0
            pairs = list(zip(self.blocks(s, 2), self.blocks(t, 2), strict=True))
            for (a, b), p, q in zip(pairs, *drawn, strict=True):
                a, b = naive_pam(a, p, 2.0, 0.7), naive_pam(b, q, 2.0, 0.7)
                total = total + naive_distance(a, b, "batch", "biased", "neg_log")
            return total / len(pairs)

        def loss(s, t):
            return grid_pam_cka(
                s,
                t,
                gamma=0.7,
                grid=2,
                projection=(drawn[0][:1], drawn[1][:1]) if projection == "given" else projection,
                generator=torch.Generator().manual_seed(0),
            )

        check(loss, definition, student, teacher)

    def test_projections_follow_the_generator(self):
        student, teacher = maps((4, 16, 5, 4))
        source = torch.Generator().manual_seed(3)
        first, second = (grid_pam_cka(student, teacher, gamma=0.7, generator=source) for _ in range(2))
        again = grid_pam_cka(student, teacher, gamma=0.7, generator=torch.Generator().manual_seed(3))
        assert first == again
        assert first != second
        fixed = {grid_pam_cka(student, teacher, gamma=0.7, projection="fixed").item() for _ in range(2)}
        assert len(fixed) == 1

    def test_projections_are_drawn_as_convolutions_are(self):
        drawn = random_projections(3, 64, torch.Generator().manual_seed(0))
        assert drawn.shape == (3, 8 + 8 + 64, 64 + 1)
        assert drawn.abs().max() == pytest.approx(1 / 8, rel=0.01)
        assert drawn.std() == pytest.approx(1 / 8 / 3**0.5, rel=0.05)

    def test_pixels_as_samples(self):
        student, teacher = maps((2, 8, 6, 6))

        def definition(s, t):
            pairs = list(zip(self.blocks(s, 2), self.blocks(t, 2), strict=True))
            return sum(naive_distance(a, b, "pixels", "biased", "neg_log") for a, b in pairs) / len(pairs)

        check(lambda s, t: grid_pam_cka(s, t, grid=2, samples="pixels"), definition, student, teacher)

    @pytest.mark.parametrize("samples", ["batch", "pixels"])
    def test_nearly_equal_features_with_attention_lose_few_digits(self, samples):
        student, teacher = maps((4, 16, 7, 9), noise=1e-3)
        drawn = random_projections(1, 16, torch.Generator().manual_seed(0))

        def definition(s, t):
            s, t = (naive_pam(side, drawn[0], 2.0, 0.5) for side in (s, t))
            return naive_distance(s, t, samples, "biased", "one_minus")

        def loss(s, t):
            return grid_pam_cka(
                s, t, gamma=0.5, grid=1, projection=(drawn, drawn), samples=samples, distance="one_minus"
            )

        assert definition(student.double(), teacher.double()) < 2e-6
        check(loss, definition, student, teacher, rtol=1e-4, gradient_rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("samples", ["batch", "pixels"])
@pytest.mark.parametrize("shape", [(4, 16, 7, 9), (4, 70, 3, 5)])
def test_nearly_equal_features_with_channel_attention_lose_no_digits(samples, shape):
    student, teacher = maps(shape, noise=1e-3)

    def definition(s, t):
        s, t = (naive_cam(side, 2.0, 0.5) for side in (s, t))
        return naive_distance(s, t, samples, "biased", "one_minus")

    def loss(s, t):
        return cam_cka(s, t, gamma=0.5, samples=samples, distance="one_minus")

    assert definition(student.double(), teacher.double()) < 1e-5
    check(loss, definition, student, teacher, rtol=1e-4, gradient_rtol=1e-4, atol=0.0)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation made, in numbers."""

    found = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.found = max(self.found, tensor.numel())
        return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_position_attention_builds_no_map_of_pixels_by_pixels(dtype):
    pixels, channels = 24 * 32, 16
    block = torch.randn(1, 1, pixels, channels, dtype=dtype, requires_grad=True)
    with Largest() as largest:
        position_attention(block, random_projections(1, channels, None), 2.0, 0.5).square().sum().backward()
    assert largest.found <= 2 * pixels * channels < pixels**2 / 10


def test_channel_attention_of_many_channels_builds_no_map_of_channels_by_channels():
    features = torch.randn(1, 768, 3, 5, requires_grad=True)
    with Largest() as largest:
        channel_attention(features, 2.0, 0.5).square().sum().backward()
    assert largest.found < 768**2 / 10


@pytest.mark.parametrize("centered", [0, 6, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_inner_products_of_groups_of_rows(centered, transposed):
    source = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 6, 11, generator=source, dtype=torch.float64)
    if transposed:
        rows = rows.mT.contiguous().mT

    def definition(x):
        groups = x.unflatten(1, (-1, centered or 1))
        x = (groups - groups.mean(2, keepdim=True)).flatten(1, 2) if centered else x
        return x @ x.mT

    rows.requires_grad_()
    torch.testing.assert_close(inner_products(rows, centered), definition(rows))
    assert torch.autograd.gradcheck(lambda x: inner_products(x, centered), rows)


def test_the_kernel_of_a_sum_is_a_polynomial_of_the_factor():
    source = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 3, 5, 40, generator=source, dtype=torch.float64)
    for factor in (0.0, 0.3, -2.0):
        torch.testing.assert_close(kernel_at(factor, kernel_terms(x, y)), centered_kernel(x + factor * y))
    torch.testing.assert_close(kernel_at(0.7, kernel_terms(x, None)), centered_kernel(x))


def test_learned_projections_of_the_teacher_have_the_gradient_of_the_definition():
    student, teacher = maps((4, 16, 5, 4), 8)
    own = random_projections(1, 16, torch.Generator().manual_seed(0))
    learned = random_projections(1, 8, torch.Generator().manual_seed(1)).requires_grad_()
    grid_pam_cka(student, teacher, gamma=0.7, grid=1, projection=(own, learned)).backward()
    exact = learned.detach().double().requires_grad_()
    s = naive_pam(student.detach().double(), own[0], 2.0, 0.7)
    naive_distance(s, naive_pam(teacher.double(), exact[0], 2.0, 0.7), "batch", "biased", "neg_log").backward()
    error = (learned.grad.double() - exact.grad).abs().max() / exact.grad.abs().max()
    assert error < 1e-4


class TestWeightsOfAttention:
    """Matrices of subnormal numbers, which are ten times slower, come from weights that count for nothing."""

    scores = torch.linspace(0, -400, 401)[None].requires_grad_()

    def test_the_least_are_zero_and_none_is_subnormal(self):
        plain, cut = torch.softmax(self.scores, -1), attention._softmax(self.scores)
        kept = cut > 0
        assert kept.sum() == 56  # 80 log 2 = 55.45
        assert (plain[kept] == cut[kept]).all()
        smallest = torch.finfo(torch.float32).tiny
        assert ((plain > 0) & (plain < smallest)).any()
        assert not ((cut > 0) & (cut < smallest)).any()

    def test_the_gradient_is_that_of_a_softmax(self):
        weights = torch.randn(401, generator=torch.Generator().manual_seed(0))
        plain, cut = (
            torch.autograd.grad((softmax(self.scores) * weights).sum(), self.scores)[0]
            for softmax in (lambda scores: torch.softmax(scores, -1), attention._softmax)
        )
        torch.testing.assert_close(cut, plain, rtol=1e-6, atol=1e-24)
        assert (cut[cut != 0].abs() > 1e-27).all()

    def test_no_product_of_the_channel_attention_has_a_subnormal_factor(self, monkeypatch):
        features = torch.randn(2, 64, 20, 30, generator=torch.Generator().manual_seed(0))
        features *= torch.linspace(0.2, 3, 64)[:, None, None]
        seen = []
        baddbmm = torch.baddbmm
        monkeypatch.setattr(torch, "baddbmm", lambda x, y, weights: seen.append(weights) or baddbmm(x, y, weights))
        attention.channel_attention(features, 2.0, 0.5)
        (weights,) = (each.abs() for each in seen)
        assert not ((weights > 0) & (weights < torch.finfo(torch.float32).tiny)).any()
