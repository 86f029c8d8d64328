"""`TrainConfig`, which decides the result of a training, and `Machine`, which does not."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from kdtrain.config_base import Seed, Strict
from kdtrain.data import Augment, DataConfig, Streets, Unlabelled
from kdtrain.errors import InputError
from kdtrain.explain import sentence
from kdtrain.foreign import current_stand_in, references, require_trust
from kdtrain.local_path import local_path
from kdtrain.methods import METHODS, AnyTerm, Term
from kdtrain.methods.schedule import WeightSchedule
from kdtrain.methods.stages import Stages
from kdtrain.models import Network

AUX = "aux"
"""Layer and term of the auxiliary head."""


def _absolute(value: object) -> object:
    return str(local_path(value)) if isinstance(value, str | Path) else value


LocalPath = Annotated[Path, BeforeValidator(_absolute)]
"""A field that holds an absolute path of this machine."""
TeacherOrder = Literal["own", "shuffled"]
Rounding = Literal["none", "float16", "bfloat16"]

_ADDED_FIELDS: Mapping[str, object] = {
    "teacher_order": "own",
    "teacher_rounding": "none",
    "views": None,
    "unlabelled": None,
    "eval_batch_size": None,
    "ema": {"half_life": 0.0},
    "stages": Stages().model_dump(),
}
_ADDED_TERM_FIELDS: Mapping[str, object] = {
    "smoothing": 0.0,
    "schedule": WeightSchedule().model_dump(),
    "counted": "adapted",
    "keep_hardest": 1.0,
    "hard_below": 0.7,
    "boundary_weight": 0.0,
    "boundary_radius": 1,
    "confidence": 0.0,
}
_ADDED_LOSS_FIELDS: Mapping[str, Mapping[str, object]] = {
    "pixel_similarity": {"reduction": "mean"},
    "local_affinity": {"contrast": "absolute"},
    "masked_generation": {"reduction": "image"},
    "holistic": {"view": None},
}
"""Fields that were added after the first configs, to all terms and to those of one loss, with the values that change
nothing: `config_id` leaves those out."""
_FIRST_LAYER_NAMES: Mapping[str, str] = {"encoder.last": "encoder.5"}
"""What `config_id` calls a layer: the deepest stage of an encoder had no name of its own in the first configs."""

_EMA_WARMUP = 9
"""A moving average after n steps keeps at most n / (n + 9) of itself: the mean age of its weights is n / 10 steps."""


class Optimizer(Strict):
    """How the weights are updated."""

    name: Literal["sgd", "adamw"] = "sgd"
    """The algorithm."""
    lr: float = Field(default=0.02, gt=0)
    """Learning rate at the start of the schedule, after warm-up."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """What pulls weights to 0."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD; AdamW's betas are 0.9 and 0.999."""


class Schedule(Strict):
    """The learning rate over the steps of a training."""

    name: Literal["poly", "cosine", "constant"] = "poly"
    """How it falls."""
    power: float = Field(default=0.9, gt=0)
    """Exponent of `poly`: lr * (1 - step / steps) ** power."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """Epochs over which the rate rises linearly from 0."""

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """The factor on the learning rate at `step` of `steps`, counted from 0."""
        warmup = self.warmup_epochs * steps_per_epoch
        rise = min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0
        progress = step / steps
        falls: dict[str, float] = {
            "poly": (1 - progress) ** self.power,
            "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
            "constant": 1.0,
        }
        return rise * falls[self.name]


class Ema(Strict):
    """The exponential moving average of the student's weights, which is evaluated and saved as the student."""

    half_life: float = Field(default=0.0, ge=0)
    """Epochs after which the weights of a step count half as much; 0 averages nothing. In epochs it means the same at
    every batch size and length of the training. The mean age of the averaged weights is at most a tenth of the training
    so far, so that early evaluations are those of a trained student, too."""

    def decay(self, step: int, steps_per_epoch: int) -> float:
        """The share of the average that a step keeps, after `step` finished steps; the first keeps nothing.

        The warm-up `(1 + n) / (10 + n)` is that of TensorFlow's `ExponentialMovingAverage`, with n counted from the
        second step on: the untrained weights are no part of the average.
        """
        if self.half_life == 0:
            return 0.0
        return min(math.exp2(-1 / (self.half_life * steps_per_epoch)), step / (step + _EMA_WARMUP))

    @staticmethod
    def longest(epochs: int) -> float:
        """The half-life that the warm-up allows at the end of so many epochs; a longer one changes nothing."""
        return epochs * math.log(2) / _EMA_WARMUP


