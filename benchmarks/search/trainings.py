"""What a policy trains on: the curve of any config and seed, and what the config is truly worth."""

import hashlib
import json
from typing import Protocol

import numpy as np

from search.tables import Params, Space


class Trainings(Protocol):
    """The trainings of one study in one repetition.

    Seed 0 is that of the search, seeds from 1 are fresh. The same config and seed always have the same curve.
    """

    space: Space
    epochs: int
    default: Params | None
    """The published config; none if there is none."""
    best: float
    """What the best config is worth."""

    def curve(self, params: Params, seed: int) -> np.ndarray:
        """The scores of a training, in percent, `(epochs,)`."""

    def worth(self, params: Params) -> float:
        """The mean score over seeds after the last epoch, in percent."""


def generator(*names: object) -> np.random.Generator:
    """A generator that depends on the names alone."""
    digest = hashlib.sha256(json.dumps(names, default=repr).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))
