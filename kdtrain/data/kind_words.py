"""Words by which folders, columns and members of archives say what they hold: images or label maps, of which role."""

import re
from collections.abc import Iterable

_LABEL_WORDS = frozenset({
    "label", "labels", "mask", "masks", "annot", "annots", "annotation", "annotations", "gt", "groundtruth", "truth",
    "seg", "segmentation", "segmentations", "target", "targets", "labelmap",
})  # fmt: skip
_IMAGE_WORDS = frozenset({
    "image", "images", "img", "imgs", "rgb", "photo", "photos", "picture", "pictures", "frames", "pixel", "pixels",
})  # fmt: skip
_ROLES = {
    "train": "train", "training": "train", "val": "select", "valid": "select", "validation": "select", "dev": "select",
    "select": "select", "test": "test", "testing": "test",
}  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def kind_in(name: str) -> str:
    """Whether a name says `images` or `labels`; empty if it says neither. A name with both is one of labels."""
    words = set(_words(name))
    return "labels" if words & _LABEL_WORDS else "images" if words & _IMAGE_WORDS else ""


def role_in(name: str) -> str | None:
    """The first role of which a name has a word, such as `val` for `select`; none if it has none."""
    return next((_ROLES[word] for word in _words(name) if word in _ROLES), None)


def _words(name: str) -> Iterable[str]:
    return map(str.lower, _WORD.findall(name))
