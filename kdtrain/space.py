"""Ranges worth searching, as plain data: what a method recommends and what a study searches."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import (
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from kdtrain.config_base import Strict
from kdtrain.errors import InputError
from kdtrain.explain import sentence

Scalar = bool | int | float | str | None
LARGEST_WHOLE = 2**53
"""Up to here a float holds every whole number."""
Confidence = Literal["low", "medium", "high"]


class _Domain(Strict):
    """What both kinds of domains have: where good values are expected."""

    confidence: Confidence = "medium"
    """How sure the prior is, or where none is given, the published value that stands for it."""

    @property
    def has_prior(self) -> bool:
        """Whether a prior is given, which may be null in a choice."""
        return "prior" in self.model_fields_set

    @model_serializer(mode="wrap")
    def _as_given(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        left_out = {"prior", "confidence"} - self.model_fields_set
        return {field: value for field, value in plain(self).items() if field not in left_out}


class Range(_Domain):
    """All numbers between two ends, both included."""

    low: float
    """The lowest value."""
    high: float
    """The highest value."""
    log: bool = False
    """Whether equal ratios are equally likely, in place of equal differences."""
    integer: bool = False
    """Whether only whole numbers are tried."""
    prior: float | None = None
    """The number around which good ones are expected."""

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"the range is empty: low must be below high, got low={self.low:g}, high={self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range must start above 0, got low={self.low:g}")
        if not math.isfinite(self.high - self.low):
            raise ValueError(f"the range is wider than a float can be, got low={self.low:g}, high={self.high:g}")
        if self.integer and max(-self.low, self.high) > LARGEST_WHOLE:
            raise ValueError(f"an integer range holds numbers up to 2**53, got low={self.low:g}, high={self.high:g}")
        if self.integer and (self.low != int(self.low) or self.high != int(self.high)):
            raise ValueError(f"an integer range needs whole ends, got low={self.low:g}, high={self.high:g}")
        if self.has_prior and not contains(self, self.prior):
            whole = " that is whole" * self.integer
            raise ValueError(f"prior: must be a number{whole} from {self.low:g} to {self.high:g}, got {self.prior!r}")
        return self


class Choice(_Domain):
    """A few values, without an order."""

    choices: tuple[Scalar, ...]
    """The values."""
    prior: Scalar = None
    """The value that is expected to be the best."""

    @field_validator("choices", mode="before")
    @classmethod
    def _scalars(cls, value: object) -> object:
        for choice in value if isinstance(value, list | tuple) else ():
            if not isinstance(choice, Scalar) or (isinstance(choice, float) and not math.isfinite(choice)):
                raise ValueError(f"a choice is a finite number, a text, true, false or null, got {choice!r}")
        return value

    @model_validator(mode="after")
    def _distinct(self) -> "Choice":
        if not self.choices:
            raise ValueError("the list of choices is empty")
        if len({repr(choice) for choice in self.choices}) < len(self.choices):
            raise ValueError(f"the choices repeat a value: {list(self.choices)}")
        if self.has_prior and not contains(self, self.prior):
            raise ValueError(f"prior: must be one of {list(self.choices)}, got {self.prior!r}")
        return self


Domain = Range | Choice


def contains(domain: Domain, value: object) -> bool:
    """Whether a search over the domain could propose the value."""
    if isinstance(domain, Choice):
        return any(choice == value and type(choice) is type(value) for choice in domain.choices)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return domain.low <= value <= domain.high and (not domain.integer or value == int(value))


def parse_domain(value: object) -> Domain:
    """Read a domain as it stands in YAML: a list of choices, or a mapping with `low` and `high`.

    Raises:
        InputError: If the value is neither, or describes an empty range.
    """
    if isinstance(value, Range | Choice):
        return value
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = {"choices": tuple(value)}
    if not isinstance(value, Mapping) or not value.keys() & {*Range.model_fields, *Choice.model_fields}:
        raise InputError(f"a range is a list of choices or a mapping with low and high, got {value!r}")
    kind = Choice if "choices" in value else Range
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise InputError(sentence(error, kind)) from None
