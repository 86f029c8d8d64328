"""What a sweep costs: parameters and multiply-accumulates of its networks, and bytes on the disk."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kdtrain.loop.cost import count_macs
from kdtrain.models import Network
from sweeps.check import Checked
from sweeps.spec.spec import SweepSpec
from sweeps.study_plan import StudyPlan

_BACKWARD = 2
"""A backward pass costs about two forward passes."""


@dataclass(frozen=True)
class Cost:
    """Parameters and multiply-accumulates of one image; the latter is None if they cannot be counted."""

    params: int
    macs: int | None


def cost_of(network: Network, checked: Checked) -> Cost:
    """The cost of a network for the images of the data."""
    built = checked.config.built(network)
    if not any(parameter.is_meta for parameter in built.parameters()):
        built = copy.deepcopy(built).to("meta")
    params = sum(parameter.numel() for parameter in built.parameters())
    try:
        image = torch.zeros(1, 3, *checked.image_size, device="meta")
        return Cost(params, count_macs(built.tap(()), image))
    except Exception:  # a custom network may raise anything on meta tensors
        return Cost(params, None)


def macs_of(
    spec: SweepSpec, studies: Sequence[StudyPlan], checked: Checked, student: Cost, teacher: Cost | None
) -> float | None:
    """Multiply-accumulates of all training, forward and backward; None if those of a network cannot be counted."""
    total = 0.0
    for study in studies:
        config = spec.config_for(spec.study(study.name))
        teacher_macs = teacher.macs if teacher and config.uses_teacher else 0
        if student.macs is None or teacher_macs is None:
            return None
        crop = config.augment.crop or checked.image_size
        area = crop[0] * crop[1] / (checked.image_size[0] * checked.image_size[1])
        epochs = study.search_epochs + study.confirm_runs * study.epochs + study.audit_epochs
        images = checked.images["train"] * config.images_per_step / config.batch_size
        total += epochs * images * area * (student.macs * (1 + _BACKWARD) + teacher_macs)
    return total


def disk_of_trial(spec: SweepSpec, student: Cost) -> int:
    """Bytes of a trial: the student and two checkpoints (weights, their average, the optimizer's state) in float32."""
    config = spec.config_for(spec.studies[0])
    states = (2 if config.optimizer.name == "adamw" else 1) + (config.ema.half_life > 0)
    return student.params * 4 * (1 + 2 * (1 + states))
