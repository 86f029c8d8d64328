"""What an evaluation finds: confusion matrices, and the metrics that follow from them."""

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Evaluation:
    """What a network predicted on one role of the data.

    Attributes:
        role: The role.
        digest: Digest of the role's images and labels.
        image_ids: The images, in order.
        groups: Sequence or city of every image.
        classes: Class names.
        confusion: Pixels, `(images, classes, classes)`, truth by prediction; ignored pixels are in no cell.
    """

    role: str
    digest: str
    image_ids: tuple[str, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...]
    confusion: np.ndarray[Any, np.dtype[np.int64]]

    @property
    def total(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The confusion matrix over the data set, `(classes, classes)`."""
        total: np.ndarray[Any, np.dtype[np.int64]] = self.confusion.sum(axis=0)
        return total

    @property
    def iou(self) -> Floats:
        """Intersection over union per class; NaN for a class that is in neither truth nor prediction."""
        hits = np.diag(self.total)
        return _ratio(hits, self.total.sum(axis=0) + self.total.sum(axis=1) - hits)

    @property
    def precision(self) -> Floats:
        """Share of a class's predicted pixels that are right; NaN where none was predicted."""
        return _ratio(np.diag(self.total), self.total.sum(axis=0))

    @property
    def recall(self) -> Floats:
        """Share of a class's true pixels that were predicted; NaN where there are none."""
        return _ratio(np.diag(self.total), self.total.sum(axis=1))

    @property
    def f1(self) -> Floats:
        """Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN); NaN for an absent class."""
        hits = np.diag(self.total)
        return _ratio(2 * hits, self.total.sum(axis=0) + self.total.sum(axis=1))

    @property
    def miou(self) -> float | None:
        """Mean IoU over the classes that occur; none where no pixel counts."""
        present = self.iou[~np.isnan(self.iou)]
        return float(present.mean()) if present.size else None

    @property
    def pixel_accuracy(self) -> float | None:
        """Share of right pixels; none where no pixel counts."""
        pixels = self.total.sum()
        return float(np.diag(self.total).sum() / pixels) if pixels else None

    @property
    def metrics(self) -> dict[str, float]:
        """The scalar metrics by name."""
        values = {"miou": self.miou, "pixel_accuracy": self.pixel_accuracy}
        return {name: value for name, value in values.items() if value is not None}

    def to_dict(self) -> dict[str, object]:
        """Plain values; of the confusion matrices the non-zero cells, compressed."""
        cells = np.nonzero(self.confusion)
        table = np.stack([*cells, self.confusion[cells]]).astype("<i8")
        return {
            "role": self.role,
            "digest": self.digest,
            "image_ids": list(self.image_ids),
            "groups": list(self.groups),
            "classes": list(self.classes),
            "cells": base64.b64encode(zlib.compress(table.tobytes(), 6)).decode(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Evaluation":
        """The inverse of `to_dict`."""
        table = np.frombuffer(zlib.decompress(base64.b64decode(content["cells"])), dtype="<i8").reshape(4, -1)
        num_classes = len(content["classes"])
        confusion = np.zeros((len(content["image_ids"]), num_classes, num_classes), dtype=np.int64)
        confusion[table[0], table[1], table[2]] = table[3]
        return cls(
            role=content["role"],
            digest=content["digest"],
            image_ids=tuple(content["image_ids"]),
            groups=tuple(content["groups"]),
            classes=tuple(content["classes"]),
            confusion=confusion,
        )


def _ratio(part: np.ndarray[Any, Any], whole: np.ndarray[Any, Any]) -> Floats:
    ratio: Floats = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return ratio
