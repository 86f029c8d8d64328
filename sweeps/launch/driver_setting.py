"""What a worker process of a cluster takes over from the process of the driver, wherever the worker was started."""

import contextlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kdtrain.foreign import Trust, trusted_modules, trusting

_INSTALLED = ("stdlib", "platstdlib", "purelib", "platlib")


@dataclass(frozen=True)
class DriverSetting:
    """The current folder, the folders in which Python finds modules of the user, and the modules that are trusted.

    Attributes:
        folder: The folder from which relative paths in a config start.
        import_path: Folders that a worker adds to the end of its own import path.
        trusted: Trusted modules; none for all.
    """

    folder: str
    import_path: tuple[str, ...]
    trusted: tuple[str, ...] | None

    @classmethod
    def here(cls) -> "DriverSetting":
        """The setting of this process."""
        installed = {Path(sysconfig.get_path(name)).resolve() for name in _INSTALLED}
        folders = (Path(entry or os.curdir).absolute() for entry in sys.path)
        users = (str(path) for path in folders if path.is_dir() and not _is_below(path.resolve(), installed))
        trusted = trusted_modules()
        return cls(str(Path.cwd()), tuple(dict.fromkeys(users)), None if trusted is None else tuple(sorted(trusted)))

    @contextlib.contextmanager
    def taken_over(self) -> Iterator[None]:
        """Work with this setting, as far as this machine has its folders; the folders stay for later work."""
        if Path(self.folder).is_dir():
            os.chdir(self.folder)
        sys.path += [path for path in self.import_path if path not in sys.path]
        with trusting(Trust(None if self.trusted is None else frozenset(self.trusted))):
            yield


def _is_below(path: Path, folders: set[Path]) -> bool:
    return path in folders or not folders.isdisjoint(path.parents)
