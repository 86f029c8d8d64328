"""Third-party code: objects named `package.module:name`, and objects that installed packages offer by name.

A package offers an object by an entry point, in its `pyproject.toml`:

    [project.entry-points."kdsweep.losses"]
    my_loss = "my_package.my_module:MyLoss"

Nothing is imported before its name is used, so that a broken package breaks only what names it.
"""

import importlib
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from pydantic import BaseModel

from kdtrain.errors import InputError
from kdtrain.explain import did_you_mean, first_line

LOSSES = "kdsweep.losses"
METHODS = "kdsweep.methods"
DATA = "kdsweep.data"
SAMPLERS = "kdsweep.samplers"
WATCHERS = "kdsweep.watchers"

_imported: dict[str, None] = {}
"""Modules that were imported because a name asked for them, in order."""


def is_reference(name: str) -> bool:
    """Whether a name is a reference `package.module:name`, and no registered name."""
    return ":" in name


def load_foreign(reference: str) -> object:
    """The object that `package.module:name` refers to.

    Its module is looked for where Python looks (installed packages, PYTHONPATH), and then in the current folder.

    Raises:
        InputError: If there is no such module, the module fails when it is imported, or it has no such name.
    """
    module_name, _, name = reference.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), name)):
        raise InputError(f"{reference!r} cannot be imported: a reference has the form package.module:name, no path")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise InputError(_cannot_import(reference, module_name, error)) from error
    _imported[module_name] = None
    try:
        return getattr(module, name)
    except AttributeError as error:
        names = (public for public in vars(module) if not public.startswith("_"))
        raise InputError(f"{reference!r} cannot be imported ({error}){did_you_mean(name, names)}") from None


def called_by_reference(kind: type[BaseModel], field: str, content: object) -> object:
    """The content of a config whose class gives `field` no value: the field becomes the reference to the class."""
    if isinstance(content, Mapping) and field not in content and not kind.model_fields[field].default:
        return {field: f"{kind.__module__}:{kind.__qualname__}", **content}
    return content


def imported_modules() -> tuple[str, ...]:
    """The third-party modules that this process has imported because a config or spec names them."""
    return tuple(_imported)


def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, such as `kdsweep.losses`, by name; none of them is imported."""
    return {name: points[0] for name, points in _offers(group).items()}


def find_object(name: str, ours: Mapping[str, object], group: str, kind: str, where: str = "") -> object:
    """The object of a name: one of ours, the one that a reference names, or one that an installed package offers.

    Args:
        name: A key of `ours`, `package.module:name`, or the name of an entry point.
        ours: The objects of this project, which nobody else can replace.
        group: The entry points that are looked through.
        kind: What the object is, for the errors: `loss`, `method`.
        where: Where the name stands, for the errors: ` in a term`.

    Raises:
        InputError: If there is no such object, it cannot be imported, or two packages offer the name.
    """
    if name in ours:
        return ours[name]
    if is_reference(name):
        return load_foreign(name)
    points = _offers(group).get(name, ())
    if len(points) > 1:
        offers = " and ".join(f"{_package(point)} (as {point.module}:{point.attr})" for point in points)
        raise InputError(
            f"the {kind} {name!r} is offered by {offers}: write package.module:name to say which one to take"
        )
    if points:
        return _load_offer(points[0], kind)
    names = available_names(ours, group)
    near = did_you_mean(name, names)
    hint = near if near.startswith("; did") else ""
    raise InputError(f"unknown {kind} {name!r}{where}: known are {', '.join(names)}, or package.module:name{hint}")


def kind_of(value: object) -> str:
    """What an object of the wrong kind is, for the end of a sentence."""
    return f"the class {value.__name__}" if isinstance(value, type) else f"an object of {type(value).__name__}"


def available_names(ours: Iterable[str], group: str) -> tuple[str, ...]:
    """The names of ours, and then those that installed packages offer."""
    return tuple(dict.fromkeys([*ours, *_offers(group)]))


def ignored_offers(ours: Iterable[str], group: str) -> tuple[str, ...]:
    """A sentence for each entry point that is ignored, because its name is one of ours."""
    offers = _offers(group)
    return tuple(
        f"{name}, which {_package(point)} offers in {group}, is ignored, because kdsweep has a {name} of its own; "
        f"refer to it as {point.module}:{point.attr}"
        for name in ours
        for point in offers.get(name, ())
    )


@cache
def _offers(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of a group by name; a package that lies twice on the path counts once."""
    offers: dict[str, dict[str, EntryPoint]] = {}
    for point in entry_points(group=group):
        offers.setdefault(point.name, {}).setdefault(point.value, point)
    return {name: tuple(points.values()) for name, points in sorted(offers.items())}


def _load_offer(point: EntryPoint, kind: str) -> object:
    if not point.attr:
        raise InputError(f"the {kind} {point.name!r} of the package {_package(point)} must name module:object")
    try:
        return load_foreign(f"{point.module}:{point.attr}")
    except InputError as error:
        raise InputError(f"the {kind} {point.name!r} of the package {_package(point)}: {error}") from error


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.module.partition(".")[0]


def _cannot_import(reference: str, module_name: str, error: BaseException) -> str:
    missing = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}.")
    if missing:
        return (
            f"{reference!r} cannot be imported ({first_line(error)}); a module must be installed, lie in a folder of "
            f"PYTHONPATH, or lie in the current folder {Path.cwd()}"
        )
    return (
        f"{reference!r} cannot be imported: the module {module_name} fails with {type(error).__name__}: "
        f"{first_line(error)}"
    )
