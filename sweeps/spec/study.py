"""A study of a spec: what is compared, and what is searched for it."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import (
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_validator,
)

from kdtrain.config_base import Strict
from kdtrain.errors import InputError
from kdtrain.foreign import is_reference
from kdtrain.methods import Term, get_method, parse_term
from kdtrain.methods.base import LATEST_RANGES, Ranges, Units
from kdtrain.space import Choice, Domain, Range, parse_domain
from sweeps.spec.paths import Space
from sweeps.spec.pulls import WEIGHT, counterpart
from sweeps.spec.settings import Name


class Study(Strict):
    """One setting of the scientific parameters, and the nuisance parameters searched for it."""

    name: Name
    """Of the study; by default that of its method."""
    method: str | None = None
    """A method, as the source of the terms: one of ours, `package.module:NAME`, or one that an installed package
    offers. A study without a name is called as its method."""
    terms: tuple[SerializeAsAny[Term], ...] | None = None
    """The terms themselves, where no method has them; each with a weight or a pull."""
    set: dict[str, object] = Field(default_factory=dict)
    """Scientific parameters by dotted path."""
    space: dict[str, Domain] | Literal["default"] = "default"
    """Nuisance parameters by dotted path; `default` takes the ranges that the method recommends."""
    units: Units | None = None
    """Whether the method's defaults are pulls or the published weights; `null` for the sweep's `units`."""
    baseline: bool = False
    """Whether this is the untaught student; if no study says so, the first study without a teacher is the baseline."""
    control: bool | None = None
    """Whether this is a control, which the methods must beat and which is never the best config; `null` for the rule of
    `sweeps.spec.controls`, which knows a placebo, and cross-entropy alone, with more epochs or smoothed labels."""

    @model_validator(mode="before")
    @classmethod
    def _named_by_method(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"method": value}
        if isinstance(value, Mapping) and "name" not in value and isinstance(value.get("method"), str):
            method = value["method"]
            value = {"name": get_method(method).name if is_reference(method) else method, **value}
        return value

    @field_validator("terms", mode="before")
    @classmethod
    def _parse_terms(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return tuple(term if isinstance(term, Term) else parse_term(term) for term in value)

    @field_validator("space", mode="before")
    @classmethod
    def _parse_space(cls, value: Any) -> Any:
        return parse_domains(value)

    @field_validator("terms")
    @classmethod
    def _pull_or_weight(cls, terms: tuple[Term, ...] | None) -> tuple[Term, ...] | None:
        for term in terms or ():
            if term.pull is not None and not term.lacks_weight:
                got = f"got weight {term.weight:g} and pull {term.pull:g}"
                raise ValueError(f"{term.name}: give its weight or its pull, {got}")
        return terms

    @field_serializer("terms", mode="wrap")
    def _without_weights_of_pulls(self, terms: Any, plain: SerializerFunctionWrapHandler) -> Any:
        content = plain(terms)
        for term, fields in zip(terms or (), content or (), strict=True):
            if term.pull is not None:
                fields.pop(WEIGHT, None)
        return content

    @model_validator(mode="after")
    def _method_or_terms(self) -> "Study":
        if (self.method is None) == (self.terms is None):
            raise ValueError("give either method or terms")
        if self.method is not None:
            get_method(self.method)
        return self

    def base_terms(self, units: Units, shared: Space) -> tuple[Term, ...]:
        """The terms before anything is set or searched.

        A weight that is set or searched is meant for the loss as published, so its term has the published form.

        Args:
            units: The sweep's.
            shared: What every study searches.
        """
        if self.method is None:
            return self.terms or ()
        method = get_method(self.method)
        given = {*self.set, *shared, *(self.space if self.space != "default" else ())}
        published = {term.name: term for term in method.defaults("weight")[0]}
        terms = method.defaults(self.units or units)[0]
        return tuple(published[term.name] if f"terms.{term.name}.{WEIGHT}" in given else term for term in terms)

    def study_space(self, units: Units, shared: Space, ranges: Ranges = LATEST_RANGES) -> Space:
        """What this study searches besides the sweep's space.

        What it sets is not searched by default, nor is a pull where the weight is set or searched, or a weight where
        the pull is.

        Args:
            units: The sweep's.
            shared: What every study searches.
            ranges: The sweep's.
        """
        if self.space != "default":
            return self.space
        if self.method is None:
            return {}
        search = get_method(self.method).defaults(self.units or units, ranges)[1]
        paths = {f"terms.{key}": domain for key, domain in search.items()}
        given = {*self.set, *(counterpart(path) for path in (*self.set, *shared))}
        return {path: domain for path, domain in paths.items() if path not in given}


def parse_domains(value: Any) -> Any:
    """A mapping from dotted paths to domains as a spec has it; other values stay for the field to refuse.

    A part of a path may hold the paths below it: `student: {encoder: [...]}` is `student.encoder: [...]`.
    """
    if not isinstance(value, Mapping):
        return value
    parsed: dict[str, Range | Choice] = {}
    for path, domain in _written_out(value):
        if path in parsed:
            raise InputError(f"{path}: is given twice; leave one of them out")
        try:
            parsed[str(path)] = parse_domain(domain)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return parsed


def _written_out(space: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted paths of a space, and the domain of each as it is written."""
    for name, domain in space.items():
        path = f"{above}{name}"
        if isinstance(domain, Mapping) and domain and not _is_range(domain):
            yield from _written_out(domain, f"{path}.")
        else:
            yield path, domain


def _is_range(content: Mapping[Any, Any]) -> bool:
    """Whether a mapping is a domain, even a wrong one, and not the paths below a path."""
    holds_domains = all(isinstance(each, Mapping | list | tuple | Range | Choice) for each in content.values())
    return not holds_domains or bool({*Range.model_fields, *Choice.model_fields} & content.keys())
