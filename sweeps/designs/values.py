"""Which value of a parameter, which pair of layers, which weight and temperature?"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kdtrain.errors import InputError
from kdtrain.methods import Term
from sweeps.designs.arms import TERMS, Arm, Arms, Request, changed, reference, short, slug, text

_LAYERS = ("student_layer", "teacher_layer")
_REACH = {"weight": 10.0, "temperature": 2.0}
"""How far a response goes from the config's value to both sides, as a factor, where no values are given."""


def one_factor(request: Request) -> Arms:
    """One parameter at a time, all others as in the config; every parameter is a separate family."""
    paths = request.paths()
    if not paths:
        raise InputError("design one-factor: needs --values, as in --values channel_wise.temperature=1,2,4,8")
    of_config = {short(path): text(request.value(path)) for path in paths}
    arms = [reference(request, "all", of_config)]
    for path, values in paths.items():
        others = [value for value in values if value != request.value(path)]
        if not others:
            raise InputError(
                f"--values: {short(path)} must have a value besides that of the config, got {text(values[0])} alone"
            )
        arms += [_arm(request, {path: value}, short(path), text(value), short(path), of_config) for value in others]
    return Arms(tuple(arms))


def layer_grid(request: Request) -> Arms:
    """Every layer of the student with every layer of the teacher, for one term.

    The config is a cell of the grid if its layers are among the values, and is a cell beside the grid otherwise.
    """
    term = _one_term(request, "layer-grid", lambda term: term.needs_teacher)
    paths = request.paths()
    axes = [f"{TERMS}{term.name}.{layer}" for layer in _LAYERS]
    if set(paths) != set(axes):
        raise InputError(
            f"design layer-grid: needs two lists of layers, as in --values {term.name}.student_layer=decoder,encoder.4"
            f" --values {term.name}.teacher_layer=decoder,encoder.4"
        )
    grid = list(itertools.product(*(paths[path] for path in axes)))
    if len(grid) < 2:
        raise InputError("design layer-grid: one pair of layers is no grid; give several layers of student or teacher")
    of_config = tuple(request.value(path) for path in axes)
    family = f"{term.name} layers"
    arms = [reference(request, family, _levels(axes, of_config) if of_config in grid else None)]
    for pair in grid:
        if pair != of_config:
            at = dict(zip(axes, pair, strict=True))
            arms.append(_arm(request, at, term.name, " - ".join(pair), family, _levels(axes, pair)))
    notes = [f"layer-grid: the best of {len(grid)} pairs is a selection: confirm the best four on fresh seeds"]
    return Arms(tuple(arms), tuple(notes))


def response(request: Request) -> Arms:
    """The score over the logarithm of one term's weight, and of its temperature where it has one.

    Two values of a parameter are the ends of its range, on which a central composite design is laid (Box & Wilson
    1951, inscribed); more are a grid. Without values the range goes from a tenth to ten times the config's
    weight, and from half to twice its temperature. A weight of 0 is a separate cell.
    """
    term = _one_term(request, "response", lambda term: term.loss != "cross_entropy")
    paths = request.paths()
    weight = f"{TERMS}{term.name}.weight"
    allowed = [weight, *([f"{TERMS}{term.name}.temperature"] if "temperature" in type(term).model_fields else [])]
    if stray := [path for path in paths if path not in allowed]:
        raise InputError(f"design response: takes values of {' and '.join(map(short, allowed))}, got {short(stray[0])}")
    axes = {path: paths.get(path) or _around(request.value(path), path) for path in allowed}
    for path, values in axes.items():
        if any(isinstance(value, bool) or not isinstance(value, int | float) or value <= 0 for value in values):
            raise InputError(f"--values: {short(path)} must be numbers above 0; a weight of 0 is tried anyway")
    points = list(_grid(axes) if any(len(values) > 2 for values in axes.values()) else _composite(axes))
    of_config = tuple(request.value(path) for path in axes)
    family = f"{term.name} response"
    inside = any(np.allclose(np.log(point), np.log(of_config), atol=0.02) for point in points)
    arms = [reference(request, family, _levels(axes, of_config))]
    for point in points:
        if not np.allclose(np.log(point), np.log(of_config), atol=0.02):
            at = dict(zip(axes, point, strict=True))
            level = ", ".join(f"{path.rpartition('.')[2]} {text(value)}" for path, value in at.items())
            arms.append(_arm(request, at, term.name, level, family, _levels(axes, point)))
    arms.append(_arm(request, {weight: 0}, term.name, "weight 0", family, {}))
    notes = [] if inside else ["response: the config lies beside the points of the design and counts as one more"]
    return Arms(tuple(arms), tuple(notes))


def _arm(
    request: Request,
    at: Mapping[str, Any],
    factor: str,
    level: str,
    family: str,
    levels: Mapping[str, str],
) -> Arm:
    terms, changes = changed(request, at)
    moved = {short(path): text(value) for path, value in at.items()}
    cell = {"factor": factor, "level": level, "family": family, "levels": {**levels, **moved}}
    parts = [part for path, value in at.items() for part in (path.rpartition(".")[2], text(value))]
    holder = short(next(iter(at))).rpartition(".")[0]
    name = slug(factor, text(next(iter(at.values())))) if len(at) == 1 and factor != holder else slug(holder, *parts)
    return Arm(name, terms, changes, cell)


def _levels(paths: Any, values: Any) -> dict[str, str]:
    return {short(path): text(value) for path, value in zip(paths, values, strict=True)}


def _one_term(request: Request, design: str, fits: Any) -> Term:
    """The term that factors or values name, or the only one that fits."""
    fitting = [term for term in request.terms if fits(term)]
    named = {*request.factors, *(short(path).split(".")[0] for path in request.paths())}
    chosen = [term for term in fitting if not named or term.name in named]
    if len(chosen) != 1 or (named and named != {chosen[0].name}):
        raise InputError(
            f"design {design}: takes one term; give --factors, one of {', '.join(term.name for term in fitting)}"
            if fitting
            else f"design {design}: the config has no term that the design could vary"
        )
    return chosen[0]


def _around(value: float, path: str) -> tuple[float, float]:
    reach = _REACH[path.rpartition(".")[2]]
    return (value / reach, value * reach)


def _grid(axes: Mapping[str, tuple[float, ...]]) -> Iterator[tuple[float, ...]]:
    return itertools.product(*axes.values())


def _composite(axes: Mapping[str, tuple[float, ...]]) -> Iterator[tuple[float, ...]]:
    """Corners, axial points and one center (seeds repeat it) on log axes, all within their ranges."""
    import pyDOE3  # slow to import, and every `kdsweep` would wait for it

    if len(axes) == 1:
        coded = np.linspace(-1, 1, 5)[:, None]
    else:
        coded = np.unique(pyDOE3.ccdesign(len(axes), center=(0, 1), alpha="rotatable", face="cci").round(9), axis=0)
    for row in coded:
        point = []
        for share, ends in zip(row, axes.values(), strict=True):
            low, high = np.log(min(ends)), np.log(max(ends))
            point.append(float(f"{np.exp((low + high) / 2 + share * (high - low) / 2):.3g}"))
        yield tuple(point)
