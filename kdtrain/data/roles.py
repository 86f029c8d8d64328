"""The images of a role, as a training reads them."""

from pathlib import Path

from kdtrain.data.data_set import DataSet
from kdtrain.data.source import checked_role
from kdtrain.data.store import Images, open_store


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
    return open_store(config.open(data_root), checked_role(role), Path(cache))
