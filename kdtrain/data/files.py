"""Files of a data set: found, listed, hashed."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kdtrain.data.labels import few
from kdtrain.errors import InputError, MissingError, unreadable

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
LABEL_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")


def find_files(what: str, kind: str, folder: Path, suffixes: tuple[str, ...], ending: str = "") -> dict[str, Path]:
    """All files in a folder and its subfolders whose names end with `ending`, by their path without it and the suffix.

    Raises:
        InputError: If there is no such folder or no such file, or two differ by their suffix alone.
    """
    if not folder.is_dir():
        raise MissingError(f"{what} has no folder of {kind}: looked for {folder}")
    files: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() not in suffixes or file.name.startswith(".") or not file.stem.endswith(ending):
            continue
        image_id = file.relative_to(folder).with_suffix("").as_posix().removesuffix(ending)
        if image_id in files:
            raise InputError(f"{what} has two {kind} of one name: {files[image_id]} and {file.name}")
        files[image_id] = file
    if not files:
        raise MissingError(f"{what} has no {kind}: looked for *{ending}{{{','.join(suffixes)}}} in {folder}")
    return dict(sorted(files.items()))


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
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise MissingError(f"{what} has no list of its images: looked for {file}{todo and f'; {todo}'}") from None
    names = [_name(line.split()[0]) for line in lines if line.strip()]
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
        InputError: If one is missing; the sentence begins with `lack`.
    """
    candidates = ([folder / f"{name}{ending}{suffix}" for suffix in suffixes] for name in names)
    files = [next((file for file in paths if file.is_file()), None) for paths in candidates]
    if lacking := [f"{name}{ending}" for name, file in zip(names, files, strict=True) if file is None]:
        raise MissingError(f"{lack}: {len(lacking)} of the {len(names)} listed are not in {folder}: {few(lacking)}")
    return [file for file in files if file is not None]


def files_listing(identity: bytes, files: Mapping[str, tuple[Path, ...]]) -> str:
    """A quick key that changes whenever `files_digest` might: names, sizes and times."""
    listing = hashlib.blake2b(identity, digest_size=16)
    for image_id, paths in files.items():
        listing.update(image_id.encode())
        for path in paths:
            stat = path.stat()
            listing.update(f"|{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return listing.hexdigest()


def files_digest(identity: bytes, files: Mapping[str, tuple[Path, ...]]) -> str:
    """Hash of what the files mean, their ids and their contents.

    Raises:
        InputError: If a file cannot be read.
    """
    digest = hashlib.blake2b(identity, digest_size=16)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for image_id, hashes in zip(files, pool.map(_hash_files, files.values()), strict=True):
            digest.update(f"{image_id}|{'|'.join(hashes)}\n".encode())
    return digest.hexdigest()


def _name(path: str) -> str:
    name = Path(path).name
    return Path(name).stem if name.lower().endswith(IMAGE_SUFFIXES) else name


def _hash_files(files: tuple[Path, ...]) -> list[str]:
    try:
        return [hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest() for file in files]
    except OSError as error:
        raise unreadable(error.filename or "a data file", error) from None
