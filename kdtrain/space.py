"""Ranges worth searching, as plain data: what a method recommends and what a study searches."""

import math
from collections.abc import Mapping, Sequence

from pydantic import ValidationError, field_validator, model_validator

from kdtrain.config_base import Strict
from kdtrain.errors import InputError
from kdtrain.explain import sentence

Scalar = bool | int | float | str | None
LARGEST_WHOLE = 2**53
"""Up to here a float holds every whole number."""


class Range(Strict):
    """All numbers between two ends, both included."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

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
        return self


class Choice(Strict):
    """A few values, without an order."""

    choices: tuple[Scalar, ...]

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
        return self


Domain = Range | Choice


def parse_domain(value: object) -> Domain:
    """Read a domain as it stands in YAML: a list of choices, or a mapping with `low` and `high`.

    Raises:
        InputError: If the value is neither, or describes an empty range.
    """
    if isinstance(value, Range | Choice):
        return value
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = {"choices": tuple(value)}
    if not isinstance(value, Mapping):
        raise InputError(f"a range is a list of choices or a mapping with low and high, got {value!r}")
    kind = Choice if "choices" in value else Range
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise InputError(sentence(error, kind)) from None
