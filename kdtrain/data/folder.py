"""Any data set that lies in folders of images and label maps of ids or colors."""

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from kdtrain.config_base import Strict, renamed
from kdtrain.data.pairs import Pairs, find_pairs
from kdtrain.data.source import FORMER_NAMES, RelativeFolder, Role, written_name
from kdtrain.data.user_images import LabelledByMaps, RolePlaces

LATER_FIELDS = ("label_colors", "ignore_colors")


class PairFolders(Strict):
    """Two folders under the data root, whose files are matched by name."""

    images: RelativeFolder
    """The folder of images, below the data root."""
    labels: RelativeFolder
    """The folder of label maps, below the data root."""
    image_suffix: str = ""
    """What image names end with before the extension, e.g. `_leftImg8bit`; other files are passed over."""
    label_suffix: str = ""
    """What label names end with before the extension, e.g. `_gtFine_labelIds`."""


class Folders(RolePlaces[PairFolders]):
    """Where each role's images lie; without its own folders, `select` is carved out of `train`."""

    @model_validator(mode="before")
    @classmethod
    def _former_names(cls, content: object) -> object:
        return renamed(content, FORMER_NAMES)

    @model_validator(mode="after")
    def _disjoint(self) -> "Folders":
        folders = [f for f in (self.train, self.select, self.test) if isinstance(f, PairFolders)]
        places = [(str(Path(f.images)), f.image_suffix) for f in folders]
        if twice := [place for place in places if places.count(place) > 1]:
            raise ValueError(f"two roles read the same images: {twice[0][0]}")
        return self


class Folder(LabelledByMaps):
    """Images and label maps of your own."""

    name: Literal["folder"] = "folder"
    folders: Folders
    """Where the images of each role lie."""

    def hashed(self) -> dict[str, object]:
        """The fields, with the roles as they are written, and without later fields that are not used."""
        content = self.model_dump(mode="json", exclude={"absent"})
        for field in LATER_FIELDS:
            if not content[field]:
                del content[field]
        folders = {written_name(role): where for role, where in content["folders"].items()}
        return {**content, "folders": folders}

    def _find(self, role: Role, root: Path) -> Pairs:
        where = getattr(self.folders, role)
        images, labels = root / where.images, root / where.labels
        return find_pairs(f"the role {role}", images, labels, where.image_suffix, where.label_suffix)
