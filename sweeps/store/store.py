"""The folder `D` of a sweep, on a disk or in an object store, through one interface.

A store knows whole files by key only: `write` replaces a file or leaves it as it was, there is no appending. That
is what a disk, NFS and an object store all can do.
"""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from pyarrow import NativeFile, fs

from kdtrain.errors import InputError, StorageError, refused, remedy
from kdtrain.local_path import local_path
from kdtrain.redact import has_secret, redacted
from kdtrain.runtime.atomic_files import check_writable, write_atomically
from kdtrain.runtime.scratch import scratch_folder

_T = TypeVar("_T")

PATIENCE_S = 180.0
"""How long a store that is reached over a network may refuse before the sweep is stopped."""
FIRST_ANSWER_S = 10.0
"""The same for a store that has not answered yet, where a mistake in its name is likelier than an outage."""
_BUCKET = "there is no such bucket; make it, or name another one"
_CREDENTIALS = (
    "the credentials are not accepted; put them right (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile) "
    "and run the same command again"
)
_REGION = "the bucket is in another region; give it as in s3://bucket/folder?region=eu-west-1"
_FULL = "it is full; make room and run the same command again"
_PERMANENT = {
    "NO_SUCH_BUCKET": _BUCKET,
    "Bucket does not exist": _BUCKET,
    "StorageFull": _FULL,
    "QuotaExceeded": _FULL,
    "HTTP status 507": _FULL,
    "ACCESS_DENIED": _CREDENTIALS,
    "INVALID_ACCESS_KEY_ID": _CREDENTIALS,
    "SIGNATURE_DOES_NOT_MATCH": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "HTTP status 401": _CREDENTIALS,
    "HTTP status 403": _CREDENTIALS,
    "PermanentRedirect": _REGION,
    "HTTP status 301": _REGION,
}
"""Parts of error messages that waiting does not change, and what to do."""


