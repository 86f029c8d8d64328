"""A stream of samples, or of a teacher's maps of them: a folder of views, named by all that decides its content."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pydantic import Field, ValidationError

from kdtrain.config_base import Strict
from kdtrain.errors import StorageError
from kdtrain.replay.array_file import FORMAT, ArrayFile, TensorSpec
from kdtrain.replay.locks import locked
from kdtrain.replay.store import USED, ReplayStore, hold_of
from kdtrain.runtime.atomic_files import write_atomically

_CLAIMS = 256
"""Lock files of a stream. Two chunks may share a file: then they are made one after the other."""


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
    facts: dict[str, object]
    layout: Layout


def stream_key(facts: Mapping[str, object]) -> str:
    """16 digits of the SHA-256 of facts that JSON can hold, in any order."""
    return _digest(facts)[:16]


class Stream:
    """An open stream folder `<root>/<key>/`.

    Its layout is that of the process that began it, which may differ from the argument: readers need rows, not chunks.

    Args:
        store: The store that it belongs to.
        facts: All that decides its content: streams that differ in any fact have folders of their own.
        layout: What a chunk holds, if nobody has begun the stream.
    """

    def __init__(self, store: ReplayStore, facts: Mapping[str, object], layout: Layout) -> None:
        """Open or begin it; an error of the disk is logged, and then no view has any array."""
        self.store = store
        self.facts = json.loads(_canonical(facts))
        self.digest = _digest(facts)
        self.folder = store.root / stream_key(facts)
        self.layout = layout
        try:
            self.layout = self._layout_on_disk(layout)
        except StorageError as error:
            store.warn_once(error.__cause__ if isinstance(error.__cause__, OSError) else OSError(str(error)))
        except OSError as error:
            store.warn_once(error)

    @contextmanager
    def view(self, number: int) -> Iterator["View"]:
        """Open a view, which nobody removes while it is open; its arrays are closed with it."""
        path = self.folder / f"view-{number:05d}"
        with ExitStack() as stack:
            held = False
            try:
                held = stack.enter_context(locked(hold_of(path), shared=True, wait=True))
            except OSError as error:
                self.store.warn_once(error)
            view = View(self, number, path, held)
            stack.callback(view.close)
            yield view

    def _layout_on_disk(self, layout: Layout) -> Layout:
        path = self.folder / "meta.json"
        if existing := self._read(path):
            return existing
        with locked(self.store.lock, wait=True):
            if existing := self._read(path):
                return existing
            (self.folder / "claims").mkdir(parents=True, exist_ok=True)
            meta = _Meta(format=FORMAT, facts=self.facts, layout=layout)
            write_atomically(path, meta.model_dump_json(indent=1).encode())
        return layout

    def _read(self, path: Path) -> Layout | None:
        """The layout in a description; None if that is missing, damaged or of another stream."""
        try:
            meta = _Meta.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return meta.layout if (meta.format, meta.facts) == (FORMAT, self.facts) else None


class View:
    """An open view."""

    def __init__(self, stream: Stream, number: int, path: Path, held: bool) -> None:
        """See `Stream.view`."""
        self.stream = stream
        self.number = number
        self.path = path
        self._held = held
        self._open: list[ArrayFile] = []

    def arrays(self, rows: int, specs: Mapping[str, TensorSpec], evict: bool = True) -> dict[str, ArrayFile] | None:
        """Open arrays, all of the same number of rows; those that are missing are created if they fit into the store.

        Args:
            rows: Of each array.
            specs: Of a row, by the name of the array.
            evict: Whether other views may be removed for them.

        Returns:
            The arrays by name, open until the view is closed; or None, if they do not fit or the disk refuses.
        """
        if not self._held:
            return None
        opened = {name: self._array(name, spec, rows) for name, spec in specs.items()}
        try:
            if not self._open_all(opened, create=False):
                with locked(self.stream.store.lock, wait=True):
                    missing = sum(max(0, array.missing_bytes) for array in opened.values())
                    if not self.stream.store.room_for(missing, evict):
                        return None
                    self.path.mkdir(exist_ok=True)
                    self._open_all(opened, create=True)
        except OSError as error:
            for array in opened.values():
                array.close()
            self.stream.store.warn_once(error)
            return None
        self._open += opened.values()
        with suppress(OSError):
            (self.path / USED).touch()
        return opened

    @contextmanager
    def claim(self, chunk: int) -> Iterator[bool]:
        """Claim the right to make a chunk for one thread of one process; False if another has it.

        The claim ends with the context, or with its holder. Without locks, the arrays become read-only.
        """
        name = f"{(61 * self.number + chunk) % _CLAIMS:03d}"
        with ExitStack() as stack:
            mine = False
            try:
                mine = stack.enter_context(locked(self.stream.folder / "claims" / name))
            except OSError as error:
                for array in self._open:
                    array.writable = False
                self.stream.store.warn_once(error)
            yield mine

    def close(self) -> None:
        """Close the arrays."""
        for array in self._open:
            array.close()
        self._open = []

    def _array(self, name: str, spec: TensorSpec, rows: int) -> ArrayFile:
        stream = self.stream
        return ArrayFile(self.path, name, spec, rows, stream.layout.rows, stream.digest, stream.store.warn_once)

    def _open_all(self, arrays: Mapping[str, ArrayFile], create: bool) -> bool:
        """Open all of them, or none."""
        for array in arrays.values():
            if not array.open(create):
                for opened in arrays.values():
                    opened.close()
                return False
        return True


def _canonical(facts: Mapping[str, object]) -> str:
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(facts: Mapping[str, object]) -> str:
    return hashlib.sha256(_canonical(facts).encode()).hexdigest()
