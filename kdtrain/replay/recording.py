"""Recording by several processes: each makes chunks that are missing and unclaimed, and waits for the others."""

import time
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from kdtrain.replay.array_file import ArrayFile
from kdtrain.replay.stream import View

_POLL = 0.02


def ensure(
    view: View,
    arrays: Mapping[str, ArrayFile],
    chunks: Sequence[int],
    make: Callable[[int], Mapping[str, Tensor]],
    check_interrupt: Callable[[], None] = lambda: None,
) -> int:
    """Return when chunks are on disk, made by this process or by others.

    A chunk that another process has claimed is skipped, and waited for when nothing else is left to do; it is made
    here if its maker dies. Chunks that the disk refuses stay missing: `ArrayFile.has` is false.

    Args:
        view: Of the arrays.
        arrays: The arrays to fill, open.
        chunks: Numbers, in the order in which they are needed.
        make: Given a number, the rows of that chunk by name, for every array that lacks it.
        check_interrupt: Called some 50 times a second while waiting; what it raises ends the waiting.

    Returns:
        How many chunks were made here.
    """
    made = 0
    left = list(chunks)
    while left:
        claimed_elsewhere = []
        for chunk in left:
            if _complete(arrays, chunk):
                continue
            if not all(array.writable for array in arrays.values()):
                return made
            with view.claim(chunk) as mine:
                if not mine:
                    claimed_elsewhere.append(chunk)
                    continue
                if _complete(arrays, chunk):
                    continue
                rows = make(chunk)
                made += 1
                for name, values in rows.items():
                    if not arrays[name].has(chunk) and not arrays[name].write(chunk, values):
                        return made
        left = claimed_elsewhere
        if left:
            check_interrupt()
            time.sleep(_POLL)
    return made


def _complete(arrays: Mapping[str, ArrayFile], chunk: int) -> bool:
    return all(array.has(chunk) for array in arrays.values())
