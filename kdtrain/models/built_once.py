"""Networks of the library are built once and copied afterwards, where several of one kind are needed in a row."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from kdtrain.models.network import Network
from kdtrain.models.tapped import TappedNetwork

_MOST = 4
"""Networks that are kept."""


class Start(NamedTuple):
    """What decides the starting weights of a network."""

    seed: int
    weights: str
    folder: Path | None


_Key = tuple[str, int, Start | None]
_kept: OrderedDict[_Key, TappedNetwork] | None = None


@contextmanager
def building_once() -> Iterator[None]:
    """In the block, a network that was built before is copied; its copies share nothing with each other."""
    global _kept
    before, _kept = _kept, OrderedDict() if _kept is None else _kept
    try:
        yield
    finally:
        _kept = before


def built(network: Network, num_classes: int, start: Start | None, build: Callable[[], TappedNetwork]) -> TappedNetwork:
    """A network as `build` returns it: a copy of one that was built before in a block of `building_once`.

    Args:
        network: What is built.
        num_classes: Channels of its logits.
        start: What its starting weights follow from; None if any weights will do.
        build: Builds it.
    """
    if _kept is None:
        return build()
    kind = network.model_copy(update={"weights": "none"}).model_dump_json()
    fitting = (key for key in _kept if key[:2] == (kind, num_classes) and start in (None, key[2]))
    if (key := next(fitting, None)) is not None:
        return copy.deepcopy(_kept[key])
    made = build()
    try:
        _kept[kind, num_classes, start] = copy.deepcopy(made)
    except RuntimeError:  # torch copies no tensor that was computed, as some networks keep them
        return made
    if len(_kept) > _MOST:
        _kept.popitem(last=False)
    return made
