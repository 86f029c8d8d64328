"""The images of a role, as a training reads them."""

from pathlib import Path

from kdtrain.data.data_set import DataSet
from kdtrain.data.store import Images, open_store


def open_role(config: DataSet, role: str, data_root: Path | None, cache: Path) -> Images:
    """The images of a role from the store in `cache`, built at first use.

    Raises:
        InputError: If folders, images or label maps under `data_root` are wrong, or `cache` is not writable.
    """
    return open_store(config.open(data_root), role, Path(cache))


def has_report(config: DataSet) -> bool:
    """Whether the data have a role `test`."""
    return config.has_test
