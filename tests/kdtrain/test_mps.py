"""An MPS daemon of our own, with a fake of NVIDIA's program on the PATH."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdtrain.runtime import mps

PROGRAM = """#!/bin/sh
# A fake of nvidia-cuda-mps-control: the daemon is a sleep, in the environment that the real one has.
echo "$CUDA_MPS_PIPE_DIRECTORY $*" >> {log}
{refusal}
if [ "$1" = -d ]; then
    {daemon} &
    echo $! > "$CUDA_MPS_PIPE_DIRECTORY/nvidia-cuda-mps-control.pid"
    exit 0
fi
read command
echo "$command" >> {log}
case "$command" in
    quit*) {quit} ;;
esac
exit 0
"""
LOADS_SLOWLY = "env -i sh -c 'sleep 0.3; exec env PIPES=$0 sleep 300' \"$CUDA_MPS_PIPE_DIRECTORY\""
"""A daemon whose environment reads as empty for a while, as that of a process does that loads its program."""
QUIT = 'kill $(cat "$CUDA_MPS_PIPE_DIRECTORY/nvidia-cuda-mps-control.pid")'


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Writes the fake; returns a function that reads what it was called with."""
    log, temporary = tmp_path / "log", tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(mps.tempfile, "gettempdir", lambda: str(temporary))
    monkeypatch.setattr(mps, "_DRIVER_FOLDERS", ())
    monkeypatch.setattr(mps, "_DEFAULT_PIPES", tmp_path / "none")
    monkeypatch.delenv(mps.PIPES, raising=False)

    def write(refusal="", quit=QUIT, daemon="sleep 300"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        file = tmp_path / "bin" / mps.PROGRAM
        file.write_text(PROGRAM.format(log=log, refusal=refusal, quit=quit, daemon=daemon))
        file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
        return lambda: log.read_text().splitlines() if log.exists() else []

    return write


def is_alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def daemon_of(pipes):
    return int((Path(pipes) / "nvidia-cuda-mps-control.pid").read_text())


def test_a_daemon_has_a_folder_of_its_own_and_ends_with_the_block(program, tmp_path):
    calls, said = program(), []
    with mps.mps_daemon(said.append) as variables:
        pipes = variables[mps.PIPES]
        process = daemon_of(pipes)
        assert is_alive(process)
        assert Path(pipes).is_relative_to(tmp_path / "tmp")
        assert Path(pipes).parent.stat().st_mode & 0o077 == 0
        with mps.in_environment(variables):
            assert os.environ[mps.PIPES] == pipes
        assert mps.PIPES not in os.environ
    assert calls() == [f"{pipes} -d", f"{pipes} ", "get_server_list", f"{pipes} ", "quit -t 5"]
    assert not is_alive(process)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert said == ["students share a GPU by an MPS daemon, which is stopped at the end"]


@pytest.mark.parametrize("daemon", ["sleep 300", LOADS_SLOWLY])
def test_a_daemon_that_does_not_answer_is_ended(program, daemon):
    program(quit="exit 1", daemon=daemon)
    with mps.mps_daemon(lambda text: None) as variables:
        process = daemon_of(variables[mps.PIPES])
    deadline = time.monotonic() + 60
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(process)


def test_a_driver_that_refuses_is_named_and_nothing_is_set(program, tmp_path):
    program(refusal="echo 'An instance is not permitted' >&2; exit 1")
    said = []
    with mps.mps_daemon(said.append) as variables:
        assert variables == {}
    assert said == ["students take turns on a GPU: the MPS daemon does not start (An instance is not permitted)"]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_without_the_program_or_beside_a_daemon_of_others_nothing_is_started(program, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(mps.shutil, "which", lambda name, path=None: None)
    with mps.mps_daemon(said.append) as variables:
        assert variables == {}
    assert "is not on the PATH" in said[0]
    monkeypatch.undo()
    calls = program()
    monkeypatch.setenv(mps.PIPES, str(tmp_path / "theirs"))
    with mps.mps_daemon(said.append) as variables:
        assert variables == {}
    assert "that runs on this machine" in said[1]
    assert calls() == []


def test_the_daemon_of_a_killed_process_is_stopped_by_the_next_one(program, tmp_path, monkeypatch):
    calls = program()
    monkeypatch.setattr("kdtrain.runtime.scratch._YOUNG_S", 0.0)
    script = (
        "import sys, time; from kdtrain.runtime import mps\n"
        f"mps.tempfile.gettempdir = lambda: {str(tmp_path / 'tmp')!r}\n"
        "with mps.mps_daemon(lambda text: None) as variables:\n"
        "    print(variables[mps.PIPES], flush=True); time.sleep(300)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as killed:
        pipes = killed.stdout.readline().strip()
        process = daemon_of(pipes)
        with mps.mps_daemon(lambda text: None):
            assert is_alive(process)  # its owner lives
        killed.send_signal(signal.SIGKILL)
    assert is_alive(process)
    with mps.mps_daemon(lambda text: None):
        assert not is_alive(process)
        assert not Path(pipes).exists()
    assert calls().count(f"{pipes} ") == 2  # a question after its start, and its end
