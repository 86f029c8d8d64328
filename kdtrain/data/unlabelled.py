"""Images without labels in a training's batches: the student learns from them through the teacher alone."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from pydantic import Field

from kdtrain.config_base import Strict
from kdtrain.data.apart import check_unlabelled_apart
from kdtrain.data.data_set import DataSet
from kdtrain.data.decode import image_reading, read_image
from kdtrain.data.files import IMAGE_SUFFIXES, files_digest, files_listing
from kdtrain.data.roles import open_data
from kdtrain.data.source import IGNORE, Palette, Pixels, RelativeFolder, checked_root
from kdtrain.data.store import Images, open_store
from kdtrain.data.stored import Stored
from kdtrain.data.walk import walk
from kdtrain.runtime.random_streams import numpy_rng

ROLE = "unlabelled"


class Unlabelled(Strict):
    """Further images in every batch; all their pixels have the label that is ignored, so no loss on labels sees them.

    Batch norm takes its statistics from all images of a batch.
    """

    images: RelativeFolder
    """A folder under the data root, with the folders in it."""
    per_batch: int = Field(gt=0)
    """How many of them come after the `batch_size` labelled images of every batch."""

    def open(self, data_root: Path | None, labelled: DataSet | None = None) -> "UnlabelledSource":
        """The images under `data_root`, none of which may be among the labelled images of any role.

        Raises:
            InputError: If the folder is missing or empty, or an image is among the labelled.
        """
        source = UnlabelledSource(checked_root(data_root, ROLE) / self.images)
        if labelled is not None:
            check_unlabelled_apart(source, self.images, open_data(labelled, data_root))
        return source


class UnlabelledSource:
    """Images of one folder, with label maps full of 255; see `DataSource` for what its methods promise."""

    classes: tuple[str, ...] = ()
    palette: Palette = ()
    ignore_index = IGNORE

    def __init__(self, folder: Path) -> None:
        """Find the images in the folder."""
        found = walk("the data unlabelled", "images", folder, IMAGE_SUFFIXES)
        self._files = {image_id: (file,) for image_id, file in found.files.items()}
        self._notes = found.notes

    def ids(self, role: str = ROLE) -> tuple[str, ...]:
        """Image ids in alphabetical order."""
        return tuple(self._files)

    def image_files(self, role: str = ROLE) -> Mapping[str, Stored]:
        """The files by id."""
        return {image_id: file for image_id, (file,) in self._files.items()}

    def notes(self, role: str = ROLE) -> tuple[str, ...]:
        """What was passed over in the folder, in sentences."""
        return self._notes

    def group(self, image_id: str) -> str:
        """The image itself."""
        return image_id

    def read(self, role: str, image_id: str) -> tuple[Pixels, Pixels]:
        """Decode one image."""
        image = read_image(self._files[image_id][0])
        return image, np.full(image.shape[:2], IGNORE, dtype=np.uint8)

    def listing(self, role: str = ROLE) -> str:
        """Names, sizes and times of all files."""
        return files_listing(ROLE.encode(), self._files)

    def digest(self, role: str = ROLE) -> str:
        """Hash of ids and file contents."""
        return files_digest(ROLE.encode(), self._files, (image_reading,))


def open_unlabelled(config: Unlabelled, data_root: Path | None, cache: Path, labelled: DataSet | None = None) -> Images:
    """The images from the store in `cache`, built at first use.

    Args:
        config: Where they lie.
        data_root: The folder in which data sets lie.
        cache: The folder for decoded data.
        labelled: The labelled images of the same training, none of which may be among them.

    Raises:
        InputError: If the folder under `data_root` is missing or empty, an image is bad, or it is among the labelled.
    """
    return open_store(config.open(data_root, labelled), ROLE, Path(cache))


def unlabelled_order(count: int, data_seed: int, epoch: int) -> Iterator[tuple[int, int]]:
    """The endless order of an epoch: (turn, image), each image once in every turn."""
    turn = 0
    while True:
        for image in numpy_rng(data_seed, ROLE, "order", epoch, turn).permutation(count).tolist():
            yield turn, image
        turn += 1