class Store:
    """Files by key below one root; a key is a relative path with `/`. Pickles as its address.

    Attributes:
        address: The path or URI that it was opened with.
        local: The folder, where it is one of this machine's file system.
    """

    def __init__(self, where: Path | str, patience_s: float = PATIENCE_S, answered: bool = False) -> None:
        """Open the store; nothing is written yet.

        Args:
            where: A folder, or a URI that pyarrow knows, such as `s3://bucket/folder?region=eu-west-1`.
            patience_s: Seconds of retries while a remote store refuses.
            answered: Whether it has answered before, to another process, so that its silence is an outage, and a
                folder that is not there was moved.

        Raises:
            InputError: If the URI cannot be understood.
        """
        self.address, self._patience_s, self._answered = str(where), patience_s, answered
        self.local: Path | None = None
        check_address(self.address)
        if re.match(r"(?!file:)[a-z][a-z0-9+]+:/(?!/)", self.address):
            raise InputError(f"--dir: {self.address} is not a URI; write two slashes, as in s3://bucket/folder")
        self.notice: Callable[[str], None] = lambda text: None
        """Takes a sentence when a remote store is waited for."""
        self.gives_up: Callable[[], bool] = lambda: False
        """Called while a remote store is waited for: whether to give up at once."""
        if "://" not in self.address or self.address.startswith("file:"):
            self.local = local_path(self.address)
            self._fs, self._root = fs.LocalFileSystem(), str(self.local)
            return
        self._fs, self._root = _open_remote(self.address)

    def __reduce__(self) -> tuple[type["Store"], tuple[str, float, bool]]:
        return Store, (str(self), self._patience_s, self._answered)

    def __str__(self) -> str:
        return str(self.local) if self.local is not None else self.address

    @property
    def place(self) -> str:
        """Its address, the same for every path that leads to one folder."""
        return str(self.local.resolve()) if self.local is not None else self.address

    def below(self, prefix: str) -> "Store":
        """The store of what lies below a prefix."""
        if self.local is not None:
            self.check_there()
            return Store(self.local / prefix)
        path, mark, options = self.address.partition("?")
        store = Store(f"{path.rstrip('/')}/{prefix}{mark}{options}", self._patience_s, self._answered)
        store.notice, store.gives_up = self.notice, self.gives_up
        return store

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

        return self._with_retries(attempt, f"read {key} in")

    def write(self, key: str, content: bytes) -> None:
        """Write a file: whole, or not at all.

        Raises:
            StorageError: If it cannot be written, for instance on a full disk.
        """
        if self.local is not None:
            self.check_there()
            _make_parents(self.local / key)
            write_atomically(self.local / key, content)
            return

        def attempt() -> None:
            with self._fs.open_output_stream(self._path(key)) as stream:
                stream.write(content)

        self._with_retries(attempt, f"write {key} to")

    def write_note(self, key: str, content: bytes) -> None:
        """Write a small file, whole or not at all, without a wait for the disk: a failure of the machine may undo it.

        Its folder is there already.

        Raises:
            StorageError: If it cannot be written.
        """
        if self.local is None:
            self.write(key, content)
            return
        folder, _, name = f"{self._root}/{key}".rpartition("/")
        try:
            with open(f"{folder}/.{name}.tmp", "wb", buffering=0) as file:  # noqa: PTH123 (this is on the way of every commit)
                file.write(content)
            os.replace(f"{folder}/.{name}.tmp", f"{folder}/{name}")  # noqa: PTH105
        except OSError as error:
            raise refused(f"{folder}/{name}", error) from error

    def create(self, key: str, content: bytes) -> None:
        """Write a file that is not there yet.

        On a disk, NFS included, only one of several processes succeeds. An object store is looked at before: pyarrow
        has no conditional write, so keys there should have a part that no other process uses.

        Raises:
            FileExistsError: If it is there.
            StorageError: If it cannot be written.
        """
        if self.local is None:
            if self.exists(key):
                raise FileExistsError(key)
            self.write(key, content)
            return
        self.check_there()
        path = self.local / key
        _make_parents(path)
        try:
            path.open("xb").close()
        except FileExistsError:
            raise
        except OSError as error:
            raise refused(path, error) from error
        try:
            write_atomically(path, content)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def names(self, prefix: str) -> list[str]:
        """Names of the files right below a prefix, sorted; half-written ones are not among them."""
        selector = fs.FileSelector(self._path(prefix), allow_not_found=True)
        try:
            infos = self._with_retries(lambda: self._fs.get_file_info(selector), f"list {prefix} in")
        except FileNotFoundError:  # a folder that was made or removed at this moment
            return []
        return sorted(info.base_name for info in infos if info.type == fs.FileType.File and info.base_name[0] != ".")

    def exists(self, key: str) -> bool:
        """Whether there is a file of that key."""
        info = self._with_retries(lambda: self._fs.get_file_info(self._path(key)), f"look for {key} in")
        return bool(info.type == fs.FileType.File)

    def open_file(self, key: str) -> NativeFile:
        """A file, open for reading parts of it.

        Raises:
            FileNotFoundError: If there is none.
            StorageError: If the store does not answer.
        """
        return self._with_retries(lambda: self._fs.open_input_file(self._path(key)), f"read {key} in")

    def written_at(self, key: str) -> float | None:
        """When a file was written, in seconds of the store's own clock; none if it is not there."""
        info = self._with_retries(lambda: self._fs.get_file_info(self._path(key)), f"look for {key} in")
        return None if info.type != fs.FileType.File else info.mtime_ns / 1e9

    def delete(self, key: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._with_retries(lambda: self._fs.delete_file(self._path(key)), f"delete {key} in")

    def check_writable(self) -> None:
        """Prove that the store takes a file; on a disk, its folder is made if it is missing.

        Raises:
            StorageError: If it does not.
        """
        if self.local is not None:
            self.check_there()
            check_writable(self.local)
            self._answered = True
            return
        self.write("probe", b"\0")
        self.delete("probe")

    def check_there(self) -> None:
        """On a disk, check that a folder that was there before is there still, so that nobody makes it anew.

        Raises:
            StorageError: If it was moved or deleted, or its file system was unmounted.
        """
        if self.local is None or not self._answered:
            return
        try:
            self.local.stat()
        except OSError as error:
            raise StorageError(
                f"the folder {self.local} is not there any more ({error.strerror or error}): it was moved, deleted or "
                "unmounted; put it back and run the same command again, or give its new place as --dir"
            ) from error

    def pull(self, prefix: str, folder: Path) -> None:
        """Copy all files below a prefix to a local folder."""
        base = self._path(prefix)
        selector = fs.FileSelector(base, allow_not_found=True, recursive=True)
        for info in self._with_retries(lambda: self._fs.get_file_info(selector), f"list {prefix} in"):
            if info.type == fs.FileType.File:
                name = info.path.removeprefix(base).lstrip("/")
                _make_parents(folder / name)
                write_atomically(folder / name, self.read(_key(prefix, name)))

    def move(self, prefix: str, to: str) -> None:
        """Move all files below a prefix."""
        if self.local is not None:
            self.check_there()
            shutil.rmtree(self.local / to, ignore_errors=True)
            (self.local / to).parent.mkdir(parents=True, exist_ok=True)
            (self.local / prefix).rename(self.local / to)
            return
        with scratch_folder() as scratch:
            self.pull(prefix, scratch)
            names = [str(path.relative_to(scratch)) for path in sorted(scratch.rglob("*")) if path.is_file()]
            for name in names:
                self.write(_key(to, name), (scratch / name).read_bytes())
            for name in names:
                self.delete(_key(prefix, name))

    @contextlib.contextmanager
    def workplace(self, prefix: str) -> Iterator["Workplace"]:
        """A local folder with the files below a prefix, to work in.

        On a disk it is the folder itself. Otherwise it is a copy, of which `Workplace.save` brings to the store what
        has changed; leaving the block saves once more, unless by an error.
        """
        if self.local is not None:
            self.check_there()
            yield Workplace(self, prefix, self.local / prefix)
            return
        with scratch_folder() as scratch:
            self.pull(prefix, scratch)
            work = Workplace(self, prefix, scratch)
            yield work
            work.save()

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _with_retries(self, attempt: Callable[[], _T], what: str) -> _T:
        """Try until the store answers, for as long as it is worth while; on a disk once."""
        start, pause = time.monotonic(), 0.5
        while True:
            try:
                answer = attempt()
            except FileNotFoundError:
                self._answered |= self.local is None
                raise
            except OSError as error:
                patience = self._patience_s if self._answered else min(self._patience_s, FIRST_ANSWER_S)
                left = patience - (time.monotonic() - start)
                meaning = _permanent_cause(error)
                if self.local is not None or meaning or left <= 0 or self.gives_up():
                    todo = remedy(error) if self.local is not None else "once it answers again"
                    todo = meaning or f"{todo}, run the same command again"
                    raise StorageError(f"cannot {what} {self}: {todo} ({_one_line(error)})") from error
                if pause == 0.5:
                    self.notice(f"cannot {what} {self} ({_one_line(error)}); trying again for {left:.0f} s")
            else:
                self._answered |= self.local is None
                return answer
            time.sleep(min(pause, left))
            pause = min(2 * pause, 10.0)


class Workplace:
    """A local folder that stands for the files below a prefix of a store."""

    def __init__(self, store: Store, prefix: str, folder: Path) -> None:
        """Work in `folder`, which holds what the store has."""
        self._store, self._prefix, self.folder = store, prefix, folder
        self._saved = self._seen()

    def save(self) -> None:
        """Bring to the store what has changed, in the order in which it was made; then remove what is no longer there.

        So a run's result, which is written last, is not there before what belongs to it.

        Raises:
            StorageError: If the store refuses.
        """
        if self._store.local is not None:
            return
        seen = self._seen()
        for name, stamp in sorted(seen.items(), key=lambda item: item[1]):
            if self._saved.get(name) != stamp:
                self._store.write(_key(self._prefix, name), (self.folder / name).read_bytes())
        for name in self._saved.keys() - seen.keys():
            self._store.delete(_key(self._prefix, name))
        self._saved = seen

    def _seen(self) -> dict[str, tuple[int, int]]:
        if self._store.local is not None:
            return {}
        files = (path for path in sorted(self.folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
        return {str(path.relative_to(self.folder)): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def open_store(where: "Store | Path | str") -> Store:
    """The store at a path or URI; a store as it is."""
    return where if isinstance(where, Store) else Store(where)


def _key(prefix: str, name: str) -> str:
    return f"{prefix}/{name}" if prefix else name


def _make_parents(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(file, error) from error


def check_address(address: str) -> None:
    """Check that the address of a sweep or teacher holds no secret, which would be printed and recorded.

    Raises:
        InputError: If it does.
    """
    if "://" in address and (has_secret(address) or "@" in urlsplit(address).netloc):
        raise InputError(
            f"a URI must hold no key, token or password, since it is printed and recorded, got {redacted(address)}; "
            "give them by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the variables of your provider"
        )


def _open_remote(address: str) -> tuple[fs.FileSystem, str]:
    try:
        system, root = fs.FileSystem.from_uri(address)
    except (OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"--dir: {address} cannot be opened ({_one_line(error)})") from None
    if not root.strip("/"):
        raise InputError(f"--dir: {address} names no bucket; give one, as in s3://bucket/folder")
    return _with_short_retries(system) if isinstance(system, fs.S3FileSystem) else system, root.rstrip("/")


def _with_short_retries(system: fs.S3FileSystem) -> fs.S3FileSystem:
    """The same file system, which writes a file in one request instead of three, and fails soon.

    As pyarrow makes it, it tries 31 times in 6 seconds where a store refuses, and 99 seconds where it is silent. A URI
    cannot say so; hence a new file system is made from what the given one is pickled as.
    """
    make, (options,) = system.__reduce__()
    remade: fs.S3FileSystem = make(
        {
            **options,
            "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=3),
            "connect_timeout": 5.0,
            "request_timeout": 10.0,
            "allow_delayed_open": True,
            "background_writes": False,
        }
    )
    return remade


def _permanent_cause(error: OSError) -> str | None:
    return next((meaning for sign, meaning in _PERMANENT.items() if sign in str(error)), None)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
