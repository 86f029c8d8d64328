"""Labelled images for training: configs of data sets, a shared store, augmentation and batches.

The names are imported when they are first used, so that a config is read without torch.
"""

from typing import TYPE_CHECKING

from kdtrain.lazy_names import lazily

if TYPE_CHECKING:
    from kdtrain.data.ade20k import ADE20K
    from kdtrain.data.augment import Augment, augmented
    from kdtrain.data.batches import TrainBatches, TrainSamples, epoch_order
    from kdtrain.data.camvid import CamVid, CamVidFull
    from kdtrain.data.cityscapes import Cityscapes
    from kdtrain.data.coco.coco import Coco
    from kdtrain.data.data_set import DataSet
    from kdtrain.data.folder import Folder
    from kdtrain.data.lookup import DataConfig, find_data, parse_data
    from kdtrain.data.palette import colorize
    from kdtrain.data.registry import DATA_SETS
    from kdtrain.data.roles import open_data, open_role, open_roles
    from kdtrain.data.shards.shards import Shards
    from kdtrain.data.source import IGNORE, ROLES, DataSource
    from kdtrain.data.store import Images
    from kdtrain.data.streets import Streets
    from kdtrain.data.unlabelled import Unlabelled, open_unlabelled
    from kdtrain.data.voc import VOC

__all__ = [
    "ADE20K",
    "DATA_SETS",
    "IGNORE",
    "ROLES",
    "VOC",
    "Augment",
    "CamVid",
    "CamVidFull",
    "Cityscapes",
    "Coco",
    "DataConfig",
    "DataSet",
    "DataSource",
    "Folder",
    "Images",
    "Shards",
    "Streets",
    "TrainBatches",
    "TrainSamples",
    "Unlabelled",
    "augmented",
    "colorize",
    "epoch_order",
    "find_data",
    "open_data",
    "open_role",
    "open_roles",
    "open_unlabelled",
    "parse_data",
]

_MODULES = {
    "ADE20K": "kdtrain.data.ade20k",
    "Augment": "kdtrain.data.augment",
    "augmented": "kdtrain.data.augment",
    "TrainBatches": "kdtrain.data.batches",
    "TrainSamples": "kdtrain.data.batches",
    "epoch_order": "kdtrain.data.batches",
    "CamVid": "kdtrain.data.camvid",
    "CamVidFull": "kdtrain.data.camvid",
    "Cityscapes": "kdtrain.data.cityscapes",
    "Coco": "kdtrain.data.coco.coco",
    "DataSet": "kdtrain.data.data_set",
    "Folder": "kdtrain.data.folder",
    "DataConfig": "kdtrain.data.lookup",
    "find_data": "kdtrain.data.lookup",
    "parse_data": "kdtrain.data.lookup",
    "colorize": "kdtrain.data.palette",
    "DATA_SETS": "kdtrain.data.registry",
    "open_data": "kdtrain.data.roles",
    "open_role": "kdtrain.data.roles",
    "open_roles": "kdtrain.data.roles",
    "IGNORE": "kdtrain.data.source",
    "ROLES": "kdtrain.data.source",
    "DataSource": "kdtrain.data.source",
    "Shards": "kdtrain.data.shards.shards",
    "Images": "kdtrain.data.store",
    "Streets": "kdtrain.data.streets",
    "Unlabelled": "kdtrain.data.unlabelled",
    "open_unlabelled": "kdtrain.data.unlabelled",
    "VOC": "kdtrain.data.voc",
}

__getattr__, __dir__ = lazily(__name__, _MODULES)
