"""What designs are made of: a request, and the arms that a design makes for it."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdtrain.config import TrainConfig
from kdtrain.errors import InputError
from kdtrain.explain import did_you_mean
from kdtrain.methods import Term, parse_term
from sweeps.spec.paths import lookup
from sweeps.spec.pulls import PULL, WEIGHT
from sweeps.spec.settings import Cell
from sweeps.spec.study import Study

TASK_LOSSES = ("cross_entropy", "adaptive_cross_entropy")
"""Losses that learn from labels; a config keeps at least one of them."""
ON, OFF = "on", "off"
TERMS = "terms."


@dataclass(frozen=True)
class Request:
    """The config to ablate, and the options of the design."""

    config: TrainConfig
    factors: tuple[str, ...] = ()
    """Names of terms; none for all that can be left out."""
    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Values to try, by dotted path; a term's option may be given without `terms.`."""
    resolution: int | None = None
    """Of a fractional design."""

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms with a weight above 0."""
        return self.config.active_terms

    @property
    def plain(self) -> tuple[Term, ...]:
        """Cross-entropy alone."""
        return tuple(term for term in self.terms if term.loss == "cross_entropy") or (_cross_entropy(1.0),)

    def removable(self, design: str) -> tuple[str, ...]:
        """The terms to leave out: the factors, or all terms but cross-entropy.

        Raises:
            InputError: If there is none, or a factor is not among them.
        """
        names = tuple(term.name for term in self.terms if term.loss != "cross_entropy")
        if not names:
            raise InputError(
                f"design {design}: the config has no term but cross-entropy, so there is nothing to leave out; "
                "take another config"
            )
        for name in self.factors:
            if name not in names:
                raise InputError(
                    f"--factors: the config has no term {name!r} that could be left out{did_you_mean(name, names)}"
                    f" (it has {', '.join(names)})"
                )
        return tuple(name for name in names if name in self.factors) or names

    def paths(self) -> dict[str, tuple[Any, ...]]:
        """The values to try by full dotted path.

        Raises:
            InputError: If the config has no such field, or a value comes twice.
        """
        names, content = {term.name for term in self.terms}, self.config.model_dump(mode="json")
        content["terms"] = [term.model_dump(mode="json") for term in self.terms]
        paths = {}
        for given, values in self.values.items():
            path = TERMS + given if given.split(".")[0] in names else given
            if path.endswith(f".{PULL}"):
                raise InputError(
                    f"--values: {given}: an ablation keeps the weights of its config, to which pulls are proportional; "
                    f"give {given.removesuffix(PULL)}{WEIGHT}"
                )
            try:
                lookup(content, path)
            except InputError as error:
                raise InputError(f"--values: {error}") from None
            if len({text(value) for value in values}) < len(values):
                raise InputError(f"--values: {given} names a value twice: {', '.join(map(text, values))}")
            paths[path] = tuple(values)
        return paths

    def value(self, path: str) -> Any:
        """The value in the config at a full path."""
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

    def same_training(self, arm: "Arm") -> bool:
        """Whether both train the same."""
        return self.terms == arm.terms and dict(self.changes) == dict(arm.changes)

    def study(self, baseline: bool, **fields: Any) -> Study:
        """The arm as a study."""
        return Study(name=self.name, terms=self.terms, set=dict(self.changes), baseline=baseline, **fields)

    def placed(self, **fields: Any) -> Cell:
        """The arm as a cell."""
        return Cell(study=self.name, **{**self.cell, **fields})


@dataclass(frozen=True)
class Arms:
    """The arms of a design, the reference first, and notes for the reader of the results."""

    arms: tuple[Arm, ...]
    notes: tuple[str, ...] = ()


def in_weights(config: TrainConfig) -> TrainConfig:
    """The config without the pulls that its weights were made from: an ablation trains with just these weights."""
    return config.model_copy(update={"terms": tuple(term.model_copy(update={PULL: None}) for term in config.terms)})


def reference(request: Request, family: str, levels: Mapping[str, str] | None) -> Arm:
    """The config as it is."""
    return Arm("reference", request.terms, cell={"role": "reference", "family": family, "levels": levels})


def without(terms: Sequence[Term], names: Collection[str]) -> tuple[Term, ...]:
    """The terms without those of some names; cross-entropy takes the place and weight of the last loss on labels."""
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
        if value != request.value(path) and not (path.startswith(TERMS) and path.split(".")[1] in gone)
    }
    return (without(request.terms, gone) if gone else request.terms), rest


def short(path: str) -> str:
    """A path without `terms.`, for tables and messages."""
    return path.removeprefix(TERMS)


def text(value: Any) -> str:
    """A value as a level."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def slug(*parts: str) -> str:
    """A name that may be a folder."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", "-".join(parts)).strip("-")


def _cross_entropy(weight: float) -> Term:
    return parse_term({"loss": "cross_entropy", "weight": weight})
