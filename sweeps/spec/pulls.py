"""From the pull of a term to its weight: how the pull at weight 1 depends on the options of the term.

Pulls are measured at the options of a study's default config, and where options of the same term are searched, with
one of them at a time at its choices, or at the low end, the middle and the high end of its range (a star). Between
these levels, and for several options at once, the logarithm of the pull at weight 1 is interpolated.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kdtrain.config import TrainConfig
from kdtrain.errors import InputError
from kdtrain.methods import NOT_OPTIONS, Term, options_of, parse_term
from kdtrain.space import Choice, Domain, Range, Scalar
from sweeps.spec.paths import lookup, replaced

Ratio = Callable[[str, Term], float]
"""From the name of a study and a term to the term's pull at weight 1."""
WEIGHT, PULL = "weight", "pull"


def stand_in(study: str, term: Term) -> float:
    """The pull at weight 1 where none is measured: 1, which serves to check that configs are valid."""
    return 1.0


def as_trained(terms: Iterable[Term]) -> Ratio:
    """The pulls at weight 1 of a config that was trained: another training of it has the same weights."""
    by_name = {term.name: term for term in terms}

    def ratio(study: str, term: Term) -> float:
        trained = by_name[term.name]
        return trained.pull / trained.weight if trained.pull and trained.weight else 1.0

    return ratio


def weighted(study: str, term: Term, ratio: Ratio) -> Term:
    """A term whose pull has become its weight; one without a pull stays as it is.

    The weight is rounded to 12 digits, so that the pull of a weight gives this weight.
    """
    if term.pull is None:
        return term
    weight = term.pull / ratio(study, term) if term.pull > 0 else 0.0
    return term.model_copy(update={WEIGHT: float(f"{weight:.12g}")})


def with_weights(study: str, config: TrainConfig, ratio: Ratio) -> TrainConfig:
    """A config whose pulls have become weights; one without a pull stays as it is."""
    if all(term.pull is None for term in config.terms):
        return config
    return config.model_copy(update={"terms": tuple(weighted(study, term, ratio) for term in config.terms)})


def share_of(pull: float) -> float:
    """The share of a term in the gradient of it and the task."""
    return pull / (1 + pull)


def key_of(term: Term) -> str:
    """The options of a term as one text."""
    return json.dumps(options_of(term), sort_keys=True)


def levels(domain: Domain) -> tuple[Scalar, ...]:
    """The values of an option at which pulls are measured: every choice, or both ends and the middle of a range."""
    if isinstance(domain, Choice):
        return domain.choices
    middle = math.sqrt(domain.low * domain.high) if domain.log else (domain.low + domain.high) / 2
    values = (domain.low, middle, domain.high)
    return tuple(dict.fromkeys(round(value) if domain.integer else value for value in values))


@dataclass(frozen=True)
class Star:
    """A term with the options of a study's default config, and the options of it that are searched."""

    term: Term
    axes: Mapping[str, Domain] = field(default_factory=dict)
    """By option; a term's weight, pull and schedule are none."""

    def points(self) -> Iterator[tuple[str | None, Scalar, Term]]:
        """The terms to measure, each with the option that differs from the default and its level; the default first."""
        yield None, None, self.term
        for option, domain in self.axes.items():
            for level in levels(domain):
                term = self._at(option, level)
                if term is not None and key_of(term) != key_of(self.term):
                    yield option, level, term

    def ratio(self, term: Term, measured: Mapping[str, float]) -> float:
        """The pull at weight 1 of the term with other options.

        Args:
            term: The term with the options of one trial.
            measured: Pulls at weight 1 by `key_of`; levels that have none, or none above 0, are left out.

        Raises:
            InputError: If the default has no pull.
        """
        usable = {key: ratio for key, ratio in measured.items() if 0 < ratio < math.inf}
        if (ratio := usable.get(key_of(term))) is not None:
            return ratio
        default = usable.get(key_of(self.term))
        if default is None:
            raise InputError(f"terms.{term.name}.pull: {_why_none(measured.get(key_of(self.term)))}")
        content = term.model_dump()
        changes = (
            self._change(option, domain, lookup(content, option), default, usable)
            for option, domain in self.axes.items()
        )
        return math.exp(math.log(default) + sum(changes))

    def _change(self, option: str, domain: Domain, value: Any, default: float, usable: Mapping[str, float]) -> float:
        """By how much an option at a value changes the logarithm of the pull at weight 1."""
        changes: dict[Any, float] = {lookup(self.term.model_dump(), option): 0.0}
        for level in levels(domain):
            term = self._at(option, level)
            if term is not None and (ratio := usable.get(key_of(term))) is not None:
                changes[level] = math.log(ratio / default)
        if isinstance(domain, Choice):
            return changes.get(value, 0.0)
        places = {_place(domain, level): change for level, change in changes.items() if _is_on(domain, level)}
        knots = sorted(places)
        if not knots or not _is_on(domain, value):
            return 0.0
        return float(np.interp(_place(domain, value), knots, [places[knot] for knot in knots]))

    def _at(self, option: str, level: Scalar) -> Term | None:
        """The default term with one option at a level; none if that is not valid."""
        try:
            return parse_term(replaced(self.term.model_dump(), {option: level}))
        except InputError:
            return None


def axes_of(term: str, space: Mapping[str, Domain]) -> dict[str, Domain]:
    """The searched options of a term on which its pull at weight 1 depends, of a whole space."""
    at = f"terms.{term}."
    searched = {path.removeprefix(at): domain for path, domain in space.items() if path.startswith(at)}
    return {option: domain for option, domain in searched.items() if option.partition(".")[0] not in NOT_OPTIONS}


def counterpart(path: str) -> str | None:
    """The path of a term's pull for that of its weight, and the other way round; none for other paths."""
    steps = path.split(".")
    if len(steps) != 3 or steps[0] != "terms" or steps[2] not in (WEIGHT, PULL):
        return None
    return ".".join([*steps[:2], PULL if steps[2] == WEIGHT else WEIGHT])


def _is_on(domain: Range, value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and (value > 0 or not domain.log)


def _place(domain: Range, value: float) -> float:
    return math.log(value) if domain.log else float(value)


def _why_none(ratio: float | None) -> str:
    if ratio is None:
        return "is not measured yet, so it makes no weight; run the sweep, which measures it before its first trial"
    return (
        f"the gradient of this term has {ratio:g} times the length of cross-entropy's on the calibration, so no weight "
        "gives it a pull; give its weight instead, or other options or layers"
    )
