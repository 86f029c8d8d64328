"""Cityscapes with its 19 classes, in the official folders."""

from pathlib import Path
from typing import Literal

from kdtrain.data.data_set import DataSet
from kdtrain.data.labels import LabelIds, few
from kdtrain.data.pairs import Pairs, PairSource, find_pairs
from kdtrain.data.source import DataSource, Palette, Role, dataset_root
from kdtrain.data.split import Split, carved
from kdtrain.errors import InputError

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
COLORS: Palette = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
    (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The id of each class in the files `*_labelIds.png`."""
VOID = tuple(label for label in range(34) if label not in LABEL_IDS)
"""The other 15 of the ids 0 to 33; the license plate's -1 can only come as 255, which is ignored as well."""
GROUP = "^([^/]+)/"
TODO = (
    "unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip, which www.cityscapes-dataset.com gives to "
    "registered users, into the folder cityscapes of the data root"
)


class Cityscapes(DataSet):
    """Cityscapes (Cordts et al. 2016): `leftImg8bit` and `gtFine` in `cityscapes/` or in the data root.

    `test` is the official val. As the labels of test are not public, `select` is whole cities of the official train.
    """

    name: Literal["cityscapes"] = "cityscapes"
    cities: tuple[str, ...] = ()
    """The cities that are set aside for `select`; without any, the split draws them."""
    select: Split = Split(from_train=0.15)
    """The share of the images that the drawn cities should hold, and the seed."""

    def open(self, data_root: Path | None) -> DataSource:
        """The files under `data_root`."""
        root = dataset_root(data_root, self.name, ("cityscapes", "."), ("leftImg8bit",), TODO)

        def find(role: Role) -> Pairs:
            split = "val" if role == "test" else "train"
            images, labels = root / "leftImg8bit" / split, root / "gtFine" / split
            pairs = find_pairs(f"Cityscapes' {split}", images, labels, "_leftImg8bit", "_gtFine_labelIds")
            return pairs if role == "test" else self._part(pairs, role)

        ids = {label: train_id for train_id, label in enumerate(LABEL_IDS)}
        return PairSource(CLASSES, COLORS, LabelIds(len(CLASSES), ids, VOID), find, GROUP)

    def _part(self, pairs: Pairs, role: Role) -> Pairs:
        if not self.cities:
            return carved(pairs, role, self.select, GROUP)
        city = {image_id: image_id.split("/")[0] for image_id in pairs.files}
        cities = sorted(set(city.values()))
        if unknown := sorted(set(self.cities) - set(cities)):
            raise InputError(f"data.cities: there is no city {few(unknown)}; known: {', '.join(cities)}")
        if set(cities) <= set(self.cities):
            raise InputError(f"data.cities: takes all {len(cities)} cities, so that none is left to train on")
        return pairs.part(lambda image_id: (city[image_id] in self.cities) == (role == "select"))
