"""The images of a data set by role, as everything but the data sets themselves reads them."""

from collections.abc import Sequence
from pathlib import Path

from kdtrain.data.carve import carved_source
from kdtrain.data.data_set import DataSet
from kdtrain.data.source import DataSource, checked_role
from kdtrain.data.store import Images, open_store


def open_data(config: DataSet, data_root: Path | None) -> DataSource:
    """Find the images of a data set, in the roles that its `carve` gives them.

    Args:
        config: The data set.
        data_root: The folder in which data sets lie.

    Raises:
        InputError: If they are not there or are not what they must be.
    """
    return carved_source(config.open(data_root), config.carve)


def open_role(config: DataSet, role: str, data_root: Path | None, cache: Path) -> Images:
    """The images of a role from the store in `cache`, built at first use.

    Args:
        config: The data set.
        role: `train`, `select` or `test`, which may be given by its former name `report`.
        data_root: The folder in which data sets lie.
        cache: The folder for decoded data.

    Raises:
        InputError: If there is no such role, folders, images or label maps under `data_root` are wrong, or `cache`
            is not writable.
    """
    (images,) = open_roles(config, (role,), data_root, cache)
    return images


def open_roles(config: DataSet, roles: Sequence[str], data_root: Path | None, cache: Path) -> list[Images]:
    """The images of several roles, whose files are found and listed once: see `open_role`."""
    source = open_data(config, data_root)
    return [open_store(source, checked_role(role), Path(cache)) for role in roles]
