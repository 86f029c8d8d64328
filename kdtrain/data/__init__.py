"""Labelled images for training: configs of data sets, a shared store, augmentation and batches."""

from kdtrain.data.ade20k import ADE20K
from kdtrain.data.augment import Augment, augmented
from kdtrain.data.batches import TrainBatches, TrainSamples, epoch_order
from kdtrain.data.camvid import CamVid, CamVidFull
from kdtrain.data.cityscapes import Cityscapes
from kdtrain.data.data_set import DataSet
from kdtrain.data.folder import Folder
from kdtrain.data.lookup import DataConfig, find_data, parse_data
from kdtrain.data.palette import colorize
from kdtrain.data.registry import DATA_SETS
from kdtrain.data.roles import open_data, open_role
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
    "DataConfig",
    "DataSet",
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
    "find_data",
    "open_data",
    "open_role",
    "open_unlabelled",
    "parse_data",
]