class TrainConfig(Strict):
    """Everything that decides the result of one training, its seed included."""

    data: DataConfig = Field(default_factory=Streets)
    """The images and their labels."""
    augment: Augment = Field(default_factory=Augment)
    """How training images are varied."""
    student: Network = Field(default_factory=Network)
    """The network that is trained."""
    teacher: str | None = None
    """The digest of the teacher; `Machine.teacher` says in which folder it lies."""
    terms: tuple[AnyTerm, ...] = METHODS["none"].terms
    """The losses; a weight of 0 computes nothing."""
    teacher_order: TeacherOrder = "own"
    """Whose teacher maps an image is compared with: its own, or, as a placebo, those of another image of its batch."""
    teacher_rounding: Rounding = "none"
    """The type to which the teacher's maps are rounded, whether they are recorded or not: `float16` and `bfloat16` take
    half the disk. Their relative errors are 5e-4 and 4e-3; float16 ends at 65504."""
    aux_weight: float = Field(default=0.4, ge=0)
    """Weight of the cross-entropy at the auxiliary head, for networks that have such a head in evaluation mode, too."""
    optimizer: Optimizer = Field(default_factory=Optimizer)
    """How weights are updated."""
    schedule: Schedule = Field(default_factory=Schedule)
    """How the learning rate falls."""
    stages: Stages = Field(default_factory=Stages)
    """Whether inner layers are compared first, and the task is learned after that."""
    ema: Ema = Field(default_factory=Ema)
    """A moving average of the weights, which is evaluated and saved."""
    epochs: int = Field(default=10, gt=0, le=10**9)
    """How often every training image is seen."""
    batch_size: int = Field(default=8, gt=0, le=10**9)
    """Labelled images in every batch."""
    unlabelled: Unlabelled | None = None
    """Images without labels in every batch, from which the student learns through the teacher alone."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient; `null` does not clip."""
    views: int | None = Field(default=None, gt=0)
    """After so many epochs their augmented batches are repeated, in another order; `null` never repeats them."""
    evaluate_every: int = Field(default=1, gt=0)
    """Epochs between evaluations on role select; the last epoch is always evaluated."""
    eval_scale: float = Field(default=1.0, gt=0)
    """Factor by which images are resized before an evaluation; logits are resized to the labels, which keep their
    size."""
    eval_batch_size: int | None = Field(default=None, gt=0)
    """Images that go through the network together in an evaluation, at their full size; `null` takes `batch_size`."""
    seed: Seed = 0
    """Of initial weights, order, dropout and whatever else is drawn."""
    data_seed: Seed | None = None
    """Seed of the order and augmentation of samples; `null` takes `seed`."""

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        names = [term.name for term in self.terms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"terms: the names must differ, got {', '.join(twice)} twice; set `name` in one of these terms"
            )
        if AUX in names:
            raise ValueError(f"terms: the name {AUX} belongs to the auxiliary head (see aux_weight); choose another")
        if lacking := [term.name for term in self.terms if term.lacks_weight]:
            raise ValueError(
                f"terms.{lacking[0]}.pull: becomes a weight by the calibration of a sweep; give the weight, too, or "
                "train in a sweep"
            )
        if not self.active_terms:
            raise ValueError("terms: at least one term must have a weight above 0")
        self._check_stages()
        distilling = [term.name for term in self.active_terms if term.needs_teacher]
        if distilling and self.teacher is None:
            raise ValueError(f"teacher: {distilling[0]} needs a teacher, got none")
        for term in self.active_terms if current_stand_in() is None else ():  # what is only read has been trained
            if self.batch_size < term.smallest_batch:
                reason = f": {term.too_few_images}" if term.too_few_images else ""
                raise ValueError(
                    f"batch_size: {term.name} needs at least {term.smallest_batch} images in a batch, "
                    f"got {self.batch_size}{reason}"
                )
        if self.teacher_order == "shuffled" and distilling and self.batch_size < 2:
            raise ValueError("teacher_order: shuffled needs at least 2 images in a batch, got batch_size 1")
        return self

    def _check_stages(self) -> None:
        """Raise ValueError if some steps would have no loss."""
        stages, first = self.used_stages, [term for term in self.active_terms if term.compares_features]
        last = self.active_terms if stages.features_after else [t for t in self.active_terms if t not in first]
        if all(term.schedule.stop < 1 for term in last):
            of_last = " of a term that does not compare inner layers" if not stages.features_after else ""
            raise ValueError(f"terms: at least one schedule{of_last} must have stop 1, or the last steps have no loss")
        if stages.features > 0 and all(term.schedule.stop < stages.features for term in first):
            raise ValueError(
                f"stages.features: must be at most schedule.stop of a term that compares inner layers, "
                f"{max(term.schedule.stop for term in first):g}, or steps of the first stage have no loss; got "
                f"{stages.features:g}"
            )

    @property
    def used_stages(self) -> Stages:
        """The stages; there is one alone if no active term compares inner layers."""
        return self.stages if any(term.compares_features for term in self.active_terms) else Stages()

    @property
    def active_terms(self) -> tuple[Term, ...]:
        """The terms whose weight is above 0; only these are computed."""
        return tuple(term for term in self.terms if term.weight > 0)

    @property
    def uses_teacher(self) -> bool:
        """Whether any active term needs the teacher."""
        return any(term.needs_teacher for term in self.active_terms)

    @property
    def sample_seed(self) -> int:
        """The seed of the samples and their order."""
        return self.seed if self.data_seed is None else self.data_seed

    @property
    def shared_counts(self) -> dict[str, int]:
        """Images in a batch by the field that sets them: several processes take equal shares of each."""
        unlabelled = {} if self.unlabelled is None else {"unlabelled.per_batch": self.unlabelled.per_batch}
        return {"batch_size": self.batch_size, **unlabelled}

    @property
    def images_per_evaluation(self) -> int:
        """Images in a batch of an evaluation."""
        return self.eval_batch_size or self.batch_size

    @property
    def images_per_step(self) -> int:
        """Images in a batch, with and without labels."""
        return sum(self.shared_counts.values())

    @property
    def config_id(self) -> str:
        """Hash of everything but the seed, and the pulls, which change no training."""
        content = {
            **_without(_ADDED_FIELDS, self.model_dump(mode="json", exclude={"seed", "data", "terms"})),
            "data": self.data.hashed(),
            "terms": [
                _first_names(_without(_added_fields(term), term.model_dump(mode="json", exclude={"pull"})))
                for term in self.terms
            ],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def parse(cls, content: Mapping[str, object]) -> "TrainConfig":
        """Read a config from plain values.

        Raises:
            InputError: If a field is unknown or its value is not allowed; the sentence names the field. Also if the
                config names code that is not trusted.
        """
        require_trust(references(content), "the config ")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InputError(sentence(error, cls)) from None


class Replay(Strict):
    """A store of recorded samples and teacher maps, shared by all trainings of this node."""

    folder: LocalPath
    """A folder on a local disk; made if missing."""
    max_bytes: int = Field(default=20 * 10**9, ge=0)
    """The most that the store may hold, in bytes; what was used longest ago is deleted first."""
    layers: tuple[str, ...] | None = None
    """Layers of the teacher that the first training to run records; `null` records the layers of its own terms. Other
    layers are computed live."""
    kernels: bool = True
    """Whether a loss whose `TeacherKernel` is smaller than the teacher's map has the kernel recorded in its place."""
    views: int | None = Field(default=None, ge=0)
    """How many views are recorded, where not all fit: otherwise each view would delete the one that is read next."""


def _default_cache() -> Path:
    if folder := os.environ.get("KDSWEEP_CACHE"):
        return Path(folder)
    try:
        return Path.home() / ".cache" / "kdsweep"
    except RuntimeError:
        raise InputError(
            "cache: this user has no home folder, where the cache of decoded images lies by default: set KDSWEEP_CACHE "
            "or HOME to a folder that this user can write"
        ) from None


class Machine(Strict):
    """Where a training runs and with which resources; none of it changes what is trained."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, ..."""
    threads: int | None = Field(default=None, gt=0)
    """CPU threads of torch; `null` leaves the choice to torch."""
    workers: int = Field(default=0, ge=0)
    """Processes that prepare samples for each training process; 0 prepares them in a thread of the training process."""
    processes: int = Field(default=1, ge=1)
    """Processes of this node that share every batch, each on its own GPU, or all on the CPU."""
    data_root: LocalPath = Field(default_factory=lambda: Path(os.environ.get("KDSWEEP_DATA") or "data"))
    """The folder in which data sets lie."""
    cache: LocalPath = Field(default_factory=_default_cache)
    """The folder for decoded data, shared by all trainings on the machine."""
    weights: LocalPath | None = Field(
        default_factory=lambda: Path(folder) if (folder := os.environ.get("KDSWEEP_WEIGHTS")) else None
    )
    """A folder of published encoder weights, `<encoder>.safetensors`, for machines without internet."""
    teacher: LocalPath | None = None
    """The teacher folder."""
    replay: Replay | None = None
    """Where samples and teacher maps are recorded and read; `null` computes them anew in every training."""
    amp: Literal["auto", "off", "bfloat16", "float16"] = "auto"
    """Mixed precision: `auto` is bfloat16 or float16 on a GPU, and off on a CPU."""
    compile_losses: bool = False
    """Whether losses go through `torch.compile`, except those that draw random numbers; values change by rounding.
    Needs torch 2.6, triton on a GPU, and a C++ compiler on a CPU."""
    cuda_graphs: bool = False
    """Whether whole steps are captured as CUDA graphs: for one process on a GPU, without float16 and losses that draw
    random numbers."""


def _added_fields(term: Term) -> Mapping[str, object]:
    return {**_ADDED_TERM_FIELDS, **_ADDED_LOSS_FIELDS.get(term.loss, {})}


def _without(defaults: Mapping[str, object], content: Mapping[str, object]) -> dict[str, object]:
    """The content without the fields that have these values."""
    return {name: value for name, value in content.items() if name not in defaults or value != defaults[name]}


def _first_names(term: Mapping[str, object]) -> dict[str, object]:
    """A term with the first names of its layers."""
    layers = {
        field: ",".join(_FIRST_LAYER_NAMES.get(layer.strip(), layer) for layer in str(term[field]).split(","))
        for field in ("student_layer", "teacher_layer")
    }
    return {**term, **layers}
