"""Labelled images for training: configs of data sets, a shared store, augmentation and batches."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from kdtrain.data.augment import Augment, augmented
from kdtrain.data.batches import TrainBatches, TrainSamples, epoch_order
from kdtrain.data.camvid import CamVid
from kdtrain.data.folder import Folder
from kdtrain.data.palette import colorize
from kdtrain.data.source import IGNORE, ROLES, DataSource
from kdtrain.data.store import Images, open_store
from kdtrain.data.streets import Streets

DataConfig = Annotated[CamVid | Streets | Folder, Field(discriminator="name")]
"""Which images, without any path of this machine."""


def open_role(config: CamVid | Streets | Folder, role: str, data_root: Path | None, cache: Path) -> Images:
    """The images of a role from the store in `cache`, built at first use.

    Raises:
        InputError: If folders, images or label maps under `data_root` are wrong, or `cache` is not writable.
    """
    return open_store(config.open(data_root), role, Path(cache))


def has_report(config: CamVid | Streets | Folder) -> bool:
    """Whether the data have a role `report` at all; folders of one's own need not."""
    return not isinstance(config, Folder) or config.folders.report is not None


__all__ = [
    "IGNORE",
    "ROLES",
    "Augment",
    "CamVid",
    "DataConfig",
    "DataSource",
    "Folder",
    "Images",
    "Streets",
    "TrainBatches",
    "TrainSamples",
    "augmented",
    "colorize",
    "epoch_order",
    "has_report",
    "open_role",
]
