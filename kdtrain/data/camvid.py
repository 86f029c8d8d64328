"""CamVid: with 11 classes as in the SegNet tutorial, and at its full size with the 32 colors of its label maps."""

from pathlib import Path
from typing import Literal

from kdtrain.data.data_set import DataSet
from kdtrain.data.files import read_list
from kdtrain.data.labels import LabelColors, LabelIds, few
from kdtrain.data.pairs import Pairs, PairSource, find_pairs, listed_pairs
from kdtrain.data.source import IGNORE, DataSource, Palette, Role, checked_root, dataset_root
from kdtrain.errors import InputError

CLASSES = (
    "Sky", "Building", "Pole", "Road", "Pavement", "Tree",
    "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
)  # fmt: skip
COLORS: Palette = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
VOID = 11
SPLITS: dict[Role, str] = {"train": "train", "select": "val", "test": "test"}
GROUP = "^([^_]+)"
"""The sequence that a frame belongs to."""

FULL_COLORS: dict[str, tuple[int, int, int]] = {
    "Animal": (64, 128, 64), "Archway": (192, 0, 128), "Bicyclist": (0, 128, 192), "Bridge": (0, 128, 64),
    "Building": (128, 0, 0), "Car": (64, 0, 128), "CartLuggagePram": (64, 0, 192), "Child": (192, 128, 64),
    "Column_Pole": (192, 192, 128), "Fence": (64, 64, 128), "LaneMkgsDriv": (128, 0, 192),
    "LaneMkgsNonDriv": (192, 0, 64), "Misc_Text": (128, 128, 64), "MotorcycleScooter": (192, 0, 192),
    "OtherMoving": (128, 64, 64), "ParkingBlock": (64, 192, 128), "Pedestrian": (64, 64, 0), "Road": (128, 64, 128),
    "RoadShoulder": (128, 128, 192), "Sidewalk": (0, 0, 192), "SignSymbol": (192, 128, 128), "Sky": (128, 128, 128),
    "SUVPickupTruck": (64, 128, 192), "TrafficCone": (0, 0, 64), "TrafficLight": (0, 64, 64), "Train": (192, 64, 128),
    "Tree": (128, 128, 0), "Truck_Bus": (192, 128, 192), "Tunnel": (64, 0, 64), "VegetationMisc": (192, 192, 0),
    "Void": (0, 0, 0), "Wall": (64, 192, 0),
}  # fmt: skip
"""The 32 of `label_colors.txt`."""
GROUPED: dict[str, tuple[str, ...]] = {
    "Sky": ("Sky",),
    "Building": ("Building", "Bridge", "Wall", "Tunnel", "Archway"),
    "Pole": ("Column_Pole", "TrafficCone"),
    "Road": ("Road", "LaneMkgsDriv", "LaneMkgsNonDriv"),
    "Pavement": ("Sidewalk", "ParkingBlock", "RoadShoulder"),
    "Tree": ("Tree", "VegetationMisc"),
    "SignSymbol": ("SignSymbol", "Misc_Text", "TrafficLight"),
    "Fence": ("Fence",),
    "Car": ("Car", "SUVPickupTruck", "Truck_Bus", "Train", "OtherMoving"),
    "Pedestrian": ("Pedestrian", "Child", "CartLuggagePram", "Animal"),
    "Bicyclist": ("Bicyclist", "MotorcycleScooter"),
}
"""The usual 11 classes; which small class goes where is that of MathWorks' examples (secondary)."""
FULL_LAYOUTS = (
    ("701_StillsRaw_full", "LabeledApproved_full"),
    ("images/701_StillsRaw_full", "labels"),
    ("images", "labels"),
)
FULL_TODO = "unpack 701_StillsRaw_full.zip and LabeledApproved_full.zip of CamVid's own page there"
LISTS_TODO = "the lists of the SegNet tutorial (train.txt, val.txt, test.txt) say which frame is in which role"


class CamVid(DataSet):
    """CamVid (Brostow et al. 2009): `train`, `trainannot`, `val`, ... in the root or in `camvid/`."""

    name: Literal["camvid"] = "camvid"

    def open(self, data_root: Path | None) -> DataSource:
        """The files under `data_root`, or under its folder `camvid`."""
        top = checked_root(data_root, self.name)
        root = next((folder for folder in (top, top / "camvid") if (folder / SPLITS["train"]).is_dir()), None)
        if root is None:
            raise InputError(
                f"CamVid's role train has no folder of images: looked for {top / 'train'} and {top / 'camvid/train'}; "
                "`kdsweep data get camvid` fetches them"
            )

        def find(role: Role) -> Pairs:
            folder = SPLITS[role]
            return find_pairs(f"CamVid's role {role}", root / folder, root / f"{folder}annot")

        return PairSource(CLASSES, COLORS, LabelIds(len(CLASSES), ignore=[VOID]), find, GROUP)


class CamVidFull(DataSet):
    """CamVid at 720 x 960 with label maps `*_L.png` in colors, split by `train.txt`, `val.txt` and `test.txt`.

    Images lie in `701_StillsRaw_full` and labels in `LabeledApproved_full`, or in `images` and `labels`; these and the
    lists in the root, in `camvid_full/` or in `camvid/`. A list names a frame a line, bare or as a path.
    """

    name: Literal["camvid_full"] = "camvid_full"
    classes: Literal[11, 31, 32] = 11
    """11: the usual groups; 31: each color but Void, which is ignored; 32: Void is a class like the others."""

    def open(self, data_root: Path | None) -> DataSource:
        """The files under `data_root`."""
        root = dataset_root(
            data_root, self.name, ("camvid_full", "camvid", "."), tuple(images for images, _ in FULL_LAYOUTS), FULL_TODO
        )
        images, labels = next((i, ls) for i, ls in FULL_LAYOUTS if (root / i).is_dir())

        def names(role: Role) -> tuple[str, ...]:
            return read_list(f"CamVid's role {role}", root / f"{SPLITS[role]}.txt", LISTS_TODO)

        def find(role: Role) -> Pairs:
            listed = names(role)
            for earlier in SPLITS:
                if earlier == role:
                    break
                if both := sorted(set(listed) & set(names(earlier))):
                    raise InputError(f"CamVid's lists in {root} give {few(both)} to {earlier} and to {role}")
            return listed_pairs(f"CamVid's role {role}", listed, root / images, root / labels, "_L")

        classes, palette, ids = self._classes()
        return PairSource(classes, palette, LabelColors(ids), find, GROUP)

    def _classes(self) -> tuple[tuple[str, ...], Palette, dict[tuple[int, int, int], int]]:
        """Names and colors of the classes, and the class of each color in the label maps."""
        if self.classes == 11:
            group = {member: index for index, members in enumerate(GROUPED.values()) for member in members}
            return CLASSES, COLORS, {color: group.get(name, IGNORE) for name, color in FULL_COLORS.items()}
        names = tuple(name for name in FULL_COLORS if name != "Void" or self.classes == 32)
        ids = {color: names.index(name) if name in names else IGNORE for name, color in FULL_COLORS.items()}
        return names, tuple(FULL_COLORS[name] for name in names), ids
