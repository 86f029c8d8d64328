"""Pascal VOC 2012 with its 21 classes, in the official folders; with the further labels of SBD where they are."""

from pathlib import Path
from typing import Literal

from kdtrain.data.data_set import DataSet
from kdtrain.data.files import read_list
from kdtrain.data.labels import LabelIds, few
from kdtrain.data.pairs import Pairs, PairSource, listed_pairs
from kdtrain.data.source import DataSource, Palette, Role, dataset_root
from kdtrain.data.split import Split, carved
from kdtrain.errors import InputError

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
COLORS: Palette = (
    (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128),
    (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128), (192, 0, 128), (64, 128, 128),
    (192, 128, 128), (0, 64, 0), (128, 64, 0), (0, 192, 0), (128, 192, 0), (0, 64, 128),
)  # fmt: skip
SBD_LISTS = ("train_aug.txt", "trainaug.txt")
TODO = "`kdsweep data get voc` fetches them, or unpack VOCtrainval_11-May-2012.tar in the data root"
SBD_TODO = (
    "put there the list of the 10,582 names that is known by it (VOC's train and SBD's images without VOC's val), "
    "and SBD's labels as PNGs into SegmentationClassAug"
)


class VOC(DataSet):
    """Pascal VOC 2012 (Everingham et al. 2015): `VOCdevkit/VOC2012` in the data root.

    `test` is the official val. As the labels of test are not public, `select` is carved out of train.
    """

    name: Literal["voc"] = "voc"
    sbd: bool = False
    """Train on SBD's labels, too (Hariharan et al. 2011): the list `train_aug.txt`, PNGs in `SegmentationClassAug`."""
    select: Split = Split()
    """The share of the training images that is set aside, and the seed that draws them."""

    def open(self, data_root: Path | None) -> DataSource:
        """The files under `data_root`."""
        places = ("VOCdevkit/VOC2012", "VOC2012", "voc/VOCdevkit/VOC2012", ".")
        root = dataset_root(data_root, self.name, places, ("ImageSets/Segmentation",), TODO)
        lists, images = root / "ImageSets" / "Segmentation", root / "JPEGImages"

        def find(role: Role) -> Pairs:
            if role == "test":
                return listed_pairs("VOC's val", read_list("VOC's val", lists / "val.txt"), images, labels)
            names = self._training(lists)
            pairs = listed_pairs("VOC's train", names, images, root / "SegmentationClassAug" if self.sbd else labels)
            return carved(pairs, role, self.select, None)

        labels = root / "SegmentationClass"
        # Label files are palette images, whose indices are the classes; 255 is the border of objects.
        return PairSource(CLASSES, COLORS, LabelIds(len(CLASSES)), find, None)

    def _training(self, lists: Path) -> tuple[str, ...]:
        if not self.sbd:
            return read_list("VOC's train", lists / "train.txt")
        file = next((lists / name for name in SBD_LISTS if (lists / name).is_file()), lists / SBD_LISTS[0])
        names = read_list("VOC's train with SBD", file, SBD_TODO)
        val = set(read_list("VOC's val", lists / "val.txt"))
        if both := [name for name in names if name in val]:
            raise InputError(f"{file} lists {len(both)} images of VOC's val, which must stay unseen: {few(both)}")
        return names
