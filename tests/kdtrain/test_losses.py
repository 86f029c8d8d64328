"""Point-wise losses against their definitions, written out in float64 loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from loss_checks import SHAPES, check, labels_for, maps

from kdtrain.losses import (
    adaptive_cross_entropy,
    cam_cka,
    channel_wise,
    cross_entropy,
    csc,
    grid_pam_cka,
    pixel_kd,
)

torch.set_num_threads(1)


def probabilities(scores, temperature=1.0):
    """Softmax of a vector, without torch's."""
    exponentials = [torch.exp((x - scores.max().detach()) / temperature) for x in scores]
    return torch.stack([e / sum(exponentials) for e in exponentials])


def kl(p, q):
    return sum(a * (torch.log(a) - torch.log(b)) for a, b in zip(p, q, strict=True))


def every_pixel(batch):
    n, _, h, w = batch.shape
    return [(b, i, j) for b in range(n) for i in range(h) for j in range(w)]


class TestCrossEntropy:
    def test_definition_at_label_size(self):
        student, _ = maps((2, 4, 3, 5))
        labels = labels_for((2, 3, 5), 4)

        def definition(s, _):
            terms = [
                -torch.log(probabilities(s[b, :, i, j])[labels[b, i, j]])
                for b, i, j in every_pixel(s)
                if labels[b, i, j] != 255
            ]
            return sum(terms) / len(terms)

        check(lambda s, _: cross_entropy(s, labels), definition, student, student)

    @pytest.mark.parametrize("align_corners", [True, False])
    def test_logits_are_resized_to_the_labels(self, align_corners):
        student, _ = maps((2, 4, 3, 5))
        labels = labels_for((2, 9, 11), 4)
        resized = F.interpolate(student, size=(9, 11), mode="bilinear", align_corners=align_corners)
        expected = F.cross_entropy(resized, labels, ignore_index=255)
        torch.testing.assert_close(cross_entropy(student, labels, align_corners=align_corners), expected)

    @pytest.mark.parametrize("smoothing", [0.1, 0.5])
    def test_smoothed_labels_are_a_mixture_with_the_even_distribution(self, smoothing):
        student, labels = torch.randn(2, 5, 4, 6, dtype=torch.float64), torch.randint(0, 5, (2, 4, 6))
        labels[0, :2] = 255
        log = student.log_softmax(1)
        expected, count = 0.0, 0
        for n, y, x in (labels != 255).nonzero().tolist():
            target = torch.full((5,), smoothing / 5, dtype=torch.float64)
            target[labels[n, y, x]] += 1 - smoothing
            expected, count = expected - (target * log[n, :, y, x]).sum(), count + 1
        torch.testing.assert_close(cross_entropy(student, labels, smoothing=smoothing), expected / count)

    def test_no_labelled_pixel_gives_zero(self):
        student, _ = maps((1, 4, 3, 3))
        value = cross_entropy(student, torch.full((1, 3, 3), 255))
        (gradient,) = torch.autograd.grad(value, student)
        assert value == 0
        assert gradient.abs().max() == 0


