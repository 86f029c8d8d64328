"""The files of a sharded data set: found by a pattern or in a folder, all of one kind."""

import glob
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kdtrain.data.labels import few
from kdtrain.data.walk import as_on_disk, check_name, is_passed_over, normalized, walk
from kdtrain.errors import InputError, MissingError

TABLES, ARCHIVES = (".parquet", ".arrow"), (".tar",)
HUB = "hf:"
"""What comes before the name of a data set on the hub of Hugging Face."""
HUB_NAME = r"(?!.*\.\.)[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
"""An expression that matches the owner and name of such a data set."""
HUB_FOLDER = "hf"
"""The folder of the data root in which data sets of the hub lie."""
_WILD = "*?[{"
_NUMBERS = re.compile(r"\{(\d+)\.\.(\d+)\}")
"""Numbered shards as webdataset writes them: `{000..012}`."""
_MOST_NUMBERS = 1_000_000
STATE = "state.json"
"""In a folder of `save_to_disk`: the names of its files."""


@dataclass(frozen=True)
class ShardList:
    """The shards of a role."""

    files: dict[str, Path]
    """By name: the path below the folder that all are in, without extension; sorted."""
    kind: str
    """What their names end with, `.tar` for instance."""


def is_pattern(files: str) -> bool:
    """Whether a text can be a path or pattern of files: `**` stands for folders alone, so it is a part of its own."""
    return bool(files.strip()) and all("**" not in part or part == "**" for part in files.split("/"))


def local_part(files: str) -> str:
    """The path below the data root of files that a spec names, which may lie in a data set of the hub."""
    return f"{HUB_FOLDER}/{files.removeprefix(HUB)}" if files.startswith(HUB) else files


def list_shards(what: str, root: Path, files: str) -> ShardList:
    """The shards that a pattern names, or that lie in a folder.

    Args:
        what: Whose they are, for the errors.
        root: The data root.
        files: A pattern with `*`, `?` or `[...]`, a folder, or a file, below the data root or of a data set of the hub.

    Raises:
        InputError: If there are none, or they are of several kinds.
    """
    base, pattern = _divided(local_part(files))
    folder = as_on_disk(root / base)
    if not pattern and folder.is_file():
        folder, pattern = folder.parent, glob.escape(folder.name)
    found = sorted(_matching(what, folder, pattern))
    if not found:
        todo = f"; `kdsweep data get {hub_name(files)}` fetches them" if files.startswith(HUB) else ""
        raise MissingError(
            f"{what} has no shards: looked for {pattern or '*'} ({', '.join((*TABLES, *ARCHIVES))}) in {folder}{todo}"
        )
    kinds = {file.suffix.lower() for file in found}
    if len(kinds) > 1:
        raise InputError(f"{what} has shards of several kinds, {', '.join(sorted(kinds))}, in {folder}; give one kind")
    shards: dict[str, Path] = {}
    for file in found:
        check_name(what, file)
        name = normalized(PurePosixPath(file.relative_to(folder)).with_suffix("").as_posix())
        if name in shards:
            raise InputError(f"{what} has two shards of one name: {shards[name]} and {file}; rename one of them")
        shards[name] = file
    return ShardList(dict(sorted(shards.items())), kinds.pop())


def _divided(files: str) -> tuple[str, str]:
    """The folder before the first part of a path with a wildcard, and the pattern below it; empty without one."""
    parts = PurePosixPath(files).parts
    first = next((i for i, part in enumerate(parts) if any(sign in part for sign in _WILD)), len(parts))
    return PurePosixPath(*parts[:first]).as_posix(), "/".join(parts[first:])


def _matching(what: str, folder: Path, pattern: str) -> Iterator[Path]:
    if not pattern and (folder / STATE).is_file():
        yield from _saved(what, folder)
    elif not pattern and folder.is_dir():
        for suffix in (*TABLES, *ARCHIVES):
            try:
                yield from walk(what, "shards", folder, (suffix,)).files.values()
            except MissingError:
                continue
    elif pattern:
        files = [file for each in _numbered(what, folder, pattern) for file in folder.glob(each) if file.is_file()]
        yield from _checked(what, [file for file in files if not is_passed_over(file.relative_to(folder))])


def _numbered(what: str, folder: Path, pattern: str) -> list[str]:
    """The pattern with each of the numbers that it counts; all of these files must be there."""
    numbers = _NUMBERS.search(pattern)
    if numbers is None:
        return [pattern]
    first, last = int(numbers[1]), int(numbers[2])
    if not first <= last < first + _MOST_NUMBERS:
        raise InputError(f"{what}: numbers of shards are counted upwards, as in {{000..012}}, got {numbers[0]}")
    start, end = pattern[: numbers.start()], pattern[numbers.end() :]
    each = [f"{start}{number:0{len(numbers[1])}d}{end}" for number in range(first, last + 1)]
    if lacking := [one for one in each if next(folder.glob(one), None) is None]:
        raise MissingError(
            f"{what} lacks {len(lacking)} of the {len(each)} shards {pattern} in {folder}: {few(lacking)}"
        )
    return each


def _checked(what: str, files: list[Path]) -> list[Path]:
    if other := [file for file in files if file.suffix.lower() not in (*TABLES, *ARCHIVES)]:
        raise InputError(
            f"{what}: shards must be files that end with {', '.join((*TABLES, *ARCHIVES))}, got {few(other)}; name a "
            "pattern of such files alone"
        )
    return files


def _saved(what: str, folder: Path) -> Iterator[Path]:
    """The files that `save_to_disk` of the library datasets wrote, without its caches."""
    try:
        names = [entry["filename"] for entry in json.loads((folder / STATE).read_bytes())["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{what}: {folder / STATE} is not one of a saved data set; save it again") from None
    for name in names:
        file = folder / str(name)
        if PurePosixPath(str(name)).name != name or not file.is_file():
            raise MissingError(f"{what} lacks the file {name} that {folder / STATE} names; copy the folder again")
        yield file


def hub_name(files: str) -> str:
    """The data set of the hub that files of a spec are of, `hf:owner/name`."""
    return "/".join(files.split("/")[:2])
