"""A select role carved out of the training images, where a data set has none of its own."""

import re
from collections.abc import Iterable, Mapping

from pydantic import Field

from kdtrain.config_base import Strict
from kdtrain.data.pairs import Pairs, group_of
from kdtrain.data.source import Role
from kdtrain.errors import InputError
from kdtrain.runtime.random_streams import numpy_rng


class Split(Strict):
    """A part of the training images, set aside by whole groups."""

    from_train: float = Field(default=0.2, gt=0, lt=1)
    """The fraction of the images."""
    seed: int = 0
    """Of the drawing."""


def carved(pairs: Pairs, role: Role, split: Split, group: str | None) -> Pairs:
    """The training images of the role `train`, or those that are set aside for `select`."""
    aside = set_aside(pairs.files, split, group)
    return pairs.part(lambda image_id: (image_id in aside) == (role == "select"))


def set_aside(image_ids: Iterable[str], split: Split, group: str | None) -> frozenset[str]:
    """The ids that the split takes, as `drawn_groups` draws their groups.

    Raises:
        InputError: If all images are of one group.
    """
    pattern = re.compile(group) if group else None
    groups: dict[str, list[str]] = {}
    for image_id in image_ids:
        groups.setdefault(group_of(image_id, pattern), []).append(image_id)
    taken = drawn_groups({name: len(members) for name, members in groups.items()}, split.from_train, split.seed)
    return frozenset(image_id for name in taken for image_id in groups[name])


def drawn_groups(sizes: Mapping[str, int], share: float, seed: int) -> frozenset[str]:
    """Whole groups that hold about a share of the images: in a random order, each that brings the sum nearer to it.

    Args:
        sizes: Images by group.
        share: The fraction of all images.
        seed: Of the order.

    Raises:
        InputError: If there is only one group.
    """
    if len(sizes) < 2:
        raise InputError(f"select cannot be carved out of train by whole groups: all images are of {min(sizes)!r}")
    total = sum(sizes.values())
    goal = share * total
    names = sorted(sizes)
    taken: list[str] = []
    count = 0
    for i in numpy_rng(seed, "split").permutation(len(names)):
        more = count + sizes[names[i]]
        if more < total and abs(more - goal) < abs(count - goal):
            taken.append(names[i])
            count = more
    return frozenset(taken or [min(names, key=lambda name: sizes[name])])
