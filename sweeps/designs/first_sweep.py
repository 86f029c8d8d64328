"""The spec of a first sweep, as YAML with comments: from data, teacher, student and hours."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from analysis.formats import plural, short_duration
from kdtrain.errors import InputError

STUDIES = ("none", "kd", "cwd", "cskd")
"""What is compared by default: the baseline, and methods for any pair of networks."""
PIXELS_PER_SECOND = {"cpu": 0.15e6, "gpu": 25e6}
"""Pixels per second that a small student trains on, on one core of a CPU and on one GPU: an assumption, which turns
hours into epochs until `kdsweep plan` has measured a step."""
_SEARCH = 2 / 3
"""Share of the epochs that the search takes; the rest trains the best configs on fresh seeds."""
_TRAININGS = 8
"""Full trainings that the budget of a study's search holds, if there is time for so many."""
_COMMENTS = {
    "ids": "id in the label files: index of the class",
    "label_colors": "color in the label files: index of the class",
    "ignore_colors": "colors that are not scored",
    "ignore": "ids that are not scored",
    "colors": "of the classes in pictures",
    "absent": "classes without a pixel in train",
    "background": "of pixels that no annotation covers",
    "others": "categories that are no class are not drawn",
    "group": "images of one group are all in train or all in select",
}
_MOST_TRAININGS = 24
"""More are not worth their time, however many hours there are."""
_LARGEST_CROP = 512
_STRIDE = 32


