"""A select role carved out of the training images, where a data set has none of its own."""

import re
from collections.abc import Iterable

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


def carved(pairs: Pairs, role: Role, split: Split, group: str | None) -> Pairs:
    """The training images of the role `train`, or those that are set aside for `select`."""
    aside = set_aside(pairs.files, split, group)
    return pairs.part(lambda image_id: (image_id in aside) == (role == "select"))


def set_aside(image_ids: Iterable[str], split: Split, group: str | None) -> frozenset[str]:
    """The ids that the split takes: whole groups, in a random order, that bring the sum nearer to the goal.

    Raises:
        InputError: If all images are of one group.
    """
    pattern = re.compile(group) if group else None
    groups: dict[str, list[str]] = {}
    for image_id in image_ids:
        groups.setdefault(group_of(image_id, pattern), []).append(image_id)
    if len(groups) < 2:
        raise InputError(f"select cannot be carved out of train by whole groups: all images are of {min(groups)!r}")
    total = sum(len(members) for members in groups.values())
    goal = split.from_train * total
    names = sorted(groups)
    taken: list[str] = []
    for i in numpy_rng(split.seed, "split").permutation(len(names)):
        members = groups[names[i]]
        more = len(taken) + len(members)
        if more < total and abs(more - goal) < abs(len(taken) - goal):
            taken += members
    if not taken:
        taken = min((groups[name] for name in names), key=len)
    return frozenset(taken)
