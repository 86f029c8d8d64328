"""The other processes of a training on several devices: how they start, run and end.

They are started as plain commands, not by `multiprocessing`, which would run the user's main script again in each.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from kdtrain.errors import StorageError
from kdtrain.runtime.atomic_files import write_atomically
from kdtrain.runtime.process_group import ALONE, ProcessGroup, SpawnedGroup
from kdtrain.runtime.scratch import scratch_folder

Work = Callable[[ProcessGroup], object]

# A signal that reaches all processes of a job at once is handled by the first process alone.
_COMMAND = (
    "import signal as s; [s.signal(n, s.SIG_IGN) for n in (s.SIGINT, s.SIGTERM, s.SIGHUP, s.SIGUSR1, s.SIGUSR2)]; "
    "from kdtrain.runtime.processes import follow; follow()"
)
_GRACE_S = 20.0
"""Seconds for the other processes to end after the first one has finished."""
_CAUSE_S = 5.0
"""Seconds to look for another process whose end may have caused an error here."""


@contextlib.contextmanager
def spawn(size: int, work: Work) -> Iterator[ProcessGroup]:
    """Start the other processes of a training; inside the block, this process does its part.

    Args:
        size: How many processes there are, this one included.
        work: What the other processes do with their group; sent by pickle.

    Raises:
        Exception: What another process raised, if it ended the training.
        RuntimeError: If another process was killed.
    """
    if size == 1:
        yield ALONE
        return
    in_order = False
    with scratch_folder() as folder:
        others = OtherProcesses(size, work, folder)
        group = SpawnedGroup(0, size, folder, others.await_ready)
        try:
            others.watch(group.abort)
            yield group
            in_order = True
        except RuntimeError:
            cause = others.cause(_CAUSE_S)
            if cause is None:
                raise
            raise cause from None
        finally:
            if in_order:
                group.leave()
            others.end(_GRACE_S if in_order else 0.0)
            group.abandon()


class OtherProcesses:
    """The processes that the first one has started."""

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
        """Wait until all processes are about to connect.

        Raises:
            Exception: The error that ended one of them.
        """
        while not all((self._folder / f"ready-{rank}").exists() for rank in self._processes):
            if (cause := self.cause(0.0)) is not None:
                raise cause
            time.sleep(0.02)

    def watch(self, abort: Callable[[], None]) -> None:
        """Call `abort` when a process dies, because a GPU would wait for it."""

        def watch_processes() -> None:
            while not self._ended.wait(0.5):
                if any(process.poll() not in (None, 0) for process in self._processes.values()):
                    abort()
                    return

        threading.Thread(target=watch_processes, daemon=True, name="kdtrain-watch").start()

    def cause(self, seconds: float) -> BaseException | None:
        """The error that ended a process, if one fails within so many seconds from now."""
        until = time.monotonic() + seconds
        while True:
            ended = {rank: code for rank, process in self._processes.items() if (code := process.poll())}
            for rank, code in sorted(ended.items(), key=lambda pair: pair[1] > 0):
                if (error := self._error_of(rank)) is not None:
                    return error
                end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                return RuntimeError(f"process {rank + 1} of {self._size} {end}, and with it the training")
            if time.monotonic() >= until:
                return None
            time.sleep(0.02)

    def end(self, seconds: float) -> None:
        """Wait so many seconds for the processes to end, then kill them."""
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

    def _error_of(self, rank: int) -> BaseException | None:
        try:
            error = pickle.loads((self._folder / f"error-{rank}").read_bytes())
        except OSError:
            return None
        return error if isinstance(error, BaseException) else None


def follow() -> None:
    """Run another process of a training; it ends with the first one, however that ends."""
    rank, size, folder, work = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_exit_with_the_first, daemon=True).start()
    group = SpawnedGroup(rank, size, folder, partial(Path.touch, folder / f"ready-{rank}"))
    try:
        work(group)
        group.leave()
        sys.stdout.flush()
        os._exit(0)  # the regular exit of the interpreter takes seconds
    except BaseException as error:
        _write_error(error, folder / f"error-{rank}", f"in process {rank + 1} of {size}")
        os._exit(1)  # does not disconnect from the others, which may never answer


def _exit_with_the_first() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns when the first process ends
    os._exit(1)


def _write_error(error: BaseException, path: Path, where: str) -> None:
    trace = "".join(traceback.format_exception(error))
    error.add_note(f"{where}:\n{trace}")
    error.__traceback__ = None
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
    except Exception:
        content = pickle.dumps(RuntimeError(f"{where}: {type(error).__name__}: {error}\n{trace}"))
    with contextlib.suppress(StorageError):
        write_atomically(path, content)
