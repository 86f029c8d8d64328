"""A thread that makes items before they are used, so that their user does not wait for a disk, decoding or copies."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def read_ahead(items: Iterable[T], depth: int) -> Iterator[Iterator[T]]:
    """Iterate over `items` in a thread of its own, which ends with the block, however that ends.

    Args:
        items: What the thread iterates over; nobody else may do so in the block.
        depth: So many items at most are being made, or are made and not taken yet.

    Yields:
        The items in order. What making an item raises is raised where that item would be taken.
    """
    room = threading.Semaphore(depth - 1)
    made: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()  # a queue without bound never blocks the thread
    ended = threading.Event()

    def make() -> None:
        try:
            for item in items:
                made.put((item,))
                room.acquire()
                if ended.is_set():
                    return
            made.put(None)
        except BaseException as error:
            made.put(error)

    def taken() -> Iterator[T]:
        while isinstance(item := made.get(), tuple):
            room.release()
            yield item[0]
        if item is not None:
            raise item

    thread = threading.Thread(target=make, name="kdtrain-read-ahead", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        ended.set()
        room.release()
        thread.join()
