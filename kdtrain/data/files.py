"""Files of a data set: found by lists, listed, hashed."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from kdtrain.data.labels import few
from kdtrain.data.stored import Stored, remembered_facts
from kdtrain.data.walk import as_on_disk, check_name, normalized
from kdtrain.errors import InputError, MissingError, unreadable
from kdtrain.printable import printable

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
LABEL_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")


Reading = Callable[[bytes], str]
"""From the bytes of a file: how it is read otherwise than the first version of its decoder did."""


def read_list(what: str, file: Path, todo: str = "") -> tuple[str, ...]:
    """Names from a list file: one per line, as a name or as the path of its image; the rest of a line is ignored.

    Args:
        what: What the list is for, for the errors.
        file: The list.
        todo: How to get it, for the errors.

    Raises:
        InputError: If there is no such file, it is empty or holds a name twice.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{what} has a list that is not UTF-8 text: {printable(file)} ({error.reason})") from None
    except OSError:
        raise MissingError(
            f"{what} has no list of its images: looked for {printable(file)}{todo and f'; {todo}'}"
        ) from None
    names = [normalized(_name(line.split()[0])) for line in lines if line.strip()]
    if not names:
        raise InputError(f"{what} has an empty list: {file}")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{what} lists {few(twice)} twice in {file}")
    return tuple(sorted(names))


def listed_files(
    lack: str, names: tuple[str, ...], folder: Path, suffixes: tuple[str, ...], ending: str = ""
) -> list[Path]:
    """The file of each name; other files in the folder are passed over.

    Raises:
        InputError: If one is missing, or there are two of one name; the sentence begins with `lack`.
    """
    folder = as_on_disk(folder)
    wanted = {normalized(f"{name}{ending}"): name for name in names}
    files: dict[str, Path] = {}
    for path in sorted(_files_in(folder)):
        stem = normalized(path.stem)
        if stem not in wanted or path.suffix.lower() not in suffixes:
            continue
        check_name(folder.name, path)
        if stem in files:
            raise InputError(f"{folder} has two files of one name: {files[stem]} and {path}; rename or remove one")
        files[stem] = path
    if lacking := [stem for stem in wanted if stem not in files]:
        raise MissingError(f"{lack}: {len(lacking)} of the {len(names)} listed are not in {folder}: {few(lacking)}")
    return [files[stem] for stem in wanted]


def files_listing(identity: bytes, files: Mapping[str, tuple[Stored, ...]]) -> str:
    """A quick key that changes whenever `files_digest` might.

    It holds the ids and of every file the inode, the size and the times of its last change of content and of status.
    The latter cannot be set by a program, so that content which was changed under the same size and time shows.

    Raises:
        InputError: If a file is not there any more.
    """
    listing, facts = hashlib.blake2b(identity, digest_size=16), remembered_facts()
    try:
        for image_id, paths in files.items():
            listing.update(image_id.encode())
            for path in paths:
                listing.update(f"|{facts(path)}\n".encode())
    except OSError as error:
        raise unreadable(error.filename or "a data file", error) from None
    return listing.hexdigest()


def files_digest(identity: bytes, files: Mapping[str, tuple[Stored, ...]], readings: tuple[Reading, ...]) -> str:
    """Hash of what the files mean, their ids and their contents.

    Args:
        identity: What the files mean.
        files: The files of each image.
        readings: How each of an image's files is read; what is not empty becomes a part of the digest.

    Raises:
        InputError: If a file cannot be read.
    """
    digest = hashlib.blake2b(identity, digest_size=16)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for image_id, hashes in zip(files, pool.map(partial(_hash_files, readings), files.values()), strict=True):
            digest.update(f"{image_id}|{'|'.join(hashes)}\n".encode())
    return digest.hexdigest()


def _files_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_file()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(error.filename or "a data file", error) from None


def _name(path: str) -> str:
    name = Path(path).name
    return Path(name).stem if name.lower().endswith(IMAGE_SUFFIXES) else name


def _hash_files(readings: tuple[Reading, ...], files: tuple[Stored, ...]) -> list[str]:
    hashes = []
    for file, reading in zip(files, readings, strict=True):
        try:
            content = file.read_bytes()
        except OSError as error:
            raise unreadable(error.filename or "a data file", error) from None
        hashes.append(hashlib.blake2b(content, digest_size=16).hexdigest() + reading(content))
    return hashes
