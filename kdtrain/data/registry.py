"""The data sets of this project by name."""

from kdtrain.data.ade20k import ADE20K
from kdtrain.data.camvid import CamVid, CamVidFull
from kdtrain.data.cityscapes import Cityscapes
from kdtrain.data.coco.coco import Coco
from kdtrain.data.data_set import DataSet
from kdtrain.data.folder import Folder
from kdtrain.data.shards.shards import Shards
from kdtrain.data.streets import Streets
from kdtrain.data.voc import VOC

DATA_SETS: dict[str, type[DataSet]] = {
    "camvid": CamVid,
    "camvid_full": CamVidFull,
    "cityscapes": Cityscapes,
    "voc": VOC,
    "ade20k": ADE20K,
    "streets": Streets,
    "folder": Folder,
    "shards": Shards,
    "coco": Coco,
}
