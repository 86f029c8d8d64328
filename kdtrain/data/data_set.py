"""The base of the configs of data sets."""

from pathlib import Path

from pydantic import Field, model_validator

from kdtrain.config_base import Strict
from kdtrain.data.carve import Carve
from kdtrain.data.source import DataSource
from kdtrain.foreign import called_by_reference


class DataSet(Strict):
    """Which images, without any path of this machine; `kdtrain.data.open_data` finds them."""

    name: str = ""
    """A key of `DATA_SETS` or an entry point, one literal per subclass; a third-party class that leaves the field
    out is called `package.module:Class`."""

    absent: tuple[str, ...] = ()
    """Classes that may have no pixel in `train`; any other class without one is an error before a sweep."""

    carve: Carve | None = Field(default=None, exclude_if=lambda carve: carve is None)
    """How `train` and `select` are divided anew by whole groups; `null` leaves them as the data set has them."""

    @model_validator(mode="before")
    @classmethod
    def _called_by_its_reference(cls, content: object) -> object:
        return called_by_reference(cls, "name", content)

    @property
    def has_test(self) -> bool:
        """Whether there is a role `test` at all."""
        return True

    @property
    def name_with_roles(self) -> str:
        """The name, with how `train` and `select` are carved: what a teacher's card says it was trained on."""
        return self.name if self.carve is None else f"{self.name} ({self.carve.words})"

    def hashed(self) -> dict[str, object]:
        """What `config_id` is made of: the fields that decide pixels, under the names that they had at first."""
        return self.model_dump(mode="json", exclude={"absent"})

    def may_be_absent(self, name: str) -> bool:
        """Whether `train` may have no pixel of a class."""
        return name in self.absent

    @property
    def ignored_labels(self) -> str:
        """Which labels of the files are ignored, in words for an error; empty where that cannot be set."""
        return ""

    def open(self, data_root: Path | None) -> DataSource:
        """Find the images, in the roles that the data set itself gives them; `open_data` also carves.

        Args:
            data_root: The folder in which data sets lie.

        Raises:
            InputError: If they are not there or are not what they must be.
        """
        raise NotImplementedError
