import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from kdtrain.loop.evaluate import confusion_matrices, evaluate, predict
from kdtrain.loop.evaluation import Evaluation

CLASSES = ("road", "car", "sky", "pole")
CPU = torch.device("cpu")


class Pictures:
    """What `evaluate` needs of images. The network is `colors`: a pixel's largest channel is its class."""

    role, digest, classes = "select", "d1", CLASSES

    def __init__(self, sizes, seed=0, labels=(0, 1, 2, 255)):
        rng = np.random.default_rng(seed)
        self.pairs = [
            (rng.integers(0, 256, (*size, 3), dtype=np.uint8), rng.choice(np.uint8(labels), size)) for size in sizes
        ]
        self.ids = tuple(f"i{index}" for index in range(len(sizes)))
        self.groups = tuple(f"g{index // 2}" for index in range(len(sizes)))

    def __len__(self):
        return len(self.pairs)

    def get(self, index):
        return self.pairs[index]


def colors(pixels: Tensor) -> Tensor:
    """Logits of four classes, of which the last is never predicted."""
    return torch.cat([pixels, torch.full_like(pixels[:, :1], -1.0)], dim=1)


def slow_scores(pictures: Pictures):
    """By loops over pixels and classes, without a matrix."""
    true_labels, predicted_labels = [], []
    for image, labels in pictures.pairs:
        for row in range(labels.shape[0]):
            for column in range(labels.shape[1]):
                if labels[row, column] != 255:
                    true_labels.append(int(labels[row, column]))
                    predicted_labels.append(int(np.argmax(image[row, column])))
    scores = {"iou": [], "precision": [], "recall": [], "f1": []}
    for label in range(len(CLASSES)):
        both = sum(t == label and s == label for t, s in zip(true_labels, predicted_labels, strict=True))
        wrong = sum(t != label and s == label for t, s in zip(true_labels, predicted_labels, strict=True))
        missed = sum(t == label and s != label for t, s in zip(true_labels, predicted_labels, strict=True))
        nan = math.nan
        precision = both / (both + wrong) if both + wrong else nan
        recall = both / (both + missed) if both + missed else nan
        scores["iou"].append(both / (both + wrong + missed) if both + wrong + missed else nan)
        scores["precision"].append(precision)
        scores["recall"].append(recall)
        absent = both + wrong + missed == 0
        mean = 2 * precision * recall / (precision + recall) if both else 0.0
        scores["f1"].append(nan if absent else mean)
    present = [iou for iou in scores["iou"] if not math.isnan(iou)]
    right = sum(t == s for t, s in zip(true_labels, predicted_labels, strict=True))
    return scores, sum(present) / len(present), right / len(true_labels)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_scores_are_those_of_the_slow_definition(batch_size):
    pictures = Pictures([(7, 9), (7, 9), (5, 3), (7, 9), (1, 1)])
    evaluation = evaluate(colors, pictures, "select", batch_size, 1.0, CPU)
    scores, miou, accuracy = slow_scores(pictures)
    for name, values in scores.items():
        np.testing.assert_allclose(getattr(evaluation, name), values, rtol=1e-12, err_msg=name)
    assert evaluation.miou == pytest.approx(miou, rel=1e-12)
    assert evaluation.pixel_accuracy == pytest.approx(accuracy, rel=1e-12)
    assert evaluation.metrics == {"miou": evaluation.miou, "pixel_accuracy": evaluation.pixel_accuracy}
    assert (evaluation.image_ids, evaluation.groups) == (pictures.ids, pictures.groups)


def test_every_image_has_a_matrix_of_its_own_and_ignored_pixels_are_in_none():
    pictures = Pictures([(6, 5), (3, 8), (6, 5)])
    evaluation = evaluate(colors, pictures, "select", 2, 1.0, CPU)
    assert evaluation.confusion.shape == (3, 4, 4)
    assert evaluation.confusion.dtype == np.int64
    np.testing.assert_array_equal(evaluation.confusion.sum(axis=0), evaluation.total)
    for index, (_, labels) in enumerate(pictures.pairs):
        rows = [(labels == label).sum() for label in range(4)]
        np.testing.assert_array_equal(evaluation.confusion[index].sum(axis=1), rows)
        alone = Pictures([])
        alone.pairs, alone.ids, alone.groups = [pictures.pairs[index]], ("x",), ("g",)
        np.testing.assert_array_equal(
            evaluate(colors, alone, "select", 1, 1.0, CPU).confusion[0], evaluation.confusion[index]
        )


def by_hand(cells: list[list[int]]) -> Evaluation:
    matrix = np.array([cells], dtype=np.int64)
    return Evaluation("select", "d1", ("a",), ("g",), CLASSES[: len(cells)], matrix)


def test_a_class_that_is_absent_has_no_score_and_does_not_count_as_zero():
    evaluation = by_hand([[8, 2, 0], [0, 10, 0], [0, 0, 0]])
    np.testing.assert_allclose(evaluation.iou, [0.8, 10 / 12, np.nan])
    np.testing.assert_allclose(evaluation.precision, [1.0, 10 / 12, np.nan])
    np.testing.assert_allclose(evaluation.recall, [0.8, 1.0, np.nan])
    np.testing.assert_allclose(evaluation.f1, [16 / 18, 20 / 22, np.nan])
    assert evaluation.miou == pytest.approx((0.8 + 10 / 12) / 2)


