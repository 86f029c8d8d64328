"""Ablations: from one config to a sweep that measures the effect of each part of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kdtrain.config import TrainConfig
from kdtrain.errors import InputError
from kdtrain.explain import did_you_mean
from sweeps.designs import controls, factorial, retune, terms, values
from sweeps.designs.arms import Arm, Arms, Request, in_weights
from sweeps.designs.controls import TimeRatio
from sweeps.spec.paths import size
from sweeps.spec.schedulers import NoScheduler
from sweeps.spec.settings import Budget, Cell, Confirm, Sampler
from sweeps.spec.spec import SweepSpec, parse_spec

SEEDS = 3
_OF_SPEC = {"data", "student", "teacher", "terms", "seed"}


@dataclass(frozen=True)
class Design:
    """A kind of ablation.

    Attributes:
        arms: Makes its arms for a request; raises `InputError` where the design does not fit the config.
        takes_values: Whether `--values` mean something to it.
    """

    arms: Callable[[Request], Arms]
    takes_values: bool = True


DESIGNS: Mapping[str, Design] = {
    "leave-one-out": Design(terms.leave_one_out, takes_values=False),
    "add-one-in": Design(terms.add_one_in, takes_values=False),
    "one-factor": Design(values.one_factor),
    "factorial": Design(factorial.full),
    "fractional": Design(factorial.fractional),
    "layer-grid": Design(values.layer_grid),
    "response": Design(values.response),
}
"""All designs by name. A new design is a file in this folder and an entry here."""


@dataclass(frozen=True)
class Options:
    """The options of an ablation besides its design."""

    factors: tuple[str, ...] = ()
    """Terms by name."""
    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Values by dotted path."""
    retune: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """What is searched again in each cell: values, or how many, by dotted path."""
    controls: tuple[str, ...] = controls.DEFAULT
    time_ratio: TimeRatio | None = None
    """How much longer the reference takes than cross-entropy alone."""
    resolution: int | None = None
    """Of a fractional design."""


def ablation(
    design: str, content: Mapping[str, Any], spec: SweepSpec, seeds: int | None = None, options: Options | None = None
) -> SweepSpec:
    """The sweep of one or several designs around a config.

    Every cell is a study with its own terms; what two designs have in common is trained once. The seeds differ from
    those on which the config was chosen.

    Args:
        design: A key of `DESIGNS`, or several with commas between them.
        content: A config's plain values, or those of a best.yaml, which has them under `config`.
        spec: The sweep that the config comes from, for the teacher, the resources and the number of seeds.
        seeds: Fresh seeds per cell; as many as that sweep has where none is given.
        options: Further options.

    Raises:
        InputError: If there is no such design, it does not fit, or the config is not valid.
    """
    options = options or Options()
    names = [name.strip() for name in design.split(",")]
    for name in names:
        if name not in DESIGNS:
            raise InputError(f"design: unknown design {name!r}{did_you_mean(name, DESIGNS)}")
    if options.values and not any(DESIGNS[name].takes_values for name in names):
        raise InputError(f"design {design}: is about whole terms and takes no --values; take one-factor or factorial")
    if options.resolution and "fractional" not in names:
        raise InputError(f"design {design}: only the design fractional has a --resolution")
    config = in_weights(TrainConfig.parse(content.get("config", content)))
    request = Request(config, options.factors, options.values, options.resolution)
    arms_of = {name: DESIGNS[name].arms(request) for name in names}
    extra, notes = controls.controls(request, options.controls, options.time_ratio)
    searched = retune.retuning(request, options.retune)
    arms, cells = _placed(arms_of, extra, searched)
    trials = max(int(size(retune.space_of(arm, searched))) for arm in arms)
    return parse_spec(
        {
            "name": f"{spec.name}-{'-'.join(names)}",
            "data": config.data,
            "student": config.student,
            "teacher": spec.teacher,
            "train": config.model_dump(mode="json", exclude=_OF_SPEC),
            "studies": tuple(arm.study(arm.name == "none", space=retune.space_of(arm, searched)) for arm in arms),
            "budget": Budget(trials=trials),
            "sampler": Sampler(name="random"),
            "scheduler": NoScheduler(),
            "confirm": Confirm(top=1, seeds=seeds or spec.confirm.first or SEEDS),
            "resources": spec.resources,
            "retries": spec.retries,
            "seed": max((spec.seed, *spec.confirm_seeds)) + spec.confirm.final_seeds,
            "purpose": "ablation",
            "design": names[0] if len(names) == 1 else None,
            "cells": tuple(cells),
            "notes": (*(note for each in arms_of.values() for note in each.notes), *notes),
            "smallest_effect": spec.smallest_effect,
        }
    )


def _placed(
    arms_of: Mapping[str, Arms], extra: Sequence[Arm], searched: Mapping[str, Any]
) -> tuple[list[Arm], list[Cell]]:
    """All arms, each training once, and the cells of every design; controls belong to the first design."""
    arms: list[Arm] = []
    cells: list[Cell] = []
    first = next(iter(arms_of))
    for design, made in arms_of.items():
        in_design: list[Arm] = []
        for arm in (*made.arms, *(extra if design == first else ())):
            if any(arm.same_training(placed) for placed in in_design):
                continue
            in_design.append(arm)
            trained = next((placed for placed in arms if arm.same_training(placed)), None)
            if trained is None:
                taken = {placed.name for placed in arms}
                trained = arm if arm.name not in taken else replace(arm, name=f"{arm.name}-{len(arms)}")
                arms.append(trained)
            retuned = retune.in_words(retune.space_of(trained, searched))
            cells.append(replace(arm, name=trained.name).placed(design=design, retuned=retuned))
    return arms, cells
