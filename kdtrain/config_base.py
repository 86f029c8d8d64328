"""The base of every config: frozen, with misspelt keys refused."""

import json
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import InitErrorDetails, PydanticCustomError

Seed = Annotated[int, Field(ge=0, le=2**53)]
"""A seed: tables hold it to the last digit, also beside missing values."""


class Strict(BaseModel):
    """A config object: immutable, validated when made, unknown keys refused, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @model_validator(mode="wrap")
    @classmethod
    def _no_truth_as_a_number(cls, content: object, validate: ModelWrapValidatorHandler[Self]) -> Self:
        config = validate(content)
        if not isinstance(content, Mapping):
            return config
        for field in type(config).model_fields:
            given = content.get(field)
            if (truth := _read_as_a_number(given, getattr(config, field))) is not None:
                text = f"must be a number, got {str(truth).lower()}"
                mistake = PydanticCustomError("value_error", "{text}", {"text": text})
                details = InitErrorDetails(type=mistake, loc=(field,), input=given)
                raise ValidationError.from_exception_data(cls.__name__, [details])
        return config


def _read_as_a_number(given: object, read: object) -> bool | None:
    """The value true or false that was read as 1 or 0, in a value or in its items; None if there is none."""
    if isinstance(given, bool):
        return given if isinstance(read, int | float) and not isinstance(read, bool) else None
    if isinstance(given, Mapping) and isinstance(read, Mapping):
        pairs = [(given[key], read.get(key)) for key in given]
    elif isinstance(given, list | tuple) and isinstance(read, list | tuple):
        pairs = list(zip(given, read, strict=False))
    else:
        return None
    return next((truth for pair in pairs if (truth := _read_as_a_number(*pair)) is not None), None)


def plain_values(value: object) -> object:
    """The value as JSON holds it, for a field that takes any: numbers are finite, keys are texts.

    Raises:
        ValueError: If JSON cannot hold it.
    """
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"must be values that JSON can hold ({error}), got {value!r}") from None


def renamed(content: object, names: Mapping[str, str]) -> object:
    """The content of a config with its fields under other names: `names` maps the given name to the other one.

    Raises:
        ValueError: If a field stands there under both names.
    """
    if not isinstance(content, Mapping):
        return content
    if twice := [name for name in names if name in content and names[name] in content]:
        raise ValueError(f"{names[twice[0]]} and {twice[0]} are names of one field: give it once")
    return {names.get(name, name): value for name, value in content.items()}
