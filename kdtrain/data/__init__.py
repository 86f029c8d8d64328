"""Labelled images for training: configs of data sets, a shared store, augmentation and batches."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from kdtrain.data.ade20k import ADE20K
from kdtrain.data.augment import Augment, augmented
from kdtrain.data.batches import TrainBatches, TrainSamples, epoch_order
from kdtrain.data.camvid import CamVid, CamVidFull
from kdtrain.data.cityscapes import Cityscapes
from kdtrain.data.folder import Folder
from kdtrain.data.palette import colorize
from kdtrain.data.source import IGNORE, ROLES, DataSource
from kdtrain.data.store import Images, open_store
from kdtrain.data.streets import Streets
from kdtrain.data.unlabelled import Unlabelled, open_unlabelled
from kdtrain.data.voc import VOC

DataConfig = Annotated[CamVid | CamVidFull | Cityscapes | VOC | ADE20K | Streets | Folder, Field(discriminator="name")]
"""Which images, without any path of this machine."""


def open_role(config: DataConfig, role: str, data_root: Path | None, cache: Path) -> Images:
    """The images of a role from the store in `cache`, built at first use.

    Raises:
        InputError: If folders, images or label maps under `data_root` are wrong, or `cache` is not writable.
    """
    return open_store(config.open(data_root), role, Path(cache))


def has_report(config: DataConfig) -> bool:
    """Whether the data have a role `report` at all; folders of one's own need not."""
    return not isinstance(config, Folder) or config.folders.report is not None


__all__ = [
    "ADE20K",
    "IGNORE",
    "ROLES",
    "VOC",
    "Augment",
    "CamVid",
    "CamVidFull",
    "Cityscapes",
    "DataConfig",
    "DataSource",
    "Folder",
    "Images",
    "Streets",
    "TrainBatches",
    "TrainSamples",
    "Unlabelled",
    "augmented",
    "colorize",
    "epoch_order",
    "has_report",
    "open_role",
    "open_unlabelled",
]