@dataclass(frozen=True)
class Answers:
    """What a first sweep is made of.

    Attributes:
        name: Of the sweep.
        data: The field `data`, in plain values.
        images: Images of the role train.
        smallest: The smallest height and width of an image in pixels.
        one_size: Whether all images have that size.
        teacher: The folder of a teacher; none to fit one.
        arch: Architecture of the student.
        encoder: Its encoder.
        pretrained: Whether encoders start from the weights that their library publishes.
        studies: The methods, the baseline first.
        hours: What the whole sweep may take.
        gpus: GPUs of the machine.
        cores: Cores of its CPU.
    """

    name: str
    data: Mapping[str, object]
    images: int
    smallest: tuple[int, int]
    one_size: bool
    teacher: str | None
    arch: str
    encoder: str
    pretrained: bool
    studies: tuple[str, ...]
    hours: float
    gpus: int
    cores: int

    @property
    def crop(self) -> tuple[int, int]:
        """Height and width of what the network sees in training."""
        height, width = (max(_STRIDE, min(side, _LARGEST_CROP) // _STRIDE * _STRIDE) for side in self.smallest)
        return height, width

    @property
    def at_once(self) -> int:
        """Trials that run at once."""
        return self.gpus or max(1, self.cores)


@dataclass(frozen=True)
class Effort:
    """How many epochs the hours hold, and how they are spent.

    Attributes:
        seconds: Of one epoch of one trial, as assumed.
        epochs: Of a training.
        budget: Epochs of the search of each study.
        top: Configs per study that are trained on fresh seeds.
        seeds: Fresh seeds of each.
    """

    seconds: float
    epochs: int
    budget: int
    top: int
    seeds: int


def effort(answers: Answers) -> Effort:
    """Turn hours into epochs.

    Raises:
        InputError: If the hours are too few for a comparison, with how many are needed at least.
    """
    height, width = answers.crop
    rate = PIXELS_PER_SECOND["gpu" if answers.gpus else "cpu"]
    seconds = answers.images * height * width / rate
    per_study = answers.hours * 3600 * answers.at_once / seconds / len(answers.studies)
    least_epochs, top, seeds = 3, 1, 2
    if per_study < least_epochs * (3 + top * seeds):
        hours = least_epochs * (3 + top * seeds) * len(answers.studies) * seconds / 3600 / answers.at_once
        raise InputError(
            f"--hours: must be at least {_rounded_up(hours)} on this machine for {len(answers.studies)} studies on "
            f"{answers.images} images, got {answers.hours:g}; give more hours or fewer --studies"
        )
    epochs = max(least_epochs, min(100, round(per_study * _SEARCH / _TRAININGS)))
    budget = max(3 * epochs, min(_MOST_TRAININGS * epochs, round(per_study * _SEARCH)))
    fresh = int((per_study - budget) // epochs)
    top, seeds = next(((top, seeds) for top, seeds in ((3, 4), (2, 3), (1, 3)) if top * seeds <= fresh), (top, seeds))
    return Effort(seconds, epochs, budget, top, seeds)


def _rounded_up(number: float) -> str:
    """A number above 0 in two digits, and never less than it is."""
    unit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return f"{math.ceil(number / unit) * unit:.6g}"


def spec_text(answers: Answers) -> str:
    """The spec of a first sweep as YAML; every field has a comment.

    Raises:
        InputError: As `effort`.
    """
    spent, gpus, cores = effort(answers), answers.gpus, answers.cores
    weights = "library" if answers.pretrained else "none"
    text = Template(Path(__file__).with_name("first_sweep.yaml.template").read_text(encoding="utf-8")).substitute(
        name=_flow(answers.name),
        hours=f"{answers.hours:g}",
        where=plural(gpus, "GPU") if gpus else plural(cores, "core"),
        data="\n".join(f"  {line}" for line in _data_lines(answers.data)),
        arch=_flow(answers.arch),
        encoder=_flow(answers.encoder),
        weights=weights,
        teacher="\n".join(_teacher_lines(answers.teacher, weights, spent.epochs)),
        epochs=spent.epochs,
        epoch_time=short_duration(spent.seconds),
        batch=max(3, min(16 if gpus else 8, answers.images // 2)),
        crop=_flow(answers.crop),
        evaluate_every=max(1, spent.epochs // 6),  # a rung is an epoch with a score
        studies=_flow(answers.studies),
        budget=spent.budget,
        grace=2 * max(1, spent.epochs // 6),
        top=spent.top,
        seeds=spent.seeds,
        cpu=max(1, cores // gpus) if gpus else 1,
        gpu=int(gpus > 0),
    )
    return re.sub(r"^([^#\n]*\S) {2,}# ", lambda match: f"{match[1]:<40}  # ", text, flags=re.MULTILINE)


def _teacher_lines(teacher: str | None, weights: str, epochs: int) -> Iterator[str]:
    """The field `teacher`, with what it means."""
    if teacher is not None:
        yield "# A teacher folder, made by `kdsweep teacher fit` or `kdsweep teacher import`."
        yield f"teacher: {{path: {_flow(teacher)}}}"
        return
    yield "# The sweep fits the teacher first; a teacher folder of your own is given by {path: FOLDER}."
    yield "teacher:"
    yield "  fit:"
    yield f"    network: {{arch: DeepLabV3Plus, encoder: resnet50, weights: {weights}}}"
    yield f"    epochs: {2 * epochs}    # twice those of a student; all else is as under `train`"


def _data_lines(content: Mapping[str, object]) -> Iterator[str]:
    """The lines of the field `data`, with a comment beside what needs one."""
    for field, value in content.items():
        if field in ("folders", "shards", "annotations") and isinstance(value, Mapping):
            yield f"{field}:"
            yield from (f"  {role}: {_flow(where)}" for role, where in value.items())
            if "select" not in value:
                yield "  select: {from_train: 0.2}    # a fifth of train, on which the search scores its trials"
        else:
            yield f"{field}: {_flow(value)}" + (f"    # {_COMMENTS[field]}" if field in _COMMENTS else "")


def _flow(value: object) -> str:
    """A value on one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_plain(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _plain(value)


def _plain(value: object) -> str:
    """A scalar of YAML; texts are in quotes unless all programs read them as the same text."""
    if isinstance(value, str):
        safe = value.replace("_", "").replace("-", "").replace("/", "").isascii() and value[:1].isalpha()
        bare = safe and all(character.isalnum() or character in "_-/" for character in value)
        return value if bare and value.lower() not in _WORDS else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""Texts that some programs read as something else."""
