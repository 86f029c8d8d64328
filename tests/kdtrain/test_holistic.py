"""The discriminator: it learns by itself, out of the student's optimizer's sight, and survives a checkpoint."""

import copy
import io

import pytest
import torch
from torch import nn

from kdtrain.errors import InputError
from kdtrain.methods import TermInput, parse_term
from kdtrain.methods.holistic import Holistic
from kdtrain.methods.modules.holistic import SelfAttention, build_discriminator, gradient_penalty

torch.set_num_threads(1)

CLASSES = 3


def built(term, height=9, width=12, channels=CLASSES):
    torch.manual_seed(0)
    shape = (channels, height, width)
    return term.build({"logits": shape}, {"logits": shape}, channels)


def taps(step=0, height=9, width=12, broadcast_=None):
    source = torch.Generator().manual_seed(step)
    more = {} if broadcast_ is None else {"broadcast_": broadcast_}
    return TermInput(
        students=(torch.randn(4, CLASSES, height, width, generator=source).requires_grad_(),),
        teachers=(2 + torch.randn(4, CLASSES, height, width, generator=source),),
        labels=torch.zeros(4, height, width, dtype=torch.int64),
        num_classes=CLASSES,
        ignore_index=255,
        generator=torch.Generator().manual_seed(1000 + step),
        **more,
    )


def weights(module):
    return [p.detach().clone() for p in module.discriminator.parameters()]


def reloaded(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


OBJECTIVES = [Holistic(objective="wgan_gp"), Holistic(objective="hinge"), Holistic(optimizer="sgd")]


@pytest.mark.parametrize("term", OBJECTIVES, ids=lambda term: f"{term.objective}-{term.optimizer}")
class TestLearning:
    def test_judges_better_with_every_step(self, term):
        # without batch norm's help, which would show every batch by itself
        module = built(term.model_copy(update={"lr": term.lr * 25, "discriminator_weight": 1.0}))
        module.discriminator[0] = nn.Identity()

        def margin():
            inputs = taps(99)
            with torch.no_grad():
                return (module.discriminator(inputs.teacher) - module.discriminator(inputs.student)).mean().item()

        before = margin()
        for step in range(20):
            module(taps(step))
        assert margin() > before + 0.1

    def test_resuming_equals_an_uninterrupted_run(self, term):
        straight, stopped = built(term), built(term)
        for step in range(6):
            expected = straight(taps(step))
        for step in range(3):
            stopped(taps(step))
        resumed = built(term)
        resumed.load_state_dict(reloaded(stopped.state_dict()))
        for step in range(3, 6):
            value = resumed(taps(step))
        assert torch.equal(value, expected)
        for a, b in zip(weights(resumed), weights(straight), strict=True):
            assert torch.equal(a, b)

    def test_evaluation_changes_nothing(self, term):
        module = built(term).eval()
        before = copy.deepcopy(module.state_dict())
        first, second = module(taps()), module(taps())
        assert torch.equal(first, second)
        after = module.state_dict()
        assert all(torch.equal(after[key], value) for key, value in before.items() if isinstance(value, torch.Tensor))

    def test_out_of_the_students_sight(self, term):
        module = built(term)
        inputs = taps()
        inputs.teacher.requires_grad_()
        assert [p for p in module.parameters() if p.requires_grad] == []
        value = module(inputs)
        assert value.shape == ()
        assert value.dtype == torch.float32
        learnt = weights(module)
        value.backward()
        assert inputs.student.grad.abs().max() > 0
        assert inputs.teacher.grad is None
        assert all(p.grad is None and not p.requires_grad for p in module.parameters())
        assert all(torch.equal(a, b) for a, b in zip(weights(module), learnt, strict=True))

    def test_processes_agree_on_the_step(self, term):
        """A process whose gradients come out differently makes the first one's step."""
        first, other = built(term), built(term)
        told = []
        first(taps(broadcast_=lambda tensors: told.extend(t.clone() for t in tensors)))

        def follow(tensors):
            for tensor, value in zip(list(tensors), told, strict=True):
                tensor.copy_(value)

        drifted = taps(broadcast_=follow)
        with torch.no_grad():
            drifted.student.mul_(1 + 1e-4)
        other(drifted)
        assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(other), strict=True))


