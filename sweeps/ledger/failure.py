"""How an attempt of a trial ended in an error, and of what kind the error is."""

import traceback
from dataclasses import dataclass
from typing import Literal

from kdtrain.errors import DamagedError, InputError, StorageError, is_full, refused

Failure = Literal["out_of_memory", "error", "lost", "node_lost", "input", "storage", "damaged"]
"""Memory, an error of the training code, its process, its node, wrong input, a store that takes no files, damaged
files of its own."""


@dataclass(frozen=True)
class Crash:
    """A trial's attempt that ended in an error."""

    error: str
    trace: str = ""
    failure: Failure = "error"

    @classmethod
    def of(cls, error: BaseException) -> "Crash":
        """The crash that an exception stands for; wrong input stays wrong, so that trying again would be in vain."""
        if isinstance(error, OSError) and is_full(error):
            error = refused(error.filename or "a file", error)
        if isinstance(error, StorageError):
            return cls(str(error), failure="storage")
        if isinstance(error, DamagedError):
            return cls(str(error), failure="damaged")
        if isinstance(error, InputError):
            return cls(str(error), failure="input")
        trace = "".join(traceback.format_exception(error))
        memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        return cls(f"{type(error).__name__}: {error}", trace, "out_of_memory" if memory else "error")
