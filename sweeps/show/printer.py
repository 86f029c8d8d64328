"""The one printer: text as it is, whatever it holds, on an output that may go away.

Rich takes `[...]` in a text for markup and passes control characters on to the terminal; a `Printer` does neither. An
output that goes away (a closed pipe or terminal, a full disk under a log) ends a command that only reads and prints,
and never ends a sweep or training: see `outlasting_output`.
"""

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from kdtrain.printable import printable
from kdtrain.redact import redacted

BROKEN_PIPE = 128 + 13
"""The exit code of a command whose reader has gone, as a shell reports it: 13 is SIGPIPE, which Windows lacks."""


_KEPT = "\n\t"


class OutputLostError(Exception):
    """The output cannot be written any more."""

    def __init__(self, error: OSError | ValueError) -> None:
        super().__init__(str(error))
        self.error = error

    @property
    def reader_is_gone(self) -> bool:
        """Whether nobody reads the output any more, so that there is nobody to tell."""
        return not isinstance(self.error, OSError) or self.error.errno in (errno.EPIPE, errno.EIO)


class Printer(Console):
    """A console that prints texts literally, without markup, and escapes characters that are no text.

    Args:
        stderr: Whether it prints on standard error.
    """

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def render_str(self, text: str, **options: Any) -> Text:
        """A text as rich prints it, without secrets: rich itself would leave out some control characters."""
        return super().render_str(printable(redacted(text), _KEPT), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments of a renderable, their texts printable."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text, _KEPT), segment.style)

    def write(self, text: str) -> None:
        """Write a text for programs, such as CSV, exactly as it is."""
        self.file.write(text)
        self.file.flush()

    @property
    def file(self) -> IO[str]:
        """Standard output or standard error; an error of it is an `OutputLostError`."""
        stream = super().file
        return stream if isinstance(stream, _Output) else cast(IO[str], _Output(stream, _raise_lost))

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file


class _Output:
    """A stream whose errors are handled; all else is that of the stream."""

    def __init__(self, stream: IO[str] | None, on_error: Callable[[OSError | ValueError], None]) -> None:
        self._stream, self._on_error = stream, on_error

    def write(self, text: str) -> int:
        """Write a text, with escapes for characters that the stream's encoding lacks."""
        if self._stream is not None:
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:
                self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
            except (OSError, ValueError) as error:  # a closed stream is a ValueError
                self._on_error(error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Pass on what was written."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._on_error(error)

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:
            return False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # nothing of the stream, and not there yet while a copy is made
            raise AttributeError(name)
        return getattr(self._stream, name)


@contextlib.contextmanager
def outlasting_output(console: Console | None = None) -> Iterator[None]:
    """For the time of the block, no error of standard output or standard error is raised, and SIGHUP does not end.

    What cannot be written is dropped; the first error is noted on standard error, where that can be written.

    Args:
        console: A console with a file of its own, of which the same holds.
    """
    before = sys.stdout, sys.stderr
    if isinstance(before[0], _Output):
        yield
        return
    own = None if console is None or console.file in before or isinstance(console.file, _Output) else console.file
    noted: list[object] = []

    def note(error: OSError | ValueError) -> None:
        if not noted:
            noted.append(error)
            with contextlib.suppress(OSError, ValueError):
                why = getattr(error, "strerror", None) or error
                print(f"the output cannot be written ({why}); the work goes on without it", file=before[1], flush=True)

    def ignore(error: OSError | ValueError) -> None:
        pass

    sys.stdout, sys.stderr = cast(Any, _Output(before[0], note)), cast(Any, _Output(before[1], ignore))
    if console is not None and own is not None:
        console.file = cast(Any, _Output(own, note))
    try:
        with _hangup_ignored():
            yield
    finally:
        sys.stdout, sys.stderr = before
        if console is not None and own is not None:
            console.file = own
        drop_unwritten()


def drop_unwritten() -> None:
    """Pass on what was written; drop what cannot be, so that the end of Python does not report it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _raise_lost(error: OSError | ValueError) -> None:
    raise OutputLostError(error)


@contextlib.contextmanager
def _hangup_ignored() -> Iterator[None]:
    """A terminal that is closed does not end this process, nor those that it starts."""
    is_main = threading.current_thread() is threading.main_thread()
    has_hangup = hasattr(signal, "SIGHUP")  # not on Windows
    if not is_main or not has_hangup or signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