def test_autocast_changes_nothing():
    plain, half = built(Holistic()), built(Holistic())
    expected = plain(taps())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = half(taps())
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected)


def test_the_value_is_minus_the_mean_judgement():
    module = built(Holistic()).eval()
    inputs = taps()
    torch.testing.assert_close(module(inputs), -module.discriminator(inputs.student).mean())


def test_gradient_penalty_of_a_linear_judge():
    """The gradient of `w . x` is `w` everywhere."""

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([3.0, 4.0]))

        def forward(self, maps):
            return (maps * self.weight[:, None, None]).mean((1, 2, 3)) * maps[0].numel()

    judge = Linear()
    value = gradient_penalty(judge, torch.randn(5, 2, 1, 1))
    assert value.item() == pytest.approx(16.0)  # (5 - 1)^2
    (gradient,) = torch.autograd.grad(value, judge.parameters())
    torch.testing.assert_close(gradient, 2 * 4 * torch.tensor([0.6, 0.8]))


class TestArchitecture:
    def kinds(self, side):
        return [type(layer).__name__.removeprefix("Parametrized") for layer in build_discriminator(CLASSES, side)]

    def test_published(self):
        judge = build_discriminator(19, 64)
        convolutions = [layer for layer in judge if isinstance(layer, nn.Conv2d)]
        assert [layer.out_channels for layer in convolutions] == [64, 128, 256, 512, 1]
        assert self.kinds(64) == [
            *("BatchNorm2d", "Conv2d", "LeakyReLU", "Conv2d", "LeakyReLU"),
            *("Conv2d", "LeakyReLU", "SelfAttention", "Conv2d", "LeakyReLU", "SelfAttention", "Conv2d"),
        ]
        with torch.no_grad():
            assert judge(torch.zeros(2, 19, 64, 128)).shape == (2, 1, 1, 5)

    @pytest.mark.parametrize(("side", "layers"), [(2, 1), (6, 1), (8, 1), (15, 1), (16, 2), (45, 3), (63, 3), (300, 4)])
    def test_small_maps_have_fewer_layers(self, side, layers):
        assert self.kinds(side).count("LeakyReLU") == layers
        if side < 64:
            with torch.no_grad():
                assert build_discriminator(CLASSES, side)(torch.zeros(2, CLASSES, side, side + 3)).numel() >= 2

    def test_too_small_for_the_published_one(self):
        message = "the published discriminator needs maps of at least 64 x 64, got 45 x 60 at 'logits' of the student"
        with pytest.raises(InputError, match=message):
            built(Holistic(depth="published"), 45, 60)
        with pytest.raises(InputError, match="the fit discriminator needs maps of at least 2 x 2"):
            built(Holistic(), 1, 20)
        assert built(Holistic(), 45, 60)(taps(0, 45, 60)).isfinite()

    def test_fit_is_published_where_that_fits(self):
        fitted, published = (built(Holistic(depth=depth), 64, 70) for depth in ("fit", "published"))
        assert list(fitted.state_dict()) == list(published.state_dict())

    def test_attention_starts_as_identity_and_mixes_pixels(self):
        attention = SelfAttention(16)
        maps = torch.randn(2, 16, 3, 4)
        assert torch.equal(attention(maps), maps)
        with torch.no_grad():
            attention.gamma.fill_(1.0)
            query, key, value = (layer(maps).flatten(2) for layer in (attention.query, attention.key, attention.value))
            expected = maps.clone()
            for n in range(2):
                for i in range(12):
                    shares = torch.stack([query[n, :, i] @ key[n, :, j] for j in range(12)]).softmax(0)
                    expected[n, :, i // 4, i % 4] += sum(shares[j] * value[n, :, j] for j in range(12))
            torch.testing.assert_close(attention(maps), expected)


def test_one_discriminator_needs_equal_channels():
    with pytest.raises(InputError, match="term 'holistic' needs equal channels"):
        Holistic().build({"logits": (3, 64, 64)}, {"logits": (4, 64, 64)}, 3)


def test_options_are_read_from_yaml():
    assert parse_term({"loss": "holistic", "objective": "hinge"}) == Holistic(objective="hinge")
    with pytest.raises(InputError, match="objective: Input should be 'wgan_gp' or 'hinge', got 'gan'"):
        parse_term({"loss": "holistic", "objective": "gan"})