class TestPixelKd:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("temperature", [1.0, 4.0])
    def test_definition(self, shape, temperature):
        def definition(s, t):
            pixels = every_pixel(s)
            total = sum(
                kl(probabilities(t[b, :, i, j], temperature), probabilities(s[b, :, i, j], temperature))
                for b, i, j in pixels
            )
            return temperature**2 * total / len(pixels)

        check(lambda s, t: pixel_kd(s, t, temperature), definition, *maps(shape))

    def test_reductions_of_public_codes(self):
        student, teacher = maps((3, 5, 4, 6))
        log_s, p_t = F.log_softmax(student / 2, 1), F.softmax(teacher / 2, 1)
        mean = pixel_kd(student, teacher, 2.0) / 4
        ifvd = F.kl_div(log_s, p_t, reduction="none").mean()
        mmrazor = 4 * F.kl_div(log_s, p_t, reduction="batchmean")
        skd = -(p_t * log_s).sum() / 4 / 6
        torch.testing.assert_close(mean, F.kl_div(log_s, p_t, reduction="sum") / (3 * 4 * 6))
        torch.testing.assert_close(pixel_kd(student, teacher, 2.0, reduction="ifvd"), ifvd)
        torch.testing.assert_close(pixel_kd(student, teacher, 2.0, reduction="mmrazor"), mmrazor)
        torch.testing.assert_close(pixel_kd(student, teacher, 2.0, reduction="skd"), skd)

    def test_table_of_conversions(self):
        student, teacher = maps((3, 5, 4, 6))
        honest = pixel_kd(student, teacher)
        entropy = -(F.softmax(teacher, 1) * F.log_softmax(teacher, 1)).sum(1).mean()
        torch.testing.assert_close(pixel_kd(student, teacher, reduction="ifvd"), honest / 5)
        torch.testing.assert_close(pixel_kd(student, teacher, reduction="mmrazor"), 24 * honest)
        torch.testing.assert_close(pixel_kd(student, teacher, reduction="skd"), 3 * (honest + entropy))

    @pytest.mark.parametrize("reduction", ["mean", "ifvd", "mmrazor", "skd"])
    def test_ignored_pixels_do_not_count(self, reduction):
        student, teacher = maps((2, 5, 4, 6))
        labels = labels_for((2, 8, 12), 5)
        seen = labels[:, ::2, ::2] != 255
        gradient = torch.autograd.grad(pixel_kd(student, teacher, reduction=reduction, labels=labels), student)[0]
        assert torch.equal(gradient.abs().sum(1) > 0, seen)
        everything = torch.zeros(2, 4, 6, dtype=torch.int64)
        torch.testing.assert_close(
            pixel_kd(student, teacher, reduction=reduction, labels=everything),
            pixel_kd(student, teacher, reduction=reduction),
        )

    def test_mean_over_unignored_pixels(self):
        student, teacher = maps((1, 5, 2, 3))
        labels = torch.tensor([[[0, 255, 1], [255, 255, 2]]])
        kept = labels[0] != 255
        expected = pixel_kd(student[..., kept][:, :, None], teacher[..., kept][:, :, None], 2.0)
        torch.testing.assert_close(pixel_kd(student, teacher, 2.0, labels=labels), expected)
        assert pixel_kd(student, teacher, labels=torch.full((1, 2, 3), 255)) == 0


class TestChannelWise:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("temperature", [1.0, 4.0])
    @pytest.mark.parametrize("divergence", ["kl", "reverse", "symmetric"])
    def test_definition(self, shape, temperature, divergence):
        def definition(s, t):
            total = 0.0
            for b in range(shape[0]):
                for c in range(shape[1]):
                    p_t = probabilities(t[b, c].flatten(), temperature)
                    p_s = probabilities(s[b, c].flatten(), temperature)
                    forward, reverse = kl(p_t, p_s), kl(p_s, p_t)
                    total = (
                        total
                        + {
                            "kl": forward,
                            "reverse": reverse,
                            "symmetric": (forward + reverse) / 2,
                        }[divergence]
                    )
            return temperature**2 / (shape[0] * shape[1]) * total

        check(lambda s, t: channel_wise(s, t, temperature, divergence=divergence), definition, *maps(shape))

    def test_gradient_has_the_closed_form(self):
        student, teacher = maps((2, 3, 4, 5))
        (gradient,) = torch.autograd.grad(channel_wise(student, teacher, 4.0), student)
        phi = [F.softmax(side.detach().flatten(2) / 4, 2) for side in (student, teacher)]
        expected = 4.0 * (phi[0] - phi[1]) / (2 * 3)
        torch.testing.assert_close(gradient.flatten(2), expected)

    def test_over_classes_it_is_pixel_kd(self):
        student, teacher = maps((2, 3, 4, 5))
        torch.testing.assert_close(
            channel_wise(student, teacher, 2.0, normalize="class"), pixel_kd(student, teacher, 2.0)
        )

    def test_squared_differences(self):
        student, teacher = maps((2, 3, 4, 5))
        difference = student - teacher
        phi = F.softmax(student.flatten(2) / 2, 2) - F.softmax(teacher.flatten(2) / 2, 2)
        values = {
            "channel": 4 * phi.square().sum() / 6,
            "class": 4 * (F.softmax(student / 2, 1) - F.softmax(teacher / 2, 1)).square().sum() / 40,
            "channel_mean": difference.mean((2, 3)).square().sum() / 6,
            "none": difference.square().sum() / 40,
        }
        for normalize, expected in values.items():
            got = channel_wise(student, teacher, 2.0, normalize=normalize, divergence="mse")
            torch.testing.assert_close(got, expected)

    def test_raw_maps_have_no_kl(self):
        with pytest.raises(ValueError, match="divergence must be 'mse'"):
            channel_wise(*maps((1, 2, 3, 3)), normalize="none")


