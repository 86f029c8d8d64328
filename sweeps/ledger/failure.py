"""How an attempt of a trial ended in an error, and of what kind the error is."""

import re
import traceback
from dataclasses import dataclass
from typing import Literal

from kdtrain.errors import AWAY, DamagedError, InputError, StorageError, is_away, is_full, refused
from kdtrain.explain import place_of
from kdtrain.redact import redacted

Failure = Literal["out_of_memory", "error", "lost", "node_lost", "input", "missing", "storage", "damaged"]
"""Memory, an error of the training code, its process, its node, wrong input, a file that cannot be read, a store that
takes no files, damaged files of its own."""
MENDABLE: tuple[Failure, ...] = ("missing", "input")
"""Failures of causes outside of the trial, after which it runs again when the sweep is resumed."""


@dataclass(frozen=True)
class Crash:
    """A trial's attempt that ended in an error."""

    error: str
    trace: str = ""
    failure: Failure = "error"

    def __post_init__(self) -> None:
        """Leave secrets out, such as those of a URL in the message of a library."""
        object.__setattr__(self, "error", redacted(self.error))
        object.__setattr__(self, "trace", redacted(self.trace))

    @classmethod
    def of(cls, error: BaseException) -> "Crash":
        """The crash that an exception stands for; wrong input stays wrong, so that trying again would be in vain."""
        if isinstance(error, OSError) and is_full(error):
            error = refused(error.filename or "a file", error)
        if isinstance(error, DamagedError):
            return cls(str(error), failure="damaged")
        if isinstance(error, InputError):
            failure: Failure = "storage" if isinstance(error, StorageError) else "input"
            return cls(str(error), failure="missing" if is_away(error) else failure)
        trace = "".join(traceback.format_exception(error))
        memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        other: Failure = "missing" if is_away(error) else "error"
        first, _, rest = f"{type(error).__name__}: {error}".partition("\n")
        text = f"{first}{place_of(error)}\n{rest}".rstrip("\n")
        return cls(text, trace, "out_of_memory" if memory else other)


def recorded_failure(failure: Failure | None, reason: str | None) -> Failure:
    """The kind of a recorded failure; earlier versions recorded files that could not be read as errors."""
    number = re.match(r"\w+: \[Errno (\d+)\]", reason or "")
    if failure in (None, "error") and number is not None and int(number[1]) in AWAY:
        return "missing"
    return failure or "error"
