"""The options of a sampler: a frozen object that refuses unknown keys and values that are not allowed."""

from typing import Annotated, TypeVar

from pydantic import BeforeValidator, ValidationError

from kdtrain.config_base import Strict
from kdtrain.errors import InputError
from kdtrain.explain import sentence

T = TypeVar("T", bound=Strict)


def _true_or_false(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, got {value!r}")
    return value


Switch = Annotated[bool, BeforeValidator(_true_or_false)]
"""True or false, and no number that could be read as one of them."""


def checked(kind: type[T], **given: object) -> T:
    """The options that were given.

    Raises:
        InputError: In one sentence, with the option named.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise InputError(sentence(error, kind)) from None