class TestAdaptiveCrossEntropy:
    @staticmethod
    def target(p, label, form, threshold):
        one_hot = torch.zeros(len(p), dtype=p.dtype)
        one_hot[label] = 1
        best = int(p.argmax())
        if form == "soft":
            return p[label] * p + (1 - p[label]) * one_hot
        if form == "swap":
            q = p.clone()
            q[label], q[best] = p[best], p[label]
            return q
        trusted = best == label and (form == "hard" or p[label] >= threshold)
        return p if trusted else one_hot

    @pytest.mark.parametrize("form", ["hard", "soft", "threshold", "swap"])
    @pytest.mark.parametrize("ignored", ["mask", "teacher"])
    @pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 5, 3, 7)])
    def test_definition(self, form, ignored, shape):
        student, teacher = maps(shape)
        labels = labels_for((shape[0], *shape[2:]), shape[1])

        def definition(s, t):
            terms = []
            for b, i, j in every_pixel(s):
                p, label = probabilities(t[b, :, i, j], 2.0), int(labels[b, i, j])
                if label == 255 and ignored == "mask":
                    continue
                q = p if label == 255 else self.target(p, label, form, 0.7)
                log_s = torch.log(probabilities(s[b, :, i, j]))
                terms.append(-(q * log_s).sum())
            return sum(terms) / len(terms)

        def loss(s, t):
            return adaptive_cross_entropy(s, t, labels, form, threshold=0.7, temperature=2.0, ignored=ignored)

        check(loss, definition, student, teacher)

    def test_works_at_label_size_by_default(self):
        student, teacher = maps((2, 3, 4, 5))
        labels = labels_for((2, 9, 11), 3)
        bigger = [F.interpolate(side, size=(9, 11), mode="bilinear", align_corners=True) for side in (student, teacher)]
        torch.testing.assert_close(
            adaptive_cross_entropy(student, teacher, labels), adaptive_cross_entropy(*bigger, labels)
        )

    def test_works_at_map_size_with_nearest_labels(self):
        student, teacher = maps((2, 3, 4, 5))
        labels = labels_for((2, 8, 10), 3)
        torch.testing.assert_close(
            adaptive_cross_entropy(student, teacher, labels, resize="map"),
            adaptive_cross_entropy(student, teacher, labels[:, ::2, ::2]),
        )

    def test_a_perfect_teacher_gives_distillation_and_a_wrong_one_gives_cross_entropy(self):
        student, teacher = maps((2, 3, 4, 5))
        right = teacher.argmax(1)
        wrong = (right + 1) % 3
        p = F.softmax(teacher, 1)
        entropy = -(p * p.log()).sum(1).mean()
        torch.testing.assert_close(
            adaptive_cross_entropy(student, teacher, right) - entropy, pixel_kd(student, teacher)
        )
        torch.testing.assert_close(adaptive_cross_entropy(student, teacher, wrong), cross_entropy(student, wrong))

    def test_no_labelled_pixel_gives_zero(self):
        student, teacher = maps((1, 3, 2, 2))
        nothing = torch.full((1, 2, 2), 255)
        assert adaptive_cross_entropy(student, teacher, nothing) == 0
        assert adaptive_cross_entropy(student, teacher, nothing, ignored="teacher") > 0


LABELS = labels_for((3, 6, 7), 5)
EVERY_LOSS = {
    "pixel_kd": pixel_kd,
    "pixel_kd masked": lambda s, t: pixel_kd(s, t, labels=LABELS),
    "channel_wise": channel_wise,
    "channel_wise reverse": lambda s, t: channel_wise(s, t, divergence="reverse"),
    "channel_wise symmetric": lambda s, t: channel_wise(s, t, divergence="symmetric"),
    "channel_wise class": lambda s, t: channel_wise(s, t, normalize="class"),
    "channel_wise mse": lambda s, t: channel_wise(s, t, divergence="mse"),
    "channel_wise raw": lambda s, t: channel_wise(s, t, normalize="none", divergence="mse"),
    **{f"csc {form}": lambda s, t, form=form: csc(s, t, form) for form in ("A", "A0", "B", "C", "D", "E")},
    "csc root": lambda s, t: csc(s, t, squared=False),
    "csc no zero shift": lambda s, t: csc(s, t, include_zero_shift=False),
    "ace hard": lambda s, t: adaptive_cross_entropy(s, t, LABELS),
    "ace soft": lambda s, t: adaptive_cross_entropy(s, t, LABELS, "soft"),
    "ace swap": lambda s, t: adaptive_cross_entropy(s, t, LABELS, "swap"),
    "cam_cka": cam_cka,
    "cam_cka attention": lambda s, t: cam_cka(s, t, gamma=0.5),
    "cam_cka pixels": lambda s, t: cam_cka(s, t, samples="pixels", estimator="unbiased", distance="one_minus"),
    "grid_pam_cka": grid_pam_cka,
    "grid_pam_cka attention": lambda s, t: grid_pam_cka(s, t, gamma=0.5, grid=2, projection="fixed"),
}
# the target of ACE has an entropy, and projections differ between student and teacher
ZERO_WHEN_EQUAL = [n for n in EVERY_LOSS if not n.startswith("ace") and n != "grid_pam_cka attention"]


