"""What a calibration of pulls finds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True)
class Calibration:
    """Lengths of gradients on an untaught student.

    Attributes:
        steps: The steps of the untaught training after which they were measured.
        task: The length of the gradient of cross-entropy after each of them, a mean over batches.
        lengths: That of each term at weight 1, by its key.
    """

    steps: tuple[int, ...]
    task: tuple[float, ...]
    lengths: Mapping[str, tuple[float, ...]]

    def ratio(self, key: str) -> float:
        """The pull of a term at weight 1: the geometric mean over the steps at which it has a gradient; 0 if at none.

        Raises:
            KeyError: If the term was not measured.
        """
        logs = [math.log(length / task) for length, task in zip(self.lengths[key], self.task, strict=True) if length]
        return math.exp(fmean(logs)) if logs else 0.0
