"""A stream of samples, or of what a teacher says about them: a folder of views, named by all that decides it."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from kdtrain.config_base import Strict
from kdtrain.errors import StorageError
from kdtrain.replay.array_file import FORMAT, ArrayFile, TensorSpec
from kdtrain.replay.locks import locked
from kdtrain.replay.store import USED, ReplayStore, hold_of
from kdtrain.runtime.atomic_files import write_atomically

_CLAIMS = 256
"""Lock files of a stream. Two chunks may share one: then one is made after the other."""
Known = defaultdict[tuple[int, str, TensorSpec, int], dict[int, bytes]]
"""What a process has verified: the entries of chunks by view, name, form and rows."""


class Layout(Strict):
    """What a chunk holds: a recorded batch."""

    batch: int = Field(ge=1)
    """Labelled rows."""
    extra: int = Field(default=0, ge=0)
    """Unlabelled rows, after the labelled ones."""

    @property
    def rows(self) -> int:
        """Rows of a chunk; the last of a view may have fewer."""
        return self.batch + self.extra


class _Meta(Strict):
    """The file that describes a stream."""

    format: int
    facts: dict[str, Any]
    layout: Layout


def stream_key(facts: Mapping[str, Any]) -> str:
    """16 digits of the SHA-256 of facts that JSON can hold; their order is no matter."""
    return _digest(facts)[:16]


class Stream:
    """An open stream folder `<root>/<key>/`.

    It has the layout of whoever came first, which may not be the one asked for: readers want rows, not chunks.

    Args:
        shelf: Where it stands.
        facts: All that decides its content; what differs in any of them never meets.
        layout: What a chunk holds, should nobody have begun the stream.
    """

    def __init__(self, shelf: ReplayStore, facts: Mapping[str, Any], layout: Layout) -> None:
        """Open or begin it; a disk that refuses is complained of, and then no view has any track."""
        self.shelf = shelf
        self.facts = json.loads(_canonical(facts))
        self.digest = _digest(facts)
        self.folder = shelf.root / stream_key(facts)
        self.layout = layout
        self._known: Known = defaultdict(dict)
        try:
            self.layout = self._no_broadcast(layout)
        except StorageError as error:
            shelf.complain(error.__cause__ if isinstance(error.__cause__, OSError) else OSError(str(error)))
        except OSError as error:
            shelf.complain(error)

    @contextmanager
    def view(self, number: int) -> Iterator["View"]:
        """A view, which nobody removes while it is open; its tracks are closed after it."""
        path = self.folder / f"view-{number:05d}"
        with ExitStack() as stack:
            held = False
            try:
                held = stack.enter_context(locked(hold_of(path), shared=True, wait=True))
            except OSError as error:
                self.shelf.complain(error)
            view = View(self, number, path, held, self._known)
            stack.callback(view.close)
            yield view

    def _no_broadcast(self, layout: Layout) -> Layout:
        path = self.folder / "meta.json"
        if there := self._read(path):
            return there
        with locked(self.shelf.lock, wait=True):
            if there := self._read(path):
                return there
            (self.folder / "claims").mkdir(parents=True, exist_ok=True)
            meta = _Meta(format=FORMAT, facts=self.facts, layout=layout)
            write_atomically(path, meta.model_dump_json(indent=1).encode())
        return layout

    def _read(self, path: Path) -> Layout | None:
        """The layout in a description; none if it is missing, damaged or another's."""
        try:
            meta = _Meta.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return meta.layout if (meta.format, meta.facts) == (FORMAT, self.facts) else None


class View:
    """A view in use."""

    def __init__(self, stream: Stream, number: int, path: Path, held: bool, known: Known) -> None:
        """See `Stream.view`."""
        self.stream = stream
        self.number = number
        self.path = path
        self._held = held
        self._known = known
        self._open: list[ArrayFile] = []

    def tracks(self, rows: int, forms: Mapping[str, TensorSpec], evict: bool = True) -> dict[str, ArrayFile] | None:
        """These tracks, all of the same number of rows; made if they are missing and there is room for them.

        Args:
            rows: Of each.
            forms: Of a row, by name.
            evict: Whether other views may be removed to make room.

        Returns:
            The tracks by name, open until the view is closed; or None, if they have no room or the disk refuses.
        """
        if not self._held:
            return None
        found = {name: self._track(name, form, rows) for name, form in forms.items()}
        try:
            if not self._opened(found, create=False):
                with locked(self.stream.shelf.lock, wait=True):
                    missing = sum(max(0, track.missing_bytes) for track in found.values())
                    if not self.stream.shelf.room_for(missing, evict):
                        return None
                    self.path.mkdir(exist_ok=True)
                    self._opened(found, create=True)
        except OSError as error:
            for track in found.values():
                track.close()
            self.stream.shelf.complain(error)
            return None
        self._open += found.values()
        with suppress(OSError):
            (self.path / USED).touch()
        return found

    @contextmanager
    def claim(self, chunk: int) -> Iterator[bool]:
        """The right to make a chunk, of one thread of one process; False if another has it.

        It ends with the context, or with its holder. Where there are no locks, the tracks become read-only.
        """
        name = f"{(61 * self.number + chunk) % _CLAIMS:03d}"
        with ExitStack() as stack:
            mine = False
            try:
                mine = stack.enter_context(locked(self.stream.folder / "claims" / name))
            except OSError as error:
                for track in self._open:
                    track.writable = False
                self.stream.shelf.complain(error)
            yield mine

    def close(self) -> None:
        """Close the tracks."""
        for track in self._open:
            track.close()
        self._open = []

    def _track(self, name: str, form: TensorSpec, rows: int) -> ArrayFile:
        stream, known = self.stream, self._known[self.number, name, form, rows]
        return ArrayFile(self.path, name, form, rows, stream.layout.rows, stream.digest, known, stream.shelf.complain)

    def _opened(self, tracks: Mapping[str, ArrayFile], create: bool) -> bool:
        """Open all of them, or none."""
        for track in tracks.values():
            if not track.open(create):
                for other in tracks.values():
                    other.close()
                return False
        return True


def _canonical(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(facts).encode()).hexdigest()