@pytest.mark.parametrize("name", EVERY_LOSS)
class TestEveryLoss:
    def test_gradient_reaches_the_student_only(self, name):
        student, teacher = maps((3, 5, 6, 7))
        teacher.requires_grad_()
        value = EVERY_LOSS[name](student, teacher)
        value.backward()
        assert value.shape == ()
        assert teacher.grad is None
        assert student.grad.isfinite().all()
        assert student.grad.abs().max() > 0

    @pytest.mark.parametrize("scale", [1e4, 1e-6, 0.0])
    def test_extreme_maps_stay_finite(self, name, scale):
        student, teacher = maps((3, 5, 6, 7), scale=scale)
        value = EVERY_LOSS[name](student, teacher)
        value.backward()
        assert value.isfinite()
        assert student.grad.isfinite().all()

    def test_zero_vectors_beside_others_stay_finite(self, name):
        student, teacher = maps((3, 5, 6, 7))
        with torch.no_grad():
            student[:, :, 2:4] = 0
            teacher[:, :, 3:5] = 0
        value = EVERY_LOSS[name](student, teacher)
        value.backward()
        assert value.isfinite()
        assert student.grad.abs().max() < 1e3

    def test_autocast_changes_nothing(self, name):
        student, teacher = maps((3, 5, 6, 7), dtype=torch.bfloat16)
        full = EVERY_LOSS[name](student.detach().float(), teacher.float())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = EVERY_LOSS[name](student, teacher)
        value.backward()
        assert value.dtype == torch.float32
        assert student.grad.isfinite().all()
        torch.testing.assert_close(value.detach(), full, rtol=1e-5, atol=1e-7)

    def test_gradient_is_that_of_the_value(self, name):
        student, teacher = maps((3, 5, 4, 3), dtype=torch.float64)
        if name in ("pixel_kd masked", "ace hard", "ace soft", "ace swap"):
            student, teacher = maps((3, 5, 6, 7), dtype=torch.float64)
        value = EVERY_LOSS[name](student, teacher)
        (gradient,) = torch.autograd.grad(value, student)
        direction = torch.randn(student.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
        step = 1e-5
        with torch.no_grad():
            higher = EVERY_LOSS[name](student + step * direction, teacher)
            lower = EVERY_LOSS[name](student - step * direction, teacher)
        slope = (higher - lower) / (2 * step)
        torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("name", ZERO_WHEN_EQUAL)
def test_equal_maps_give_zero(name):
    student, _ = maps((3, 5, 6, 7))
    value = EVERY_LOSS[name](student, student.detach().clone())
    (gradient,) = torch.autograd.grad(value, student)
    assert abs(value.item()) < 3e-7
    assert gradient.abs().max() < 3e-7


@pytest.mark.parametrize("loss", [pixel_kd, channel_wise, csc, cam_cka, grid_pam_cka])
def test_maps_may_come_by_name(loss):
    student, teacher = maps((3, 5, 6, 7))
    assert loss(student=student, teacher=teacher) == loss(student, teacher)


@pytest.mark.parametrize("loss", [pixel_kd, channel_wise, csc, cam_cka, grid_pam_cka])
def test_maps_of_different_size_are_refused(loss):
    with pytest.raises(ValueError, match=r"equal height and width.*\(2, 3, 4, 4\).*\(2, 3, 5, 4\)"):
        loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 5, 4))


@pytest.mark.parametrize("loss", [pixel_kd, channel_wise])
def test_maps_of_different_channels_are_refused(loss):
    with pytest.raises(ValueError, match=r"equal channels.*\(2, 3, 4, 4\).*\(2, 4, 4, 4\)"):
        loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, 4))


def test_large_channel_ranges_do_not_break_channel_wise():
    """A softmax followed by a logarithm gives NaN from a range of about 104 T on."""
    student = torch.zeros(1, 1, 1, 3, requires_grad=True)
    teacher = torch.tensor([0.0, 500.0, 1000.0]).view(1, 1, 1, 3)
    value = channel_wise(teacher.clone().requires_grad_(), teacher.flip(-1).clone(), 1.0)
    assert value.item() == pytest.approx(1000.0)
    assert channel_wise(student, teacher, 1.0).item() == pytest.approx(math.log(3))