def test_a_class_that_is_only_missed_or_only_imagined_counts_as_zero():
    missed, imagined = by_hand([[9, 0], [1, 0]]), by_hand([[9, 1], [0, 0]])
    np.testing.assert_allclose(missed.iou, [0.9, 0.0])
    np.testing.assert_allclose(missed.precision, [0.9, np.nan])
    np.testing.assert_allclose(missed.recall, [1.0, 0.0])
    np.testing.assert_allclose(imagined.iou, [0.9, 0.0])
    np.testing.assert_allclose(imagined.precision, [1.0, 0.0])
    np.testing.assert_allclose(imagined.recall, [0.9, np.nan])
    assert missed.f1[1] == imagined.f1[1] == 0.0
    assert missed.miou == imagined.miou == pytest.approx(0.45)


def test_where_no_pixel_counts_there_is_no_score():
    evaluation = evaluate(colors, Pictures([(4, 4)], labels=(255,)), "select", 1, 1.0, CPU)
    assert evaluation.confusion.sum() == 0
    assert evaluation.miou is None
    assert evaluation.pixel_accuracy is None
    assert evaluation.metrics == {}
    assert np.isnan(evaluation.iou).all()
    assert Evaluation.from_dict(evaluation.to_dict()).miou is None


def test_plain_values_and_back_is_exact():
    evaluation = evaluate(colors, Pictures([(7, 9), (5, 3), (1, 1)], seed=3), "select", 2, 1.0, CPU)
    back = Evaluation.from_dict(json.loads(json.dumps(evaluation.to_dict())))
    np.testing.assert_array_equal(back.confusion, evaluation.confusion)
    assert back.confusion.dtype == evaluation.confusion.dtype
    assert back.to_dict() == evaluation.to_dict()
    assert (back.role, back.digest, back.image_ids, back.groups, back.classes) == (
        "select", "d1", evaluation.image_ids, evaluation.groups, CLASSES,
    )  # fmt: skip


def test_many_classes_and_pixels_fit():
    matrix = np.zeros((2, 150, 150), dtype=np.int64)
    matrix[1, 149, 0] = 2**40
    evaluation = Evaluation("report", "d", ("a", "b"), ("g", "g"), tuple(map(str, range(150))), matrix)
    np.testing.assert_array_equal(Evaluation.from_dict(evaluation.to_dict()).confusion, matrix)


@pytest.mark.parametrize(
    ("scale", "seen"), [(0.5, [(4, 4), (2, 10)]), (1.7, [(15, 12), (8, 34)]), (0.01, [(1, 1), (1, 1)])]
)
def test_a_scale_changes_what_the_network_sees_and_never_the_labels(scale, seen):
    pictures, shapes = Pictures([(9, 7), (5, 20)]), []

    def network(pixels: Tensor) -> Tensor:
        shapes.append(tuple(pixels.shape[-2:]))
        return colors(pixels)

    evaluation = evaluate(network, pictures, "select", 4, scale, CPU)
    assert shapes == seen
    for index, (_, labels) in enumerate(pictures.pairs):
        np.testing.assert_array_equal(evaluation.confusion[index].sum(axis=1), [(labels == c).sum() for c in range(4)])


def triangle_filtered(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image `(h, w, 3)` brought to a smaller size by the triangle filter of the size of the output's pixels."""

    def weights(before: int, after: int) -> np.ndarray:
        step = before / after
        centers = (np.arange(after) + 0.5) * step
        distances = np.abs(np.arange(before) + 0.5 - centers[:, None]) / step
        triangle = np.maximum(0.0, 1.0 - distances)
        return triangle / triangle.sum(axis=1, keepdims=True)

    rows, columns = (weights(before, after) for before, after in zip(pixels.shape, size, strict=False))
    return np.einsum("hH,wW,HWc->hwc", rows, columns, pixels)


def test_an_image_is_made_smaller_without_aliasing():
    """Of every pixel of the image something reaches the network: the resize filter widens with the factor."""
    pictures, seen = Pictures([(24, 32)]), []

    def network(pixels: Tensor) -> Tensor:
        seen.append(pixels)
        return colors(pixels)

    evaluate(network, pictures, "select", 1, 0.25, CPU)
    expected = triangle_filtered(pictures.pairs[0][0] / 255, (6, 8))
    np.testing.assert_allclose(seen[0][0].permute(1, 2, 0).numpy(), expected, atol=1e-5)


def test_small_logits_are_brought_to_the_size_of_the_image():
    halves = torch.tensor([[5.0, -5.0]]).view(1, 1, 1, 2)
    predicted = predict(lambda pixels: torch.cat([halves, -halves], dim=1), torch.zeros(1, 3, 5, 6), 1.0)
    assert predicted.tolist() == [[[0, 0, 0, 1, 1, 1]] * 5]


def test_a_matrix_is_truth_by_prediction():
    labels = torch.tensor([[[0, 0, 1, 255]], [[2, 2, 200, 2]]], dtype=torch.uint8)
    predicted = torch.tensor([[[1, 0, 2, 2]], [[2, 0, 0, 2]]])
    counts = confusion_matrices(predicted, labels, 3)
    assert counts.tolist() == [[[1, 1, 0], [0, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 0], [1, 0, 2]]]


def test_logits_are_enlarged_from_corner_to_corner():
    """Logits 0 and 1 are 0, 1/4, 1/2, 3/4, 1 on five pixels; 0.8 beats all but the last."""
    logits = torch.tensor([[[[0.8, 0.8]], [[0.0, 1.0]]]])
    assert predict(lambda pixels: logits, torch.zeros(1, 3, 1, 5), 1.0).tolist() == [[[0, 0, 0, 0, 1]]]
