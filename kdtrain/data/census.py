"""Which classes the label maps of a data set hold: counted once, remembered in the cache, and judged before a sweep."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kdtrain.data.data_set import DataSet
from kdtrain.data.source import DataSource, KnowsTurns, Pixels, ReadsLabels, check_labels
from kdtrain.data.store import open_store
from kdtrain.errors import InputError, StorageError
from kdtrain.explain import did_you_mean
from kdtrain.runtime.atomic_files import write_atomically
from kdtrain.runtime.checksum import crc32

Counts = npt.NDArray[np.int64]
Seen = Callable[[str, int, int], None]
"""Called after each label map with its role, how many of the role are counted, and how many there are."""
FORMAT = 2
_NAMED = 10
_NUMBERS = ("images", "ignored", "blank", "turned")


@dataclass(frozen=True)
class LabelCounts:
    """What the label maps of a role hold."""

    role: str
    classes: tuple[str, ...]
    images: int
    pixels: Counts
    """Pixels by class."""
    ignored: int
    """Pixels whose label is ignored."""
    blank: int
    """Images all of whose pixels are ignored."""
    turned: int
    """Images that an EXIF orientation turns and their label maps not, though the sizes agree."""

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """The part of the labelled pixels by class; NaN where none is labelled."""
        labelled = self.pixels.sum()
        return self.pixels / labelled if labelled else np.full(len(self.pixels), np.nan)

    @property
    def ignored_share(self) -> float:
        """The part of all pixels that is ignored; NaN where there is no pixel."""
        total = int(self.pixels.sum()) + self.ignored
        return self.ignored / total if total else float("nan")

    @property
    def absent(self) -> tuple[str, ...]:
        """The classes without a pixel."""
        return tuple(name for name, count in zip(self.classes, self.pixels, strict=True) if count == 0)

    @property
    def present(self) -> tuple[str, ...]:
        """The classes that have pixels."""
        return tuple(name for name, count in zip(self.classes, self.pixels, strict=True) if count)


def count_labels(
    source: DataSource, roles: Iterable[str], cache: Path, seen: Seen = lambda role, done, total: None
) -> dict[str, LabelCounts]:
    """Count the pixels of every class in the label maps of some roles, or read the counts from the cache.

    Images of a source that reads no label map without its image are kept in the store, where trainings look for them.

    Args:
        source: The data.
        roles: The roles, which are counted together: palettes of label files must agree between them.
        cache: The folder for decoded data; where it cannot be written, the counts are made again the next time.
        seen: Told of the progress.

    Raises:
        InputError: If a label map cannot be read or holds other labels than classes and ignored ones.
    """
    roles = tuple(roles)
    key = hashlib.blake2b("|".join(map(source.listing, roles)).encode(), digest_size=16).hexdigest()
    note = cache / "classes" / f"{key}.json"
    counts = _remembered(note, source, roles)
    if counts is None:
        counts = {role: _count(source, role, cache, seen) for role in roles}
        with contextlib.suppress(StorageError, OSError):
            cache.mkdir(parents=True, exist_ok=True)
            write_atomically(note, _note(counts))
    return counts


def check_presence(data: DataSet, counts: Mapping[str, LabelCounts]) -> list[str]:
    """Check that every class can be learned and measured.

    Args:
        data: The data set, which may allow absent classes.
        counts: From `count_labels`, by role, `train` among them.

    Returns:
        What makes the data one-sided without being an error, in sentences.

    Raises:
        InputError: If `train` has no pixel of a class that may not be absent, a role has no labelled pixel at all, or
            the data set allows a class to be absent that it does not have.
    """
    train = counts["train"]
    if unknown := [name for name in data.absent if name not in train.classes]:
        raise InputError(f"data.absent: the data have no class {unknown[0]!r}{did_you_mean(unknown[0], train.classes)}")
    for role in counts.values():
        if not role.present:
            raise InputError(
                f"the {role.images} label maps of role {role.role} have no pixel of any class, all pixels are ignored; "
                "correct the label files, or which ids or colors are ignored"
            )
    if missing := [name for name in train.absent if not data.may_be_absent(name)]:
        raise InputError(
            f"role train has no pixel of {_classes(missing)} ({train.ignored_share:.1%} of its pixels are ignored), so "
            f"no network can learn it; correct the label files or which ids or colors stand for which "
            f"class{data.ignored_labels}, or allow it with data: {{absent: {json.dumps(missing, ensure_ascii=False)}}}"
        )
    return [sentence for role in counts.values() for sentence in _one_sided(role)]


def _one_sided(counts: LabelCounts) -> Iterator[str]:
    role = counts.role
    if len(counts.present) == 1:
        only = f"role {role} has pixels of one class alone, {counts.present[0]!r}"
        if role == "train":
            yield f"{only}: no network can learn another"
        else:
            yield f"{only}: its mIoU is over one class, and a network that always predicts this class scores 100"
    elif counts.absent:
        what = "no network can learn it" if role == "train" else f"its mIoU is over the other {len(counts.present)}"
        yield f"role {role} has no pixel of {_classes(counts.absent)}: {what}"
    if counts.blank:
        yield f"{counts.blank} of the {counts.images} label maps of role {role} have no pixel that is not ignored"
    if counts.turned:
        yield (
            f"{counts.turned} of the {counts.images} images of role {role} are turned by an EXIF orientation and their "
            "label maps are not: check that the label maps show the images as viewers do"
        )


def _classes(names: Collection[str]) -> str:
    more = ", ..." if len(names) > _NAMED else ""
    return f"the {'class' if len(names) == 1 else f'{len(names)} classes'} {', '.join(list(names)[:_NAMED])}{more}"


def _count(source: DataSource, role: str, cache: Path, seen: Seen) -> LabelCounts:
    ids, count = source.ids(role), len(source.classes)
    pixels = np.zeros(count, dtype=np.int64)
    ignored = blank = turned = 0
    labels_of = _reader(source, role, cache)

    def counted(index: int) -> tuple[Counts, bool]:
        """Pixels by label of one image, and whether it is silently turned."""
        labels = labels_of(index)
        check_labels(labels, source, ids[index])
        return np.bincount(labels.ravel(), minlength=256), is_silently_turned(source, role, ids[index])

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for done, (counts, is_turned) in enumerate(pool.map(counted, range(len(ids))), start=1):
            pixels += counts[:count]
            ignored += int(counts[source.ignore_index])
            blank += not counts[:count].any()
            turned += is_turned
            seen(role, done, len(ids))
    return LabelCounts(role, tuple(source.classes), len(ids), pixels, ignored, blank, turned)


def _reader(source: DataSource, role: str, cache: Path) -> Callable[[int], Pixels]:
    """Reads the label map of an image by its number."""
    ids = source.ids(role)
    if isinstance(source, ReadsLabels):
        return lambda index: source.read_labels(role, ids[index])
    try:
        images = open_store(source, role, cache)
    except StorageError:
        return lambda index: source.read(role, ids[index])[1]
    return lambda index: images.get(index)[1]


def is_silently_turned(source: DataSource, role: str, image_id: str) -> bool:
    """Whether an EXIF orientation turns an image and not its label map; False for sources that do not know."""
    return isinstance(source, KnowsTurns) and source.is_silently_turned(role, image_id)


def _note(counts: Mapping[str, LabelCounts]) -> bytes:
    rows = {
        role: {"pixels": each.pixels.tolist(), **{field: getattr(each, field) for field in _NUMBERS}}
        for role, each in counts.items()
    }
    body = json.dumps(rows)
    return json.dumps({"format": FORMAT, "crc32": crc32(body.encode()), "roles": body}).encode()


def _remembered(note: Path, source: DataSource, roles: tuple[str, ...]) -> dict[str, LabelCounts] | None:
    """The counts in a note; None if there is none, or it is damaged."""
    try:
        content = json.loads(note.read_bytes())
        body = content["roles"]
        if content["format"] != FORMAT or content["crc32"] != crc32(body.encode()):
            return None
        rows = json.loads(body)
        return {
            role: LabelCounts(
                role=role,
                classes=tuple(source.classes),
                pixels=np.array(rows[role]["pixels"], dtype=np.int64),
                **{field: int(rows[role][field]) for field in _NUMBERS},
            )
            for role in roles
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
