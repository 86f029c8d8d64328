"""CamVid with 11 classes, in the folder layout of the SegNet tutorial."""

from pathlib import Path
from typing import Literal

from kdtrain.config_base import Strict
from kdtrain.data.pairs import LabelIds, Pairs, PairSource, find_pairs
from kdtrain.data.source import DataSource, Palette, Role, checked_root

CLASSES = (
    "Sky", "Building", "Pole", "Road", "Pavement", "Tree",
    "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
)  # fmt: skip
COLORS: Palette = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
VOID = 11
FOLDERS: dict[Role, str] = {"train": "train", "select": "val", "report": "test"}


class CamVid(Strict):
    """CamVid (Brostow et al. 2009): `train`, `trainannot`, `val`, ... in the root or in `camvid/`."""

    name: Literal["camvid"] = "camvid"

    def open(self, data_root: Path | None) -> DataSource:
        """The files under `data_root`, or under its folder `camvid`."""
        root = checked_root(data_root, "camvid")
        if not (root / FOLDERS["train"]).is_dir():
            root = root / "camvid"

        def find(role: Role) -> Pairs:
            folder = FOLDERS[role]
            return find_pairs(f"CamVid's role {role}", root / folder, root / f"{folder}annot")

        return PairSource(CLASSES, COLORS, LabelIds(len(CLASSES), ignore=[VOID]), find, group="^([^_]+)")
