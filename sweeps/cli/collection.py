"""How often Python looks for garbage: seldom while a command imports and reads, as usual while it trains."""

import contextlib
import gc
from collections.abc import Iterator

_SELDOM = (100_000, 20, 20)
"""Imports make a million objects and hardly any garbage, for which Python would search in a quarter of their time."""
_usual = gc.get_threshold()


@contextlib.contextmanager
def seldom_collecting() -> Iterator[None]:
    """Look for garbage seldom in the block."""
    with _collecting(_SELDOM):
        yield


@contextlib.contextmanager
def collecting_as_usual() -> Iterator[None]:
    """Look for garbage as often as Python does in the block, so that tensors in cycles keep no memory."""
    with _collecting(_usual):
        yield


@contextlib.contextmanager
def _collecting(threshold: tuple[int, int, int]) -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*threshold)
    try:
        yield
    finally:
        gc.set_threshold(*before)
