"""Which files below a folder count: links are followed, hidden and system entries are passed over."""

import os
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from kdtrain.errors import InputError, MissingError
from kdtrain.printable import printable

SYSTEM_ENTRIES = frozenset(
    name.casefold()
    for name in (
        "__MACOSX", "@eaDir", "@tmp", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot", "$RECYCLE.BIN",
        "System Volume Information", "lost+found", "Thumbs.db", "desktop.ini",
    )
)  # fmt: skip
"""Files and folders that operating systems, archives and network disks put beside images."""
_SHOWN = 3


@dataclass(frozen=True)
class Walk:
    """The files of a folder that count."""

    files: Mapping[str, Path]
    """By id: the path below the folder, without extension and ending, in the Unicode form NFC; sorted."""
    notes: tuple[str, ...]
    """What was passed over, in sentences for `data check`."""


def walk(what: str, kind: str, folder: Path, suffixes: tuple[str, ...], ending: str = "") -> Walk:
    """All files in a folder and its subfolders whose names end with `ending` and one of the suffixes, in any case.

    Raises:
        InputError: If there is no such folder or no such file, two have one id, a folder cannot be read or contains
            itself by a link, a link leads nowhere, or a name is not text.
    """
    folder = as_on_disk(folder)
    if not folder.is_dir():
        raise MissingError(f"{what} has no folder of {kind}: looked for {printable(folder)}{_near(folder)}")
    passed_over = _PassedOver()
    files: dict[str, Path] = {}
    for name, path in _entries(what, folder, "", (), passed_over, suffixes):
        if path.suffix.lower() not in suffixes:
            passed_over.others.append(name)
            continue
        stem = normalized(path.stem)
        if not stem.endswith(normalized(ending)):
            passed_over.endings.append(name)
            continue
        check_name(what, path)
        image_id = normalized(PurePath(name).with_suffix("").as_posix()).removesuffix(normalized(ending))
        if image_id in files:
            raise InputError(
                f"{what} has two {kind} of one name: {files[image_id]} and {path}; rename one of them: names must "
                "differ without extension and in the Unicode form NFC"
            )
        files[image_id] = path
    if not files:
        others = passed_over.sentences(folder, kind, ending)
        also = f" ({'; '.join(others)})" if others else ""
        raise MissingError(
            f"{what} has no {kind}: looked for *{ending}{{{','.join(suffixes)}}} in {printable(folder)}{also}"
        )
    notes = (*passed_over.sentences(folder, kind, ending), *_same_but_for_case(folder, files))
    return Walk(dict(sorted(files.items())), notes)


def is_passed_over(path: PurePath) -> bool:
    """Whether a file, or a folder that it lies in, is hidden or of a system."""
    return any(part.startswith(".") or part.casefold() in SYSTEM_ENTRIES for part in path.parts)


def normalized(name: str) -> str:
    """A name in the Unicode form NFC: file systems write an accented letter as one character or as two."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def as_on_disk(folder: Path) -> Path:
    """The folder, its name in the Unicode form that the disk has; as it is given, where it is not there at all."""
    if str(folder).isascii() or folder.exists() or folder == folder.parent:
        return folder
    parent = as_on_disk(folder.parent)
    try:
        names = [entry.name for entry in os.scandir(parent) if normalized(entry.name) == normalized(folder.name)]
    except OSError:
        return folder
    return parent / names[0] if names else folder


def check_name(what: str, path: Path) -> None:
    """InputError unless a path is text: UTF-8 without control characters."""
    if printable(path) != str(path):
        raise InputError(
            f"{what} has a file whose name is not UTF-8 text: {printable(path)}; rename it, "
            "for instance by `convmv -f latin1 -t utf8 --notest`"
        )


@dataclass
class _PassedOver:
    """Entries that do not count, by their path below the folder."""

    hidden: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    endings: list[str] = field(default_factory=list)

    def sentences(self, folder: Path, kind: str, ending: str) -> list[str]:
        reasons = (
            (self.hidden, "hidden and system entries"),
            (self.others, f"files that are no {kind} by their extension"),
            (self.endings, f"files whose names do not end with {ending!r}"),
        )
        return [
            f"{printable(folder)}: {len(names)} {reason} passed over: {_few(names)}"
            for names, reason in reasons
            if names
        ]


def _entries(
    what: str,
    folder: Path,
    below: str,
    above: tuple[tuple[int, int, Path], ...],
    passed_over: _PassedOver,
    suffixes: tuple[str, ...],
) -> Iterator[tuple[str, Path]]:
    """All files, with their path below the first folder; `above` are the folders that lead to this one."""
    try:
        here = folder.stat()
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        raise MissingError(f"{what} has a folder that cannot be read: {printable(folder)} ({error.strerror})") from None
    for device, inode, earlier in above:
        if (device, inode) == (here.st_dev, here.st_ino):
            raise InputError(
                f"{what} has a folder that contains itself: {printable(folder)} is a link to {printable(earlier)}; "
                "remove the link"
            )
    above = (*above, (here.st_dev, here.st_ino, folder))
    for entry in entries:
        name, path = f"{below}{entry.name}", folder / entry.name
        if is_passed_over(PurePath(entry.name)):
            passed_over.hidden.append(name)
            continue
        try:
            # Without a link, the folder's listing says what the entry is.
            is_folder, is_file = entry.is_dir(), entry.is_file()
            if entry.is_symlink():
                entry.stat()
        except OSError as error:
            where = f" to {printable(path.readlink())}" if entry.is_symlink() else ""
            reason = f"a link{where} that leads nowhere" if where else f"a file that cannot be read ({error.strerror})"
            raise MissingError(f"{what} has {reason}: {printable(path)}; remove it or put its target back") from None
        if is_folder:
            yield from _entries(what, path, f"{name}/", above, passed_over, suffixes)
        elif is_file:
            yield name, path
        elif path.suffix.lower() in suffixes:
            raise InputError(f"{what} has an entry that is neither a file nor a folder: {printable(path)}; remove it")
        else:
            passed_over.others.append(name)


def _same_but_for_case(folder: Path, files: Mapping[str, Path]) -> Iterator[str]:
    by_case: dict[str, list[str]] = {}
    for image_id in files:
        by_case.setdefault(image_id.casefold(), []).append(image_id)
    if same := [ids for ids in by_case.values() if len(ids) > 1]:
        yield (
            f"{printable(folder)}: {len(same)} names differ in upper and lower case alone, which other disks cannot "
            f"tell apart: {_few([' and '.join(ids) for ids in same])}"
        )


def _near(folder: Path) -> str:
    """A hint at a folder whose name differs in its case or Unicode form alone."""
    try:
        names = {normalized(entry.name).casefold(): entry.name for entry in os.scandir(folder.parent)}
    except OSError:
        return ""
    similar = names.get(normalized(folder.name).casefold(), folder.name)
    return f"; did you mean {printable(similar)!r}?" if similar != folder.name else ""


def _few(names: list[str]) -> str:
    return ", ".join(map(printable, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
