"""Recording together: whoever needs a chunk that nobody has made makes it, and all others wait for it or go ahead."""

import time
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from kdtrain.replay.array_file import ArrayFile
from kdtrain.replay.stream import View

_POLL = 0.02


def ensure(
    view: View,
    tracks: Mapping[str, ArrayFile],
    chunks: Sequence[int],
    make: Callable[[int], Mapping[str, Tensor]],
    pause: Callable[[], None] = lambda: None,
) -> int:
    """See to it that chunks are on disk, whoever makes them.

    A chunk that somebody else works at is passed over, and waited for when nothing else is left to do; it is taken
    over as soon as its maker has died. Where the disk refuses, chunks stay missing, and `ArrayFile.has` says so.

    Args:
        view: Of the tracks.
        tracks: Those to be filled, open.
        chunks: Numbers, in the order in which they are wanted.
        make: Given a number, the rows of that chunk by name, for every track that has it not.
        pause: Called some 50 times a second while waiting; what it raises ends the waiting.

    Returns:
        How many chunks were made here.
    """
    made = 0
    left = list(chunks)
    while left:
        others = []
        for chunk in left:
            if _complete(tracks, chunk):
                continue
            if not all(track.writable for track in tracks.values()):
                return made
            with view.claim(chunk) as mine:
                if not mine:
                    others.append(chunk)
                    continue
                if _complete(tracks, chunk):
                    continue
                rows = make(chunk)
                made += 1
                for name, values in rows.items():
                    if not tracks[name].has(chunk) and not tracks[name].write(chunk, values):
                        return made
        left = others
        if left:
            pause()
            time.sleep(_POLL)
    return made


def _complete(tracks: Mapping[str, ArrayFile], chunk: int) -> bool:
    return all(track.has(chunk) for track in tracks.values())
