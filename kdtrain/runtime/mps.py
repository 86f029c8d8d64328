"""NVIDIA's Multi-Process Service (MPS): kernels of several processes run on one GPU at the same time, not in turns.

A daemon of this process's own is started with a pipe folder of its own, and stopped at the end. No setting of a GPU is
changed, and a daemon that somebody else has started is neither replaced nor stopped. Source: NVIDIA, "Multi-Process
Service", chapters on the control utility and on environment variables.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from kdtrain.runtime.scratch import abandoned, held

PROGRAM = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
"""Environment variables by which processes find the daemon."""
_DRIVER_FOLDERS = ("/usr/bin", "/usr/local/nvidia/bin")
_DEFAULT_PIPES = Path("/tmp/nvidia-mps")
_PREFIX = "kdsweep-mps-"
_WAIT_S, _LOADING_S = 15.0, 1.0


@contextmanager
def mps_daemon(notice: Callable[[str], None]) -> Iterator[Mapping[str, str]]:
    """Start a daemon, and stop it at the end of the block. What a killed process left running is stopped first.

    Args:
        notice: Called with a sentence that says whether a daemon runs, and why not.

    Yields:
        The environment variables by which processes that start in the block find the daemon; none if there is none.
    """
    stop_abandoned()
    program = _program()
    if program is None:
        notice(f"students take turns on a GPU: {PROGRAM} is not on the PATH, so MPS cannot be used")
        yield {}
        return
    if PIPES in os.environ or (_DEFAULT_PIPES / "control").exists():
        notice("students share a GPU by the MPS daemon that runs on this machine")
        yield {}
        return
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_parent()))
    try:
        with held(folder):
            refusal = _start(program, folder)
            try:
                if refusal is None:
                    notice("students share a GPU by an MPS daemon, which is stopped at the end")
                else:
                    notice(f"students take turns on a GPU: the MPS daemon does not start ({refusal})")
                yield {} if refusal is not None else _variables(folder)
            finally:
                _stop(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stop_abandoned() -> None:
    """Stop the daemons that killed processes of this user have started with `mps_daemon`."""
    for folder in abandoned(_parent(), f"{_PREFIX}*"):
        _stop(folder)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def in_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process for the block; processes that it starts inherit them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _parent() -> Path:
    """Where folders are made: the path of a socket has at most 107 characters, which those of a cache may exceed."""
    return Path(tempfile.gettempdir())


def _program() -> str | None:
    return shutil.which(PROGRAM) or shutil.which(PROGRAM, path=os.pathsep.join(_DRIVER_FOLDERS))


def _variables(folder: Path) -> dict[str, str]:
    return {PIPES: str(folder / "pipe"), LOGS: str(folder / "log")}


def _start(program: str, folder: Path) -> str | None:
    """Start a daemon with these folders; the reason if it does not start."""
    variables = _variables(folder)
    for path in variables.values():
        Path(path).mkdir()
    try:
        for arguments, text in (([program, "-d"], ""), ([program], "get_server_list\n")):
            status, said = _run(arguments, text, variables)
            if status:
                return said.strip().partition("\n")[0] or f"exit status {status}"
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None


def _stop(folder: Path) -> None:
    """Stop the daemon of a folder, if it has one; where it does not answer, end its process."""
    program = _program()
    if program is not None and (folder / "pipe").is_dir():
        with suppress(OSError, subprocess.SubprocessError):
            _run([program], "quit -t 5\n", _variables(folder))
    for file in (folder / "pipe").glob("*.pid"):
        with suppress(OSError, ValueError):
            process = int(file.read_text())
            if str(folder).encode() in _environment(process):  # else the number is another's
                os.kill(process, signal.SIGTERM)


def _environment(process: int) -> bytes:
    """The environment of a process; it reads as empty while the process loads its program, so this waits a little."""
    file = Path(f"/proc/{process}/environ")
    deadline = time.monotonic() + _LOADING_S
    while not (environment := file.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return environment


def _run(arguments: list[str], text: str, variables: Mapping[str, str]) -> tuple[int, str]:
    """The exit status of the program and what it said: to a file, because a daemon would keep a pipe open."""
    with tempfile.TemporaryFile("w+") as said:
        ended = subprocess.run(
            arguments,
            input=text,
            env=os.environ | variables,
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_WAIT_S,
            check=False,
        )
        said.seek(0)
        return ended.returncode, said.read()
