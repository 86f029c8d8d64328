"""The folder `D` of a sweep, on a disk or in an object store, through one interface.

A store knows whole files by key only: `write` replaces a file or leaves it as it was, there is no appending. That
is what a disk, NFS and an object store all can do.
"""

import contextlib
import errno
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from pyarrow import fs

from kdtrain.checkpoint import check_writable, write_atomically
from kdtrain.errors import InputError, StorageError

Where = "Store | Path | str"
_T = TypeVar("_T")

PATIENCE_S = 180.0
"""How long a store that is reached over a network may refuse before the sweep is stopped."""
_HOPELESS = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "Bucket does not")
"""Answers that waiting does not change."""


class Store:
    """Files by key below one root; a key is a relative path with `/`. Pickles as its address.

    Attributes:
        address: The path or URI that it was opened with.
        local: The folder, where it is one of this machine's file system.
    """

    def __init__(self, where: Path | str, patience_s: float = PATIENCE_S) -> None:
        """Open the store; nothing is written yet.

        Args:
            where: A folder, or a URI that pyarrow knows, such as `s3://bucket/folder?region=eu-west-1`.
            patience_s: Seconds to go on trying while a remote store refuses.

        Raises:
            InputError: If the URI cannot be understood.
        """
        self.address, self._patience_s = str(where), patience_s
        self.local: Path | None = None
        self.notice: Callable[[str], None] = lambda text: None
        """Told when a remote store makes us wait."""
        self.hurry: Callable[[], bool] = lambda: False
        """Asked while waiting: whether to give up at once."""
        if "://" not in self.address or self.address.startswith("file://"):
            self.local = Path(self.address.removeprefix("file://")).absolute()
            self._fs, self._root = fs.LocalFileSystem(), str(self.local)
            return
        try:
            self._fs, root = fs.FileSystem.from_uri(self.address)
        except (OSError, ValueError, NotImplementedError) as error:
            raise InputError(f"--dir: {self.address} cannot be opened ({_said(error)})") from None
        self._root = root.rstrip("/")

    def __reduce__(self) -> tuple[type["Store"], tuple[str, float]]:
        return Store, (str(self), self._patience_s)

    def __str__(self) -> str:
        return str(self.local) if self.local is not None else self.address

    def below(self, prefix: str) -> "Store":
        """The store of what lies below a prefix."""
        if self.local is not None:
            return Store(self.local / prefix)
        path, mark, options = self.address.partition("?")
        return Store(f"{path.rstrip('/')}/{prefix}{mark}{options}", self._patience_s)

    def read(self, key: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: If there is none.
            StorageError: If the store does not answer.
        """

        def attempt() -> bytes:
            with self._fs.open_input_stream(self._path(key)) as stream:
                content: bytes = stream.read()
            return content

        return self._patiently(attempt, f"read {key} in")

    def write(self, key: str, content: bytes) -> None:
        """Write a file: whole, or not at all.

        Raises:
            StorageError: If it cannot be written, for instance on a full disk.
        """
        if self.local is not None:
            try:
                write_atomically(self.local / key, content)
            except OSError as error:
                raise _refused(self.local / key, error) from error
            return

        def attempt() -> None:
            with self._fs.open_output_stream(self._path(key)) as stream:
                stream.write(content)

        self._patiently(attempt, f"write {key} to")

    def names(self, prefix: str) -> list[str]:
        """Names of the files right below a prefix, sorted; half-written ones are not among them."""
        selector = fs.FileSelector(self._path(prefix), allow_not_found=True)
        found = self._patiently(lambda: self._fs.get_file_info(selector), f"list {prefix} in")
        return sorted(info.base_name for info in found if info.type == fs.FileType.File and info.base_name[0] != ".")

    def exists(self, key: str) -> bool:
        """Whether there is a file of that key."""
        found = self._patiently(lambda: self._fs.get_file_info(self._path(key)), f"look for {key} in")
        return bool(found.type == fs.FileType.File)

    def written_at(self, key: str) -> float | None:
        """When a file was written, in seconds of the store's own clock; none if it is not there."""
        found = self._patiently(lambda: self._fs.get_file_info(self._path(key)), f"look for {key} in")
        return None if found.type != fs.FileType.File else found.mtime_ns / 1e9

    def delete(self, key: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._patiently(lambda: self._fs.delete_file(self._path(key)), f"delete {key} in")

    def check_writable(self) -> None:
        """Prove that the store takes a file.

        Raises:
            StorageError: If it does not.
        """
        if self.local is not None:
            check_writable(self.local)
            return
        self.write("probe", b"\0")
        self.delete("probe")

    def pull(self, prefix: str, folder: Path) -> None:
        """Copy all files below a prefix to a local folder."""
        base = self._path(prefix)
        selector = fs.FileSelector(base, allow_not_found=True, recursive=True)
        for info in self._patiently(lambda: self._fs.get_file_info(selector), f"list {prefix} in"):
            if info.type == fs.FileType.File:
                name = info.path.removeprefix(base).lstrip("/")
                write_atomically(folder / name, self.read(f"{prefix}/{name}"))

    def move(self, prefix: str, to: str) -> None:
        """Move all files below a prefix."""
        if self.local is not None:
            shutil.rmtree(self.local / to, ignore_errors=True)
            (self.local / to).parent.mkdir(parents=True, exist_ok=True)
            (self.local / prefix).rename(self.local / to)
            return
        with tempfile.TemporaryDirectory(prefix="kdsweep-") as scratch:
            self.pull(prefix, Path(scratch))
            names = [str(path.relative_to(scratch)) for path in sorted(Path(scratch).rglob("*")) if path.is_file()]
            for name in names:
                self.write(f"{to}/{name}", (Path(scratch) / name).read_bytes())
            for name in names:
                self.delete(f"{prefix}/{name}")

    @contextlib.contextmanager
    def workplace(self, prefix: str) -> Iterator["Workplace"]:
        """A local folder with the files below a prefix, to work in.

        On a disk it is the folder itself. Otherwise it is a copy, of which `Workplace.save` brings to the store what
        has changed; leaving the block saves once more, unless by an error.
        """
        if self.local is not None:
            yield Workplace(self, prefix, self.local / prefix)
            return
        scratch = Path(tempfile.mkdtemp(prefix="kdsweep-"))
        try:
            self.pull(prefix, scratch)
            work = Workplace(self, prefix, scratch)
            yield work
            work.save()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _patiently(self, attempt: Callable[[], _T], what: str) -> _T:
        """Try until it works, as long as the store is remote and there is hope."""
        start, pause = time.monotonic(), 0.5
        while True:
            try:
                return attempt()
            except FileNotFoundError:
                raise
            except OSError as error:
                left = self._patience_s - (time.monotonic() - start)
                if self.local is not None or left <= 0 or self.hurry() or any(h in str(error) for h in _HOPELESS):
                    raise StorageError(
                        f"cannot {what} {self} ({_said(error)}); once it answers again, run the same command again"
                    ) from error
                if pause == 0.5:
                    self.notice(f"cannot {what} {self} ({_said(error)}); trying again for {left:.0f} s")
            time.sleep(min(pause, left))
            pause = min(2 * pause, 10.0)


class Workplace:
    """A local folder that stands for the files below a prefix of a store."""

    def __init__(self, store: Store, prefix: str, folder: Path) -> None:
        """Work in `folder`, which holds what the store has."""
        self._store, self._prefix, self.folder = store, prefix, folder
        self._saved = self._seen()

    def save(self) -> None:
        """Bring to the store what has changed; new files first, then what is no longer there is removed.

        Raises:
            StorageError: If the store refuses.
        """
        if self._store.local is not None:
            return
        seen = self._seen()
        for name, stamp in seen.items():
            if self._saved.get(name) != stamp:
                self._store.write(f"{self._prefix}/{name}", (self.folder / name).read_bytes())
        for name in self._saved.keys() - seen.keys():
            self._store.delete(f"{self._prefix}/{name}")
        self._saved = seen

    def _seen(self) -> dict[str, tuple[int, int]]:
        if self._store.local is not None:
            return {}
        files = (path for path in sorted(self.folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
        return {str(path.relative_to(self.folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def open_store(where: "Store | Path | str") -> Store:
    """A store from whatever names it."""
    return where if isinstance(where, Store) else Store(where)


def _refused(path: Path, error: OSError) -> StorageError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    todo = "make room and run the same command again" if full else "put it right and run the same command again"
    return StorageError(f"cannot write {path}: {error.strerror or error}; {todo}")


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
