"""The further processes of a training on several devices: how they are started, live, and end.

They are started as plain commands, not by `multiprocessing`, which would run the user's main script again in each.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from kdtrain.runtime.process_group import ALONE, ProcessGroup, SpawnedGroup

Work = Callable[[ProcessGroup], object]

# What is sent to all processes of a job at once is answered by the first process alone.
_COMMAND = (
    "import signal as s; [s.signal(n, s.SIG_IGN) for n in (s.SIGINT, s.SIGTERM, s.SIGHUP, s.SIGUSR1, s.SIGUSR2)]; "
    "from kdtrain.runtime.processes import follow; follow()"
)
_GRACE_S = 20.0
"""Seconds for the others to end, once the first process is through."""
_BLAME_S = 5.0
"""Seconds to look for another process whose end may be the cause of an error here."""


@contextlib.contextmanager
def spawn(size: int, work: Work) -> Iterator[ProcessGroup]:
    """Start the other processes of a training; inside the block, this process does its part.

    Args:
        size: How many processes there are, this one included.
        work: What the others do with their world; travels by pickle.

    Raises:
        Exception: What another process raised, if it ended the training.
        RuntimeError: If another process was killed.
    """
    if size == 1:
        yield ALONE
        return
    in_order = False
    with tempfile.TemporaryDirectory(prefix="kdtrain-") as name:
        others = Others(size, work, Path(name))
        world = SpawnedGroup(0, size, Path(name), others.await_ready)
        try:
            others.watch(world.abort)
            yield world
            in_order = True
        except RuntimeError:
            cause = others.cause(_BLAME_S)
            if cause is None:
                raise
            raise cause from None
        finally:
            if in_order:
                world.leave()
            others.end(_GRACE_S if in_order else 0.0)
            world.abandon()


class Others:
    """The further processes, as the first one sees them."""

    def __init__(self, size: int, work: Work, folder: Path) -> None:
        """Start them."""
        self._size, self._folder = size, folder
        self._ended = threading.Event()
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        environment = os.environ | {"PYTHONPATH": paths}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for rank in range(1, size):
            process = subprocess.Popen([sys.executable, "-c", _COMMAND], stdin=subprocess.PIPE, env=environment)
            self._processes[rank] = process
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(pickle.dumps((rank, size, folder, work)))
                process.stdin.flush()

    def await_ready(self) -> None:
        """Wait until all are about to join.

        Raises:
            Exception: What ended one of them.
        """
        while not all((self._folder / f"ready-{rank}").exists() for rank in self._processes):
            if (cause := self.cause(0.0)) is not None:
                raise cause
            time.sleep(0.02)

    def watch(self, abort: Callable[[], None]) -> None:
        """Call `abort` once one of them dies: a GPU would wait for it."""

        def look() -> None:
            while not self._ended.wait(0.5):
                if any(process.poll() not in (None, 0) for process in self._processes.values()):
                    abort()
                    return

        threading.Thread(target=look, daemon=True, name="kdtrain-watch").start()

    def cause(self, seconds: float) -> BaseException | None:
        """What ended one of them, if it ended badly within so many seconds from now."""
        until = time.monotonic() + seconds
        while True:
            ended = {rank: code for rank, process in self._processes.items() if (code := process.poll())}
            for rank, code in sorted(ended.items(), key=lambda pair: pair[1] > 0):
                if (told := self._told(rank)) is not None:
                    return told
                how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                return RuntimeError(f"process {rank + 1} of {self._size} {how}, and with it the training")
            if time.monotonic() >= until:
                return None
            time.sleep(0.02)

    def end(self, seconds: float) -> None:
        """Give them so many seconds to end, then kill them."""
        self._ended.set()
        until = time.monotonic() + seconds
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            process.kill()
            process.wait()
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()

    def _told(self, rank: int) -> BaseException | None:
        try:
            error = pickle.loads((self._folder / f"error-{rank}").read_bytes())
        except OSError:
            return None
        return error if isinstance(error, BaseException) else None


def follow() -> None:
    """The whole life of a further process; it ends with the first one, however that ends."""
    rank, size, folder, work = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    world = SpawnedGroup(rank, size, folder, partial(Path.touch, folder / f"ready-{rank}"))
    try:
        work(world)
        world.leave()
        sys.stdout.flush()
        os._exit(0)  # the interpreter's own way out takes seconds
    except BaseException as error:
        _tell(error, folder / f"error-{rank}", f"in process {rank + 1} of {size}")
        os._exit(1)  # without a word to the others, who may never answer


def _end_with_the_first() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing comes any more but the end
    os._exit(1)


def _tell(error: BaseException, path: Path, where: str) -> None:
    trace = "".join(traceback.format_exception(error))
    error.add_note(f"{where}:\n{trace}")
    error.__traceback__ = None
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
    except Exception:
        content = pickle.dumps(RuntimeError(f"{where}: {type(error).__name__}: {error}\n{trace}"))
    with contextlib.suppress(OSError):
        partial_path = path.with_suffix(".tmp")
        partial_path.write_bytes(content)
        partial_path.replace(path)
