"""What designs are made of: the request, its factors, and the arms that a design answers with."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdtrain.config import TrainConfig
from kdtrain.errors import InputError
from kdtrain.explain import meant
from kdtrain.methods import Term, parse_term
from sweeps.spec.paths import lookup
from sweeps.spec.settings import Cell
from sweeps.spec.spec import Study

TASK_LOSSES = ("cross_entropy", "adaptive_cross_entropy")
"""Losses that learn from labels; a config keeps at least one of them."""
ON, OFF = "on", "off"
TERMS = "terms."


@dataclass(frozen=True)
class Request:
    """The config to take apart, and what the user said about how."""

    config: TrainConfig
    factors: tuple[str, ...] = ()
    """Names of terms; none for all that can be left out."""
    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Values to try, by dotted path; a term's option may be given without `terms.`."""
    resolution: int | None = None
    """Of a fractional design."""

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms that count."""
        return self.config.active_terms

    @property
    def plain(self) -> tuple[Term, ...]:
        """Cross-entropy alone."""
        return tuple(term for term in self.terms if term.loss == "cross_entropy") or (_cross_entropy(1.0),)

    def removable(self, design: str) -> tuple[str, ...]:
        """The terms to leave out: those asked for, or all but cross-entropy.

        Raises:
            InputError: If there is none, or one that was asked for is not among them.
        """
        found = tuple(term.name for term in self.terms if term.loss != "cross_entropy")
        if not found:
            raise InputError(
                f"design {design}: the config has cross-entropy alone, so that there is nothing to leave out"
            )
        for name in self.factors:
            if name not in found:
                raise InputError(
                    f"--factors: the config has no term {name!r} that could be left out{meant(name, found)}"
                    f" (it has {', '.join(found)})"
                )
        return tuple(name for name in found if name in self.factors) or found

    def paths(self) -> dict[str, tuple[Any, ...]]:
        """The values to try by full dotted path.

        Raises:
            InputError: If the config has no such field, or a value comes twice.
        """
        names, content = {term.name for term in self.terms}, self.config.model_dump(mode="json")
        content["terms"] = [term.model_dump(mode="json") for term in self.terms]
        found = {}
        for given, values in self.values.items():
            path = TERMS + given if given.split(".")[0] in names else given
            try:
                lookup(content, path)
            except InputError as error:
                raise InputError(f"--values: {error}") from None
            if len({text(value) for value in values}) < len(values):
                raise InputError(f"--values: {given} names a value twice: {', '.join(map(text, values))}")
            found[path] = tuple(values)
        return found

    def own(self, path: str) -> Any:
        """The config's own value at a full path."""
        return lookup(self.config.model_dump(mode="json"), path)


@dataclass(frozen=True)
class Arm:
    """One cell: what is trained, and its place in the design."""

    name: str
    terms: tuple[Term, ...]
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What else differs from the config, by dotted path."""
    cell: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Cell`."""

    def same_training(self, other: "Arm") -> bool:
        """Whether both train the same."""
        return self.terms == other.terms and dict(self.changes) == dict(other.changes)

    def study(self, baseline: bool, **fields: Any) -> Study:
        """The arm as a study."""
        return Study(name=self.name, terms=self.terms, set=dict(self.changes), baseline=baseline, **fields)

    def placed(self, **fields: Any) -> Cell:
        """The arm as a cell."""
        return Cell(study=self.name, **{**self.cell, **fields})


@dataclass(frozen=True)
class Drawn:
    """What a design answers: its arms, the reference first, and what a reader has to know."""

    arms: tuple[Arm, ...]
    notes: tuple[str, ...] = ()


def reference(request: Request, family: str, levels: Mapping[str, str] | None) -> Arm:
    """The config as it is."""
    return Arm("reference", request.terms, cell={"role": "reference", "family": family, "levels": levels})


def without(terms: Sequence[Term], names: Collection[str]) -> tuple[Term, ...]:
    """The terms without those named; cross-entropy takes the place and weight of the last loss on labels."""
    rest = tuple(term for term in terms if term.name not in names)
    if any(term.loss in TASK_LOSSES for term in rest):
        return rest
    weight = next((term.weight for term in terms if term.loss in TASK_LOSSES), 1.0)
    return (_cross_entropy(weight), *rest)


def changed(request: Request, changes: Mapping[str, Any]) -> tuple[tuple[Term, ...], dict[str, Any]]:
    """Terms and other changes of the config at some values; a weight of 0 leaves its term out."""
    gone = {path.split(".")[1] for path, value in changes.items() if path.endswith(".weight") and value == 0}
    rest = {
        path: value
        for path, value in changes.items()
        if value != request.own(path) and not (path.startswith(TERMS) and path.split(".")[1] in gone)
    }
    return (without(request.terms, gone) if gone else request.terms), rest


def short(path: str) -> str:
    """A path as readers know it."""
    return path.removeprefix(TERMS)


def text(value: Any) -> str:
    """A value as a level."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def slug(*parts: str) -> str:
    """A name that may be a folder."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", "-".join(parts)).strip("-")


def _cross_entropy(weight: float) -> Term:
    return parse_term({"loss": "cross_entropy", "weight": weight})
