"""A package of somebody else: one file with a loss, a method and a data set, none of which kdsweep knows."""

import hashlib
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdtrain import InputError
from kdtrain.data import DataSet, DataSource
from kdtrain.losses import resize_map
from kdtrain.methods import Method, Term, TermInput
from kdtrain.methods.task import CrossEntropy
from kdtrain.space import Choice, Range


class Cosine(Term):
    """One minus the cosine between the pixels of two maps, to a power."""

    zero_at_teacher = True
    formula = "mean over pixels of (1 − cos(s, t))^power"

    power: int = Field(default=1, ge=1)
    """How much more the pixels count that differ more."""

    @property
    def equal_channels(self) -> bool:
        """Student and teacher must have equal channels at their layers."""
        return True

    def value(self, taps: TermInput) -> Tensor:
        """The loss of one batch."""
        student, teacher = taps.student.float(), taps.teacher.detach().float()
        cosine = F.cosine_similarity(student, resize_map(teacher, student.shape[-2:]), dim=1)
        return (1 - cosine).clamp(min=0).pow(self.power).mean()


COSINE_KD = Method(
    name="cosine_kd",
    title="Cosine between the logits of two networks",
    citation="Somebody Else, 2031",
    terms=(CrossEntropy(), Cosine(weight=2.0)),
    search={"cosine.weight": Range(low=0.1, high=10, log=True), "cosine.power": Choice(choices=(1, 2))},
    notes={"weight": "inferred: 2"},
)


class Stripes(DataSet):
    """Striped images of two classes, drawn anew whenever they are read."""

    side: int = Field(default=32, ge=32)
    """Height and width in pixels."""
    count: int = Field(default=8, ge=1)
    """Images of every role."""

    def open(self, data_root: Path | None) -> DataSource:
        """Nothing is read from `data_root`."""
        return StripeSource(self)


class StripeSource:
    """See `kdtrain.data.DataSource` for what the methods promise."""

    classes = ("dark", "light")
    palette = ((0, 0, 90), (250, 250, 120))
    ignore_index = 255

    def __init__(self, config: Stripes) -> None:
        self.config = config

    def ids(self, role: str) -> tuple[str, ...]:
        if role not in ("train", "select", "test"):
            raise InputError(f"stripes have the roles train, select, test, got {role!r}")
        return tuple(f"{role}-{number}" for number in range(self.config.count))

    def group(self, image_id: str) -> str:
        return image_id

    def read(self, role: str, image_id: str) -> tuple[np.ndarray, np.ndarray]:
        seed = int.from_bytes(hashlib.blake2b(image_id.encode(), digest_size=4).digest(), "big")
        rng = np.random.default_rng(seed)
        labels = np.zeros((self.config.side, self.config.side), dtype=np.uint8)
        labels[:, rng.integers(self.config.side // 2) :: 3] = 1
        image = 60 + 120 * labels[..., None] + rng.integers(60, size=(*labels.shape, 3))
        return image.astype(np.uint8), labels

    def listing(self, role: str) -> str:
        return self.digest(role)

    def digest(self, role: str) -> str:
        text = f"stripes {self.config.side} {self.config.count} {role}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
