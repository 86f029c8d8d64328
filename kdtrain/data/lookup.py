"""The lookup of a data set by its name, built-in or third-party."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, SerializeAsAny, ValidationError

from kdtrain import foreign
from kdtrain.data.data_set import DataSet
from kdtrain.data.registry import DATA_SETS
from kdtrain.errors import InputError
from kdtrain.explain import explained, short


def find_data(name: str) -> type[DataSet]:
    """The config class of a data set: a key of `DATA_SETS`, `package.module:Class`, or the name of an entry point.

    Raises:
        InputError: If there is no such class, or it is not a subclass of DataSet.
    """
    data_set = foreign.find_object(name, DATA_SETS, foreign.DATA, "data set")
    if not (isinstance(data_set, type) and issubclass(data_set, DataSet)):
        raise InputError(
            f"the data set {name!r} must be a subclass of kdtrain.data.DataSet, got {foreign.kind_of(data_set)}"
        )
    return data_set


def parse_data(value: Mapping[str, object] | DataSet) -> DataSet:
    """Read a data set as it stands in YAML: a mapping with `name` and that data set's options.

    Raises:
        InputError: If the data set is unknown.
        ValidationError: If an option is unknown, or a value is not allowed; its place is that of the option.
    """
    if isinstance(value, DataSet):
        return value
    name = value.get("name") if isinstance(value, Mapping) else None
    if not isinstance(name, str):
        raise InputError(
            f"a data set is a mapping with the key name, one of {', '.join(DATA_SETS)}, got {short(value)}"
        )
    data_set = find_data(name)
    try:
        return data_set.model_validate(value)
    except ValidationError as error:
        raise explained(error, data_set) from None


DataConfig = Annotated[SerializeAsAny[DataSet], BeforeValidator(parse_data)]
"""A field of a config which holds any data set."""
