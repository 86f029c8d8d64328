"""The folder of all streams: how large it may be, and which views are removed when another needs space."""

import logging
import shutil
from contextlib import ExitStack
from pathlib import Path

from kdtrain.replay.locks import locked

USED = "used"
_log = logging.getLogger(__name__)


def hold_of(view: Path) -> Path:
    """The lock that all users of a view share; beside the view's folder, so that it outlives the folder."""
    return view.with_name(f"{view.name}.lock")


class ReplayStore:
    """A replay store.

    Args:
        root: Its folder, on a local disk; made if missing.
        max_bytes: Limit of the size of all arrays. An array counts with its full size from its first chunk on.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        """Open it; an error of the disk is logged, not raised."""
        self.root = root
        self.max_bytes = max_bytes
        self.lock = root / "lock"
        """Held while a stream or an array is created, or views are removed."""
        self._warned = False
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.warn_once(error)

    def size(self) -> int:
        """Bytes of all arrays at their full size."""
        return sum(_bytes(view)[0] for view in self._views())

    def room_for(self, needed: int, evict: bool = True) -> bool:
        """Whether `needed` more bytes fit; the least recently used views are removed if that makes them fit.

        A view in use stays, and none is removed unless that makes the bytes fit, or unless `evict`. The caller holds
        `lock` from here until the arrays are created.
        """
        try:
            views = self._views()
            over = sum(_bytes(view)[0] for view in views) + needed - self.max_bytes
            short = needed - shutil.disk_usage(self.root).free
            with ExitStack() as locks:
                to_remove = []
                for view in sorted(views if evict else (), key=_last_use):
                    if over <= 0 and short <= 0:
                        break
                    if locks.enter_context(locked(hold_of(view))):
                        to_remove.append(view)
                        full_size, taken = _bytes(view)
                        over, short = over - full_size, short - taken
                if over > 0 or short > 0:
                    return False
                for view in to_remove:
                    shutil.rmtree(view)
            return True
        except OSError as error:
            self.warn_once(error)
            return False

    def warn_once(self, error: OSError) -> None:
        """Log an error of the disk, once; trainings continue without the store."""
        if not self._warned:
            reason = error.strerror or error
            _log.warning("the replay store %s cannot be used (%s): maps are computed live", self.root, reason)
        self._warned = True

    def _views(self) -> list[Path]:
        return [path for path in self.root.glob("*/view-*") if path.is_dir()]


def _bytes(view: Path) -> tuple[int, int]:
    """Bytes of the arrays of a view: at their full size, and so far."""
    full_size = taken = 0
    for file in view.glob("*.bin"):
        try:
            stat = file.stat()
        except OSError:  # just removed
            continue
        full_size, taken = full_size + stat.st_size, taken + stat.st_blocks * 512
    return full_size, taken


def _last_use(view: Path) -> int:
    try:
        return (view / USED).stat().st_mtime_ns
    except OSError:
        return 0
