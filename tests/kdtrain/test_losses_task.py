"""Losses against the labels: definitions in float64 loops."""

import pytest
import torch
import torch.nn.functional as F
from loss_checks import SHAPES, check, compiles, labels_for, maps

from kdtrain.config import TrainConfig
from kdtrain.losses import cross_entropy, dice
from kdtrain.losses.task import near_boundary

torch.set_num_threads(1)


def labelled(labels):
    return [tuple(place) for place in (labels != 255).nonzero().tolist()]


def entropies(scores, labels):
    """Cross-entropy at every labelled pixel, in the order of `labelled`."""
    log = scores - torch.logsumexp(scores, 1, keepdim=True)
    return [-log[n, labels[n, y, x], y, x] for n, y, x in labelled(labels)]


def near(labels, radius):
    found = []
    for n, y, x in labelled(labels):
        window = labels[n, max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1]
        found.append(bool(((window != labels[n, y, x]) & (window != 255)).any()))
    return found


@pytest.mark.parametrize("shape", SHAPES)
class TestHardPixels:
    @pytest.mark.parametrize(("share", "below"), [(0.25, 0.0), (0.1, 0.5), (0.0, 0.3), (0.9, 0.1), (1.0, 0.0)])
    def test_definition(self, shape, share, below):
        student, _ = maps(shape)
        labels = labels_for((shape[0], *shape[2:]), shape[1])

        def definition(s, _):
            values = entropies(s, labels)
            order = sorted(range(len(values)), key=lambda i: -values[i].item())
            count = int(torch.ceil(torch.tensor(share * len(values))))
            kept = {i for i, v in enumerate(values) if (-v).exp() < below} | set(order[:count])
            return sum(values[i] for i in kept) / len(kept)

        check(lambda s, _: cross_entropy(s, labels, keep_hardest=share, hard_below=below), definition, student, student)

    def test_it_chooses_by_the_true_class_whatever_the_smoothing(self, shape):
        student, _ = maps(shape)
        labels = labels_for((shape[0], *shape[2:]), shape[1])
        values = torch.stack(entropies(student.double(), labels))
        kept = values.sort(descending=True).indices[: -(-len(values) // 4)]
        log = student.double().log_softmax(1)
        even = -torch.stack([log[n, :, y, x].mean() for n, y, x in labelled(labels)])
        expected = (0.8 * values + 0.2 * even)[kept].mean()
        found = cross_entropy(student.double(), labels, smoothing=0.2, keep_hardest=0.25, hard_below=0.0)
        torch.testing.assert_close(found, expected)


def test_pixels_equal_to_the_last_that_counts_count_too():
    labels = torch.zeros(1, 2, 4, dtype=torch.int64)
    student = torch.zeros(1, 3, 2, 4)
    student[0, 1, 0] = 1.0
    hard = F.cross_entropy(student[..., :1, :], labels[:, :1])
    torch.testing.assert_close(cross_entropy(student, labels, keep_hardest=0.01, hard_below=0.0), hard)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [1, 2])
def test_boundary_pixels_weigh_more(shape, radius):
    student, _ = maps(shape)
    labels = labels_for((shape[0], *shape[2:]), 2)

    def definition(s, _):
        weights = [1 + 3.0 * is_near for is_near in near(labels, radius)]
        return sum(w * v for w, v in zip(weights, entropies(s, labels), strict=True)) / sum(weights)

    check(
        lambda s, _: cross_entropy(s, labels, boundary_weight=3.0, boundary_radius=radius), definition, student, student
    )


def test_a_boundary_is_between_labelled_pixels_alone():
    labels = torch.tensor([[[0, 0, 0, 255, 1, 1, 2]]])
    assert near_boundary(labels, 1).tolist() == [[[False, False, False, False, False, True, True]]]
    assert near_boundary(labels, 2).tolist() == [[[False, False, True, False, True, True, True]]]
    assert not near_boundary(torch.full((2, 5, 5), 255), 3).any()
    assert not near_boundary(torch.full((2, 5, 5), 7), 3).any()


def test_hard_pixels_and_boundaries_work_together():
    student, _ = maps((2, 4, 6, 7))
    labels = labels_for((2, 6, 7), 4)
    values, is_near = torch.stack(entropies(student, labels)), torch.tensor(near(labels, 1))
    kept = values.sort(descending=True).indices[: -(-len(values) // 3)]
    weights = 1 + 2.0 * is_near[kept]
    expected = (weights * values[kept]).sum() / weights.sum()
    found = cross_entropy(student, labels, keep_hardest=1 / 3, hard_below=0.0, boundary_weight=2.0)
    torch.testing.assert_close(found, expected)


def dice_by_loops(s, labels, scope, squared, skip_absent, smooth):
    p = s.softmax(1)
    groups = [range(len(s))] if scope == "batch" else [[n] for n in range(len(s))]
    values = []
    for group in groups:
        places = [place for place in labelled(labels) if place[0] in group]
        for k in range(s.shape[1]):
            probability = torch.stack([p[n, k, y, x] for n, y, x in places]) if places else torch.zeros(0)
            truth = torch.tensor([float(labels[place] == k) for place in places])
            if not places and not skip_absent:
                continue
            if skip_absent and not truth.any():
                continue
            below = (probability.square() if squared else probability).sum() + truth.sum() + smooth
            values.append(1 - (2 * (probability * truth).sum() + smooth) / below)
    return sum(values) / len(values)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scope", ["batch", "image"])
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("skip_absent", [False, True])
def test_dice_definition(shape, scope, squared, skip_absent):
    student, _ = maps(shape)
    labels = labels_for((shape[0], *shape[2:]), max(shape[1] - 1, 1))  # the last class is absent
    options = {"scope": scope, "squared": squared, "skip_absent": skip_absent, "smooth": 0.5}
    check(lambda s, _: dice(s, labels, **options), lambda s, _: dice_by_loops(s, labels, **options), student, student)


TASK_LOSSES = {
    "cross_entropy": cross_entropy,
    "ohem": lambda s, y, **k: cross_entropy(s, y, keep_hardest=0.2, **k),
    "boundary": lambda s, y, **k: cross_entropy(s, y, boundary_weight=2.0, boundary_radius=2, **k),
    "dice": dice,
    "dice per image": lambda s, y, **k: dice(s, y, scope="image", squared=True, **k),
}


@pytest.mark.parametrize("name", TASK_LOSSES)
class TestEveryTaskLoss:
    def test_logits_are_resized_to_the_labels(self, name):
        student, _ = maps((2, 4, 3, 5))
        labels = labels_for((2, 9, 11), 4)
        for align in (True, False):
            resized = F.interpolate(student, size=(9, 11), mode="bilinear", align_corners=align)
            found = TASK_LOSSES[name](student, labels, align_corners=align)
            torch.testing.assert_close(found, TASK_LOSSES[name](resized, labels))

    def test_no_labelled_pixel_gives_zero(self, name):
        student, _ = maps((2, 4, 3, 3))
        value = TASK_LOSSES[name](student, torch.full((2, 3, 3), 255))
        value.backward()
        assert value == 0
        assert student.grad.abs().max() == 0

    @pytest.mark.parametrize("scale", [1e4, 1e-6, 0.0])
    def test_extreme_logits_stay_finite(self, name, scale):
        student, _ = maps((2, 4, 6, 7), scale=scale)
        value = TASK_LOSSES[name](student, labels_for((2, 6, 7), 4))
        value.backward()
        assert value.isfinite()
        assert student.grad.isfinite().all()

    def test_autocast_changes_nothing(self, name):
        student, _ = maps((2, 4, 6, 7), dtype=torch.bfloat16)
        labels = labels_for((2, 6, 7), 4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = TASK_LOSSES[name](student, labels)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, TASK_LOSSES[name](student.detach().float(), labels))


def test_they_compile_with_their_options_as_tensors():
    student, _ = maps((2, 4, 6, 7))
    labels = labels_for((2, 12, 14), 4)
    share, weight = torch.tensor(0.2), torch.tensor(2.0)
    compiles(cross_entropy, student, labels, keep_hardest=share, hard_below=weight / 4, boundary_weight=weight)
    compiles(dice, student, labels, smooth=weight)


def test_their_options_are_part_of_a_config():
    plain = TrainConfig().config_id
    for field, value in {"keep_hardest": 0.5, "hard_below": 0.5, "boundary_weight": 1.0, "boundary_radius": 2}.items():
        config = TrainConfig.parse({"terms": [{"loss": "cross_entropy", field: value}]})
        assert config.config_id != plain
