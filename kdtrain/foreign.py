"""Third-party code: objects named `package.module:name`, and objects that installed packages offer by name.

A package offers an object by an entry point, in its `pyproject.toml`:

    [project.entry-points."kdsweep.losses"]
    my_loss = "my_package.my_module:MyLoss"

Nothing is imported before its name is used, so that a broken package breaks only what names it.

To import a module is to run it, and a reference may name any function of any installed module. So the command line
imports what a file names only where its user trusts the file (`Trust`); a Python program that calls this project trusts
what it hands in. Packages that offer objects by entry points were installed by the user, and are trusted.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from kdtrain.errors import InputError
from kdtrain.explain import did_you_mean, first_line

if TYPE_CHECKING:
    from pydantic import BaseModel

LOSSES = "kdsweep.losses"
METHODS = "kdsweep.methods"
DATA = "kdsweep.data"
SAMPLERS = "kdsweep.samplers"
WATCHERS = "kdsweep.watchers"
TRACKERS = "kdsweep.trackers"

TRUST = "KDSWEEP_TRUST"
"""The environment variable that names trusted modules."""
_NAMING = frozenset({"arch", "loss", "method", "name", "studies", "trackers", "watchers"})
"""Keys of specs, configs and cards whose values may be references."""

_imported: dict[str, None] = {}
"""References that were imported, in order."""


@dataclass(frozen=True)
class Trust:
    """Which third-party modules are imported because a file names them."""

    modules: frozenset[str] | None = None
    """These modules and the modules below them; None trusts all."""
    notice: Callable[[str], None] | None = None
    """Called with a sentence before references are imported for the first time in a block of `trusting`."""

    def covers(self, module: str) -> bool:
        """Whether a module may be imported."""
        return self.modules is None or any(f"{module}.".startswith(f"{trusted}.") for trusted in self.modules)


_trust = Trust()
_announced: set[str] = set()
"""References that `Trust.notice` was told of."""


@contextlib.contextmanager
def trusting(trust: Trust) -> Iterator[None]:
    """Import what `trust` covers, and nothing else, within the block; in all threads of this process."""
    global _trust, _announced
    before = _trust, _announced
    _trust, _announced = trust, set()
    try:
        yield
    finally:
        _trust, _announced = before


_stand_in: Callable[[str, str], object] | None = None


@contextlib.contextmanager
def reading(stand_in: Callable[[str, str], object]) -> Iterator[None]:
    """Import no third-party object within the block, in all threads of this process.

    Args:
        stand_in: Makes what `find_object` gives in the place of an object, from its group and its name.
    """
    global _stand_in
    before, _stand_in = _stand_in, stand_in
    try:
        yield
    finally:
        _stand_in = before


def current_stand_in() -> Callable[[str, str], object] | None:
    """What makes stand-ins now; None if objects are imported."""
    return _stand_in


def trusted_modules() -> frozenset[str] | None:
    """The modules that are trusted now; None for all."""
    return _trust.modules


def trust_setting() -> frozenset[str] | None:
    """The modules that the environment variable KDSWEEP_TRUST names: none if it is not set, all (None) if it is 1.

    Raises:
        InputError: If the value is neither 1 nor a list of modules.
    """
    value = os.environ.get(TRUST, "").strip()
    if value == "1":
        return None
    modules = frozenset(part.strip() for part in value.split(",")) if value not in ("", "0") else frozenset()
    if bad := sorted(module for module in modules if not _is_dotted(module)):
        raise InputError(f"{TRUST}: must be 1 or modules with commas between them, got {bad[0]!r} in {value!r}")
    return modules


def references(content: object) -> tuple[str, ...]:
    """The references `module:name` in a spec, a config or a card in plain values, in order, each once."""
    return tuple(dict.fromkeys(_references(content, False)))


def require_trust(names: Iterable[str], where: str) -> None:
    """Refuse references that are not trusted, and announce the others, which are about to be imported.

    Args:
        names: References.
        where: What names them, for the error: `spec.yaml: `.

    Raises:
        InputError: If a reference names a module that is not trusted.
    """
    if _stand_in is not None:  # nothing will be imported
        return
    names = tuple(names)
    refused = [name for name in names if not _is_trusted(name.partition(":")[0])]
    if refused:
        modules = ",".join(sorted({name.partition(":")[0] for name in refused}))
        raise InputError(
            f"{where}names {', '.join(refused)}, which is code from outside of kdsweep that would run on this machine; "
            f"if you trust it, run the same command with --trust, or with {TRUST}={modules} in the environment"
        )
    _announce(names)


def is_reference(name: str) -> bool:
    """Whether a name is a reference `package.module:name`, and no registered name."""
    return ":" in name


def load_foreign(reference: str) -> object:
    """The object that `package.module:name` refers to.

    Its module is looked for where Python looks (installed packages, PYTHONPATH), and then in the current folder.

    Raises:
        InputError: If there is no such module, the module fails when it is imported, it has no such name, or it is not
            trusted.
    """
    if not _is_well_formed(reference):
        raise InputError(f"{reference!r} cannot be imported: a reference has the form package.module:name, no path")
    if _stand_in is not None:
        raise InputError(f"{reference!r} is not imported, because this command only reads")
    require_trust((reference,), "a config ")
    return _load(reference)


def _load(reference: str) -> object:
    module_name, _, name = reference.partition(":")
    _announce((reference,))
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise InputError(_cannot_import(reference, module_name, error)) from error
    _imported[reference] = None
    try:
        return getattr(module, name)
    except AttributeError as error:
        names = (public for public in vars(module) if not public.startswith("_"))
        raise InputError(f"{reference!r} cannot be imported ({error}){did_you_mean(name, names)}") from None


def called_by_reference(kind: "type[BaseModel]", field: str, content: object) -> object:
    """The content of a config whose class gives `field` no value: the field becomes the reference to the class."""
    if isinstance(content, Mapping) and field not in content and not kind.model_fields[field].default:
        return {field: f"{kind.__module__}:{kind.__qualname__}", **content}
    return content


def imported_references() -> tuple[str, ...]:
    """The third-party objects, as `module:name`, that this process has imported because a config or spec names them."""
    return tuple(_imported)


def imported_modules() -> tuple[str, ...]:
    """The modules of `imported_references`."""
    return tuple(dict.fromkeys(reference.partition(":")[0] for reference in _imported))


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
    if _stand_in is not None:
        return _stand_in(group, name)
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
        return _load(f"{point.module}:{point.attr}")
    except InputError as error:
        raise InputError(f"the {kind} {point.name!r} of the package {_package(point)}: {error}") from error


def _offering() -> frozenset[str]:
    """The top-level packages that installed packages offer objects from."""
    groups = (LOSSES, METHODS, DATA, SAMPLERS, WATCHERS, TRACKERS)
    points = (point for group in groups for offered in _offers(group).values() for point in offered)
    return frozenset(point.module.partition(".")[0] for point in points)


def _is_trusted(module: str) -> bool:
    return _trust.covers(module) or module.partition(".")[0] in _offering()


def _announce(names: Iterable[str]) -> None:
    new = [name for name in names if name not in _announced]
    if new and _trust.notice is not None:
        _announced.update(new)
        _trust.notice(f"importing third-party code: {', '.join(new)}")


def _is_dotted(module: str) -> bool:
    return all(part.isidentifier() for part in module.split("."))


def _is_well_formed(reference: str) -> bool:
    module, _, name = reference.partition(":")
    return _is_dotted(module) and name.isidentifier()


def _references(content: object, naming: bool) -> Iterator[str]:
    """References below a value; `naming` says whether the value itself may be one."""
    if isinstance(content, str):
        if naming and _is_well_formed(content):
            yield content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            if naming:  # an object by its name with its options: `{module:name: {...}}`
                yield from _references(str(key), True)
            last = str(key).rpartition(".")[2]
            yield from _references(value, last in _NAMING or (naming and last == "choices"))
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _references(value, naming)


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
