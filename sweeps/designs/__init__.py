"""Ablations: from one config to the sweep that says what each part of it is worth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kdtrain.config import TrainConfig
from kdtrain.errors import InputError
from kdtrain.explain import meant
from sweeps.designs import controls, factorial, retune, terms, values
from sweeps.designs.arms import Arm, Drawn, Request
from sweeps.designs.controls import TimeRatio
from sweeps.spec.paths import size
from sweeps.spec.settings import Budget, Cell, Confirm, Sampler, Scheduler
from sweeps.spec.spec import SweepSpec, parse_spec

SEEDS = 3
_OF_SPEC = {"data", "student", "teacher", "terms", "seed"}

DESIGNS: dict[str, Callable[[Request], Drawn]] = {
    "leave-one-out": terms.leave_one_out,
    "add-one-in": terms.add_one_in,
    "one-factor": values.one_factor,
    "factorial": factorial.full,
    "fractional": factorial.fractional,
    "layer-grid": values.layer_grid,
    "response": values.response,
}
_ABOUT_TERMS = ("leave-one-out", "add-one-in")
"""Designs that take no values."""


@dataclass(frozen=True)
class Options:
    """What may be said about an ablation besides its design."""

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

    Every cell is a study with terms of its own; what two designs have in common is trained once. The seeds are
    others than those on which the config was chosen.

    Args:
        design: A key of `DESIGNS`, or several with commas between them.
        content: A config's plain values, or those of a best.yaml, which has them under `config`.
        spec: The sweep that the config comes from, for the teacher, the resources and the number of seeds.
        seeds: Fresh seeds per cell; as many as that sweep has where none is given.
        options: What else is wanted.

    Raises:
        InputError: If there is no such design, it does not fit, or the config is not one.
    """
    options = options or Options()
    names = [name.strip() for name in design.split(",")]
    for name in names:
        if name not in DESIGNS:
            raise InputError(f"design: there is no {name!r}{meant(name, DESIGNS)} (known: {', '.join(DESIGNS)})")
    if options.values and all(name in _ABOUT_TERMS for name in names):
        raise InputError(f"design {design}: is about whole terms and takes no --values; take one-factor or factorial")
    if options.resolution and "fractional" not in names:
        raise InputError(f"design {design}: only the design fractional has a --resolution")
    config = TrainConfig.parse(content.get("config", content))
    request = Request(config, options.factors, options.values, options.resolution)
    drawn = {name: DESIGNS[name](request) for name in names}
    extra, notes = controls.controls(request, options.controls, options.time_ratio)
    searched = retune.retuning(request, options.retune)
    arms, cells = _placed(drawn, extra, searched)
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
            "scheduler": Scheduler(name="none"),
            "confirm": Confirm(top=1, seeds=seeds or spec.confirm.seeds or SEEDS),
            "resources": spec.resources,
            "retries": spec.retries,
            "seed": max((spec.seed, *spec.confirm_seeds)) + spec.confirm.report_seeds,
            "purpose": "ablation",
            "design": names[0] if len(names) == 1 else None,
            "cells": tuple(cells),
            "notes": (*(note for found in drawn.values() for note in found.notes), *notes),
            "smallest_effect": spec.smallest_effect,
        }
    )


def _placed(
    drawn: Mapping[str, Drawn], extra: Sequence[Arm], searched: Mapping[str, Any]
) -> tuple[list[Arm], list[Cell]]:
    """All arms, each training once, and the cells of every design; controls belong to the first design."""
    arms: list[Arm] = []
    cells: list[Cell] = []
    first = next(iter(drawn))
    for design, found in drawn.items():
        in_design: list[Arm] = []
        for arm in (*found.arms, *(extra if design == first else ())):
            if any(arm.same_training(other) for other in in_design):
                continue
            in_design.append(arm)
            known = next((other for other in arms if arm.same_training(other)), None)
            if known is None:
                taken = {other.name for other in arms}
                known = arm if arm.name not in taken else replace(arm, name=f"{arm.name}-{len(arms)}")
                arms.append(known)
            retuned = retune.in_words(retune.space_of(known, searched))
            cells.append(replace(arm, name=known.name).placed(design=design, retuned=retuned))
    return arms, cells
