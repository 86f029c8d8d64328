"""The folder of all streams: how large it may be, and which view goes when another needs the room."""

import logging
import shutil
from contextlib import ExitStack
from pathlib import Path

from kdtrain.replay.locks import locked

USED = "used"
_log = logging.getLogger(__name__)


def hold_of(view: Path) -> Path:
    """The lock that those share who use a view; beside the folder, so that it outlives it."""
    return view.with_name(f"{view.name}.lock")


class ReplayStore:
    """A replay store.

    Args:
        root: Its folder, on a local disk; made if missing.
        max_bytes: What its tracks may take together. A track counts whole from its first chunk on.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        """Open it; a disk that refuses is complained of, not raised."""
        self.root = root
        self.max_bytes = max_bytes
        self.lock = root / "lock"
        """Held while a stream or a track is created, or room is made."""
        self._complained = False
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.complain(error)

    def size(self) -> int:
        """Bytes of all tracks, as promised to them."""
        return sum(_bytes(view)[0] for view in self._views())

    def room_for(self, needed: int, evict: bool = True) -> bool:
        """Whether so many bytes more fit; the views that were used longest ago are removed if that makes them fit.

        A view in use stays, and none is removed in vain, or at all unless `evict`. Hold `lock` from here until the room
        is taken.
        """
        try:
            views = self._views()
            over = sum(_bytes(view)[0] for view in views) + needed - self.max_bytes
            short = needed - shutil.disk_usage(self.root).free
            with ExitStack() as locks:
                doomed = []
                for view in sorted(views if evict else (), key=_last_use):
                    if over <= 0 and short <= 0:
                        break
                    if locks.enter_context(locked(hold_of(view))):
                        doomed.append(view)
                        promised, taken = _bytes(view)
                        over, short = over - promised, short - taken
                if over > 0 or short > 0:
                    return False
                for view in doomed:
                    shutil.rmtree(view)
            return True
        except OSError as error:
            self.complain(error)
            return False

    def complain(self, error: OSError) -> None:
        """Say once that the disk refuses; trainings go on without the store."""
        if not self._complained:
            reason = error.strerror or error
            _log.warning("the replay store %s cannot be used (%s): what it lacks is computed live", self.root, reason)
        self._complained = True

    def _views(self) -> list[Path]:
        return [path for path in self.root.glob("*/view-*") if path.is_dir()]


def _bytes(view: Path) -> tuple[int, int]:
    """What the tracks of a view are promised, and what they take so far."""
    promised = taken = 0
    for file in view.glob("*.bin"):
        try:
            stat = file.stat()
        except OSError:  # removed meanwhile
            continue
        promised, taken = promised + stat.st_size, taken + stat.st_blocks * 512
    return promised, taken


def _last_use(view: Path) -> int:
    try:
        return (view / USED).stat().st_mtime_ns
    except OSError:
        return 0
