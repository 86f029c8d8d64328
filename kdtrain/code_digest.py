"""Which code a training executes, as digests: by part of the config, module by module.

The parts are the training itself (`training`: the loop and all that it imports), the data set, every active loss, and
a network of the user's. So a new loss, or a changed one, touches no training that does not compute it. A module's
digest is that of its syntax tree without comments and docstrings. What is installed from elsewhere (torch, timm, ...)
is not digested: its versions are recorded with the environment.
"""

import ast
import functools
import hashlib
import importlib.util
import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from kdtrain.config import TrainConfig
from kdtrain.data import DATA_SETS
from kdtrain.methods import TERMS

Parts = dict[str, dict[str, str]]
"""By part, the digest of each module that it executes."""

PACKAGE = "kdtrain"
TRAINING = "training"
LOOKUPS = frozenset({"kdtrain.methods.registry", "kdtrain.data.registry", "kdtrain.loss_forms"})
"""Modules that only list what there is: what a config uses of these lists is a part of its own."""
SAME_RESULTS = Path(__file__).with_name("same_results.json")
"""Digests of earlier code that gives the same results to the last bit; see `main`."""
_quoted = json.encoder.encode_basestring_ascii
_IGNORED = frozenset({"kind", "type_comment", "type_ignores", "ctx"})


class SameResults(TypedDict):
    """What `same_results.json` holds."""

    current: dict[str, str]
    """The digest of every part as the code stands."""
    parts: dict[str, dict[str, str]]
    """By part: an earlier digest, and a later one that gives the same results."""
    packages: dict[str, dict[str, str]]
    """By the digest of the whole package, as it was recorded before parts were told apart: the digests of its parts."""


@dataclass(frozen=True)
class _Module:
    """One source file: its digest, and what it imports as `(module, name)`, without a name for a whole module.

    A relative import is `(dots and module, name)`, as it stands in the file.
    """

    digest: str
    imports: tuple[tuple[str, str | None], ...]
    exports: Mapping[str, tuple[str, str]]
    """Names that it imports from elsewhere, with where they come from."""


def code_of(config: TrainConfig) -> Parts:
    """The code that a training of this config executes."""
    return {part: modules_of(root) for part, root in _roots(config).items()}


def code_key(config: TrainConfig) -> dict[str, str]:
    """What tells states of the code of a config apart, quickly: of our package all sources count, comments included."""
    foreign = {part: root for part, root in _roots(config).items() if root.partition(".")[0] != PACKAGE}
    return {PACKAGE: _package_fingerprint(), **{part: digest_of(modules_of(root)) for part, root in foreign.items()}}


def _roots(config: TrainConfig) -> dict[str, str]:
    """By part of the code of a config, the module that is imported first."""
    roots = {TRAINING: f"{PACKAGE}.loop.trainer", f"data {config.data.name}": type(config.data).__module__}
    roots |= {f"loss {term.loss}": type(term).__module__ for term in config.active_terms}
    if config.student.is_custom:
        roots[f"network {config.student.arch}"] = config.student.arch.partition(":")[0]
    return roots


@functools.cache
def _package_fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def digest_of(modules: Mapping[str, str]) -> str:
    """One digest of a part's modules."""
    return hashlib.sha256(json.dumps(modules, sort_keys=True).encode()).hexdigest()[:16]


def canonical(part: str, digest: str) -> str:
    """The digest that stands for all versions of a part that give the same results."""
    later = _same_results()["parts"].get(part, {})
    seen = {digest}
    while (digest := later.get(digest, digest)) not in seen:
        seen.add(digest)
    return digest


def parts_of_package(digest: str | None) -> dict[str, str] | None:
    """The digests by part of a state of the code that was recorded as a whole, before parts were told apart.

    None where that state is not known to give the results of a later one.
    """
    return _same_results()["packages"].get(digest or "")


