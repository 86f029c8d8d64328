"""`TrainConfig`, all that decides a run's result, and `Machine`, all that does not."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from kdtrain.config_base import Strict
from kdtrain.data import Augment, DataConfig, Streets, Unlabelled
from kdtrain.errors import InputError
from kdtrain.explain import sentence
from kdtrain.methods import METHODS, AnyTerm, Term
from kdtrain.methods.schedule import WeightSchedule
from kdtrain.models import Network

AUX = "aux"
"""Layer and term of the auxiliary head."""


TeacherOrder = Literal["own", "shuffled"]
Rounding = Literal["none", "float16", "bfloat16"]

_LATER = {"teacher_order": "own", "teacher_rounding": "none", "views": None, "unlabelled": None}
_LATER_IN_TERMS: dict[str, Any] = {
    "smoothing": 0.0,
    "schedule": WeightSchedule().model_dump(),
    "counted": "adapted",
    "keep_hardest": 1.0,
    "hard_below": 0.7,
    "boundary_weight": 0.0,
    "boundary_radius": 1,
    "confidence": 0.0,
}
"""Fields younger than the first configs, with the values that change nothing: there the hash leaves them out."""


class Optimizer(Strict):
    """How the weights are moved."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(default=0.02, gt=0)
    """Learning rate at the start of the schedule, after warm-up."""
    weight_decay: float = Field(default=1e-4, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD; AdamW's betas are 0.9 and 0.999."""


class Schedule(Strict):
    """The learning rate over the steps of a run."""

    name: Literal["poly", "cosine", "constant"] = "poly"
    power: float = Field(default=0.9, gt=0)
    """Exponent of `poly`: lr * (1 - step / steps) ** power."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """Epochs of linear rise from 0."""

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """What the learning rate is multiplied by at `step` of `steps`, counted from 0."""
        warmup = self.warmup_epochs * steps_per_epoch
        rise = min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0
        progress = step / steps
        fall = {
            "poly": (1 - progress) ** self.power,
            "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
            "constant": 1.0,
        }[self.name]
        return rise * fall


class TrainConfig(Strict):
    """All that decides what one training gives, its seed included."""

    data: DataConfig = Field(default_factory=Streets)
    augment: Augment = Field(default_factory=Augment)
    student: Network = Field(default_factory=Network)
    teacher: str | None = None
    """The digest of the teacher folder; which folder that is, the machine knows."""
    terms: tuple[AnyTerm, ...] = METHODS["none"].terms
    """The losses; a weight of 0 computes nothing."""
    teacher_order: TeacherOrder = "own"
    """What the teacher says of each image: `own`, or, as a placebo, of another one of the batch (`shuffled`)."""
    teacher_rounding: Rounding = "none"
    """The type to which what the teacher says is rounded, whether it is recorded or not: `float16` and `bfloat16` take
    half the disk. Relative error 5e-4 and 4e-3; float16 ends at 65504."""
    aux_weight: float = Field(default=0.4, ge=0)
    """Weight of cross-entropy at the auxiliary head, for networks that have one (in evaluation mode, too)."""
    optimizer: Optimizer = Field(default_factory=Optimizer)
    schedule: Schedule = Field(default_factory=Schedule)
    epochs: int = Field(default=10, gt=0)
    batch_size: int = Field(default=8, gt=0)
    """Labelled images in every batch."""
    unlabelled: Unlabelled | None = None
    """Images without labels that come beside the labelled ones, for the teacher to speak of."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient; none for no clipping."""
    views: int | None = Field(default=None, gt=0)
    """After so many epochs their augmented batches come again, in another order; none for ever new ones."""
    evaluate_every: int = Field(default=1, gt=0)
    """Epochs between evaluations on the select role; the last epoch always is evaluated."""
    eval_scale: float = Field(default=1.0, gt=0)
    """Factor on the image's size before the network sees it at evaluation; logits are brought to the size of
    the labels, and labels are never resized."""
    seed: int = Field(default=0, ge=0)
    data_seed: int | None = Field(default=None, ge=0)
    """Seed of the order and augmentation of samples; `seed` where none is given."""

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        names = [term.name for term in self.terms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"terms: the names must differ, but {', '.join(twice)} comes twice; give one a name of its own"
            )
        if AUX in names:
            raise ValueError(f"terms: the name {AUX} is kept for the auxiliary head, weighed by aux_weight")
        if not self.active_terms:
            raise ValueError("terms: at least one term must have a weight above 0")
        if all(term.schedule.stop < 1 for term in self.active_terms):
            raise ValueError("terms: one at least must go on to the end, but the schedules stop all of them before")
        taught = [term.name for term in self.active_terms if term.needs_teacher]
        if taught and self.teacher is None:
            raise ValueError(f"teacher: {taught[0]} needs a teacher, but none is given")
        for term in self.active_terms:
            if self.batch_size < term.smallest_batch:
                raise ValueError(
                    f"batch_size: {term.name} needs at least {term.smallest_batch} images in a batch, "
                    f"got {self.batch_size}"
                )
        if self.teacher_order == "shuffled" and taught and self.batch_size < 2:
            raise ValueError("teacher_order: shuffled needs at least 2 images in a batch, but batch_size is 1")
        return self

    @property
    def active_terms(self) -> tuple[Term, ...]:
        """The terms that are computed."""
        return tuple(term for term in self.terms if term.weight > 0)

    @property
    def uses_teacher(self) -> bool:
        """Whether any active term looks at the teacher."""
        return any(term.needs_teacher for term in self.active_terms)

    @property
    def sample_seed(self) -> int:
        """The seed that samples and their order depend on."""
        return self.seed if self.data_seed is None else self.data_seed

    @property
    def shared_counts(self) -> dict[str, int]:
        """By field, how many images of a kind are in a batch: several processes take equal shares of each."""
        further = {} if self.unlabelled is None else {"unlabelled.per_batch": self.unlabelled.per_batch}
        return {"batch_size": self.batch_size, **further}

    @property
    def images_per_step(self) -> int:
        """Images in a batch, with and without labels."""
        return sum(self.shared_counts.values())

    @property
    def config_id(self) -> str:
        """Hash of everything but the seed: runs that differ by their seed alone share it."""
        content = _without_later(self.model_dump(mode="json", exclude={"seed"}), _LATER)
        content["data"] = self.data.hashed()
        content["terms"] = [_without_later(term, _LATER_IN_TERMS) for term in content["terms"]]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> "TrainConfig":
        """Read a config from plain values.

        Raises:
            InputError: In one sentence, with the field named.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InputError(sentence(error, cls)) from None


class Replay(Strict):
    """A store of samples and of what teachers say about them, shared by all trainings of this node."""

    folder: Path
    """On a local disk; made if missing."""
    max_bytes: int = Field(default=20 * 10**9, ge=0)
    """What it may take; what was used longest ago goes first."""
    layers: tuple[str, ...] | None = None
    """Layers of the teacher to record, all of them by whoever comes first; none: those whose maps a training looks at.
    It is asked anew for others."""
    kernels: bool = True
    """Whether what single losses have to know of the teacher is recorded as well, where that is less than its maps."""
    views: int | None = Field(default=None, ge=0)
    """Only so many first views are recorded, where more find no room: one would always drive out the next to come."""


class Machine(Strict):
    """Where and with what a run is done; nothing of it belongs to the config."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, ..."""
    threads: int | None = Field(default=None, gt=0)
    """CPU threads of torch; none leaves torch's own choice."""
    workers: int = Field(default=0, ge=0)
    """Processes that make samples, for each training process; 0 makes them in the training process itself."""
    processes: int = Field(default=1, ge=1)
    """Processes of this node that share every batch, each on a GPU of its own (or all on the CPU)."""
    data_root: Path = Field(default_factory=lambda: Path(os.environ.get("KDSWEEP_DATA", "data")))
    """The folder in which data sets lie."""
    cache: Path = Field(
        default_factory=lambda: Path(os.environ.get("KDSWEEP_CACHE", Path.home() / ".cache" / "kdsweep"))
    )
    """The folder for decoded data, shared by all runs of the machine."""
    weights: Path | None = Field(
        default_factory=lambda: Path(folder) if (folder := os.environ.get("KDSWEEP_WEIGHTS")) else None
    )
    """A folder of published encoder weights, `<encoder>.safetensors`, for machines that reach no hub."""
    teacher: Path | None = None
    """The teacher folder."""
    replay: Replay | None = None
    """Where samples and the teacher's maps are recorded and read; none makes them anew in every training."""
    amp: Literal["auto", "off", "bfloat16", "float16"] = "auto"
    """Mixed precision: `auto` is bfloat16 or float16 on a GPU, and off on a CPU."""


def _without_later(content: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in later or value != later[key]}
