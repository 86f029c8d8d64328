"""FitNet, attention transfer, local affinity against their definitions, written out in loops."""

import pytest
import torch
from loss_checks import SHAPES, check, compiles, maps

from kdtrain.losses import attention_transfer, fitnet, local_affinity

torch.set_num_threads(1)


def unit(vector):
    return vector / vector.square().sum().sqrt()


def attention(features, power):
    return unit(sum(channel.abs() ** power for channel in features).flatten())


def contrasts(x, radius):
    """Sum of squared distances to the neighbours of every pixel, copies of the border beyond it."""
    _, h, w = x.shape
    around = [(dy, dx) for dy in range(-radius, radius + 1) for dx in range(-radius, radius + 1) if (dy, dx) != (0, 0)]
    return torch.stack(
        [
            sum(
                (x[:, i, j] - x[:, min(max(i + dy, 0), h - 1), min(max(j + dx, 0), w - 1)]).square().sum()
                for dy, dx in around
            )
            for i in range(h)
            for j in range(w)
        ]
    )


def softmax(x):
    exponentials = torch.exp(x - x.max(0, keepdim=True).values)
    return exponentials / exponentials.sum(0, keepdim=True)


def fitnet_definition(normalize, reduction):
    def definition(s, t):
        pairs = zip(s, t, strict=True)
        squares = [((unit(a) - unit(b)) if normalize == "map" else (a - b)).square().sum() for a, b in pairs]
        return sum(squares) / (s.numel() if reduction == "mean" else len(s))

    return definition


def attention_definition(form, power):
    def definition(s, t):
        squares = [(attention(a, power) - attention(b, power)).square().sum() for a, b in zip(s, t, strict=True)]
        if form == "paper":
            return sum(square.sqrt() for square in squares) / len(s)
        return sum(squares) / (len(s) * s.shape[2] * s.shape[3])

    return definition


def affinity_definition(radius, of):
    def definition(s, t):
        total = 0.0
        for a, b in zip(s, t, strict=True):
            if of == "probabilities":
                a, b = softmax(a), softmax(b)
            total = total + (contrasts(a, radius) - contrasts(b, radius)).square().sum()
        return total / (len(s) * s.shape[2] * s.shape[3])

    return definition


EVERY = {
    **{
        f"fitnet {normalize} {reduction}": (
            lambda s, t, n=normalize, r=reduction: fitnet(s, t, normalize=n, reduction=r),
            fitnet_definition(normalize, reduction),
        )
        for normalize in ("none", "map")
        for reduction in ("mean", "image")
    },
    **{
        f"attention {form} {power}": (
            lambda s, t, f=form, p=power: attention_transfer(s, t, form=f, power=p),
            attention_definition(form, power),
        )
        for form in ("code", "paper")
        for power in (1.0, 2.0)
    },
    **{
        f"affinity {neighbours} {of}": (
            lambda s, t, n=neighbours, o=of: local_affinity(s, t, neighbours=n, of=o),
            affinity_definition(1 if neighbours == 8 else 2, of),
        )
        for neighbours in (8, 24)
        for of in ("logits", "probabilities")
    },
}


@pytest.mark.parametrize("name", EVERY)
class TestEveryLoss:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_definition(self, name, shape):
        loss, definition = EVERY[name]
        student, teacher = maps(shape)
        check(loss, definition, student, teacher)

    def test_nearly_equal_maps(self, name):
        loss, definition = EVERY[name]
        student, noise = maps((2, 5, 4, 6))
        for size in (1e-4, 1e-5):
            teacher = student.detach() + size * noise
            exact = definition(student.detach().double(), teacher.double())
            torch.testing.assert_close(loss(student, teacher).double(), exact, rtol=1e-4, atol=0)
            check(loss, definition, student, teacher, rtol=1e-4, atol=1e-12)

    @pytest.mark.parametrize("scale", [1e4, 1e-6, 0.0])
    def test_extreme_maps_stay_finite(self, name, scale):
        student, teacher = maps((3, 5, 6, 7), scale=scale)
        value = EVERY[name][0](student, teacher)
        value.backward()
        assert value.isfinite()
        assert student.grad.isfinite().all()

    def test_equal_maps_give_zero(self, name):
        student, _ = maps((3, 5, 6, 7))
        value = EVERY[name][0](student, student.detach().clone())
        value.backward()
        assert value == 0
        assert student.grad.abs().max() == 0

    def test_gradient_reaches_the_student_only(self, name):
        student, teacher = maps((3, 5, 6, 7))
        teacher.requires_grad_()
        EVERY[name][0](student, teacher).backward()
        assert teacher.grad is None
        assert student.grad.abs().max() > 0

    def test_autocast_changes_nothing(self, name):
        student, teacher = maps((3, 5, 6, 7), dtype=torch.bfloat16)
        full = EVERY[name][0](student.detach().float(), teacher.float())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = EVERY[name][0](student, teacher)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, full)


@pytest.mark.parametrize(
    "name",
    ["fitnet none mean", "fitnet map image", "attention code 2.0", "attention paper 1.0", "affinity 24 probabilities"],
)
def test_compiles_as_one_graph(name):
    compiles(EVERY[name][0], *maps((2, 5, 4, 6)))


@pytest.mark.parametrize("loss", [attention_transfer, local_affinity])
def test_channels_may_differ(loss):
    student, _ = maps((2, 3, 4, 5))
    _, teacher = maps((2, 7, 4, 5))
    definition = attention_definition("code", 2.0) if loss is attention_transfer else affinity_definition(1, "logits")
    check(loss, definition, student, teacher)


def test_features_need_equal_channels():
    with pytest.raises(ValueError, match="fitnet needs equal channels"):
        fitnet(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, 3))


def test_published_values_of_attention_transfer():
    """The code's value is 2 (1 - cosine) / (H W), whatever the scale of the features."""
    student, teacher = maps((1, 5, 4, 6))
    q_s, q_t = (attention(side.detach()[0].double(), 2) for side in (student, teacher))
    expected = 2 * (1 - q_s @ q_t) / 24
    torch.testing.assert_close(attention_transfer(1e3 * student, teacher).double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("loss", "option"),
    [
        (fitnet, {"normalize": "pixel"}),
        (fitnet, {"reduction": "sum"}),
        (attention_transfer, {"form": "both"}),
        (local_affinity, {"neighbours": 4}),
        (local_affinity, {"of": "features"}),
    ],
)
def test_unknown_options_are_named(loss, option):
    (name,) = option
    with pytest.raises(ValueError, match=f"{name} must be .* got"):
        loss(*maps((1, 2, 3, 3)), **option)