def same_code(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two trainings, given by their parts' digests, ran on one version of all parts that they share."""
    return all(canonical(part, one[part]) == canonical(part, other[part]) for part in one.keys() & other.keys())


def digests_of(parts: Parts) -> dict[str, str]:
    """One digest of every part."""
    return {part: digest_of(modules) for part, modules in parts.items()}


def part_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The parts of a config in plain values, as `code_of` names them."""
    losses = [f"loss {term['loss']}" for term in config["terms"] if term["weight"] > 0]
    arch = config["student"]["arch"]
    network = [f"network {arch}"] if ":" in arch else []
    return tuple(dict.fromkeys([TRAINING, f"data {config['data']['name']}", *losses, *network]))


def foreign_modules(parts: Parts) -> list[str]:
    """The modules of these parts that are not ours."""
    names = {name for modules in parts.values() for name in modules}
    return sorted(name for name in names if name.partition(".")[0] != PACKAGE)


def fingerprint(modules: Iterable[str]) -> str:
    """A quick digest of the current sources of modules, comments included.

    Where two machines agree on it, they execute the same code, and the second need not read any syntax tree.
    """
    digest = hashlib.sha256()
    for module in sorted(modules):
        path = _path(module)
        digest.update(module.encode() + b"\0" + (b"" if path is None else path.read_bytes()) + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def modules_of(root: str) -> dict[str, str]:
    """The digest of a module and of all that it imports, directly or not, as far as it is not installed from elsewhere.

    Imports count wherever they stand, but for those under `if TYPE_CHECKING`. A name that a package hands on counts
    for the module that defines the name.
    """
    digests: dict[str, str] = {}
    waiting: list[tuple[str, str | None]] = [(root, None)]
    top = root.partition(".")[0]
    while waiting:
        name, attribute = waiting.pop()
        module = _definer(name, attribute)
        if module in digests or module in LOOKUPS or (path := _source(module, top)) is None:
            continue
        source = _parse(path)
        digests[module] = source.digest
        is_package, is_ours = path.name == "__init__.py", module.partition(".")[0] == PACKAGE
        if not is_ours and "." in module:
            waiting.append((module.rpartition(".")[0], None))  # its packages are executed, too
        if not (is_package and is_ours):  # our packages only hand names on, which are followed one by one
            waiting += [(_absolute(name, module, is_package), attribute) for name, attribute in source.imports]
    return dict(sorted(digests.items()))


def _absolute(imported: str, module: str, is_package: bool) -> str:
    """The full name of an imported module, which may be relative to the module that imports it."""
    if not imported.startswith("."):
        return imported
    package = module if is_package else module.rpartition(".")[0]
    try:
        return importlib.util.resolve_name(imported, package)
    except ImportError:
        return imported


def _definer(module: str, attribute: str | None) -> str:
    """The module that defines a name which is imported from `module`."""
    for _ in range(20):
        if attribute is None:
            return module
        if _path(f"{module}.{attribute}") is not None:
            return f"{module}.{attribute}"
        path = _path(module)
        if path is None or path.name != "__init__.py" or attribute not in (exports := _parse(path).exports):
            return module
        origin, attribute = exports[attribute]
        module = _absolute(origin, module, True)
    return module


def _source(module: str, top: str) -> Path | None:
    """The file of a module that counts: ours, the user's, or of the package in which the search began."""
    path = _path(module)
    if path is None:
        return None
    ours = module.partition(".")[0] in (PACKAGE, top)
    return path if ours or not any(path.is_relative_to(folder) for folder in _installed_folders()) else None


@functools.cache
def _path(module: str) -> Path | None:
    """The Python source of a module, found without importing anything; none where there is none."""
    top, *inner = module.split(".")
    loaded = sys.modules.get(top)
    try:
        spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(top)
    except ValueError:
        return None
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not inner:
        return Path(spec.origin).resolve() if spec.origin and spec.origin.endswith(".py") else None
    for folder in folders:
        place = folder.joinpath(*inner)
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                return file.resolve()
    return None


@functools.cache
def _installed_folders() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple(Path(sysconfig.get_paths()[name]).resolve() for name in names)


@functools.cache
def _parse(path: Path) -> _Module:
    tree = ast.parse(path.read_bytes())
    imports: list[tuple[str, str | None]] = []
    exports: dict[str, tuple[str, str]] = {}
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            imports += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            imports += [(module, alias.name) for alias in node.names]
    for node in ast.walk(tree):  # also those for type checkers, of names that a package hands on when they are used
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            exports |= {alias.asname or alias.name: (module, alias.name) for alias in node.names}
    digest = hashlib.sha256(_plain(tree).encode()).hexdigest()[:12]
    return _Module(digest, tuple(imports), exports)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes, but for what stands under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _executed(child)


def _plain(value: object) -> str:
    """A syntax tree as JSON: without docstrings and positions, and alike in all versions of Python."""
    if isinstance(value, ast.Constant):
        return f'["Constant",{_quoted(repr(value.value))}]'
    if isinstance(value, ast.AST):
        children = ((name, getattr(value, name, None)) for name in value._fields if name not in _IGNORED)
        fields = [f"{_quoted(name)}:{text}" for name, child in children if (text := _plain_field(child))]
        return f'["{type(value).__name__}",{{{",".join(fields)}}}]'
    return json.dumps(value if isinstance(value, str | int | None) else repr(value))


def _plain_field(value: object) -> str:
    """A field of a node as JSON; empty if nothing stands there."""
    if isinstance(value, list):
        text = ",".join(_plain(item) for item in value if not _is_text(item))
        return f"[{text}]" if text else ""
    return "" if value is None else _plain(value)


def _is_text(node: object) -> bool:
    """Whether a statement is a string by itself: a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@functools.cache
def _same_results() -> SameResults:
    content: SameResults = json.loads(SAME_RESULTS.read_text())
    return content


def parts_of_all() -> dict[str, str]:
    """The digests, by part, of all that this package ships."""
    roots = {TRAINING: f"{PACKAGE}.loop.trainer"}
    roots |= {f"data {name}": kind.__module__ for name, kind in DATA_SETS.items()}
    roots |= {f"loss {name}": term.__module__ for name, term in TERMS.items()}
    return {part: digest_of(modules_of(root)) for part, root in roots.items()}


def recorded(content: SameResults, now: Mapping[str, str], same: bool) -> SameResults:
    """`same_results.json` after a change of the code.

    Args:
        content: As it was before.
        now: The digests by part, after the change.
        same: Whether every part gives the results that it gave before, to the last bit on a CPU.
    """
    before = content["current"]
    links = {part: dict(content["parts"].get(part, {})) for part in {**content["parts"], **now}}
    if same:
        for part, digest in now.items():
            if before.get(part, digest) != digest:
                links[part][before[part]] = digest
                links[part].pop(digest, None)  # a change that was taken back
    return {
        "current": dict(now),
        "parts": {part: link for part, link in links.items() if link},
        "packages": content["packages"],
    }


def main(words: list[str]) -> int:
    """`python -m kdtrain.code_digest same|new`: after a change of training code, say whether results changed.

    With `same`, begun sweeps stay comparable with what the changed code gives; with `new` they do not.
    """
    if words not in (["same"], ["new"]):
        print("usage: python -m kdtrain.code_digest same|new   (are the results the same as before the change?)")
        return 2
    content, now = _same_results(), parts_of_all()
    changed = [part for part, digest in now.items() if content["current"].get(part) != digest]
    SAME_RESULTS.write_text(json.dumps(recorded(content, now, words == ["same"]), indent=1, sort_keys=True) + "\n")
    print(f"{len(changed)} parts changed{': ' if changed else ''}{', '.join(changed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
