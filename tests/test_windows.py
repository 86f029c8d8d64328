"""All modules import without what Windows lacks, and what only needs files works there; a sweep is driven on POSIX."""

import subprocess
import sys
from pathlib import Path

import pytest

from kdtrain.runtime import file_locks
from kdtrain.runtime.scratch import scratch_folder

ROOT = Path(__file__).parents[1]
NOT_ON_WINDOWS = """
import importlib, os, pathlib, signal, sys
import numpy, optuna, pandas, pyarrow.dataset, ray.tune, rich.live, segmentation_models_pytorch, scipy.stats, torch
import typer, matplotlib.figure, statsmodels.formula.api, PIL.Image
import asyncio, multiprocessing, pty, subprocess
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "readline", "syslog"):
    sys.modules[name] = None
for name in dir(signal):
    if name.startswith("SIG") and "_" not in name and name not in {kept!r}:
        delattr(signal, name)
for name in {functions!r}:
    delattr(os, name)
for name in {modules!r}:
    importlib.import_module(name)
"""
KEPT = ("SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM")
FUNCTIONS = (
    *("fork", "getuid", "geteuid", "getgid", "getpgid", "getsid", "killpg", "setsid", "getloadavg", "uname", "statvfs"),
    *(
        "posix_fadvise",
        "posix_fallocate",
        "sched_getaffinity",
        "mkfifo",
        "chown",
        "sysconf",
        "O_CLOEXEC",
        "O_DIRECTORY",
    ),
)


def test_every_module_imports():
    paths = [path for package in ("analysis", "kdtrain", "sweeps") for path in sorted((ROOT / package).rglob("*.py"))]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    names = [name for name in names if not name.endswith("__main__")]
    code = NOT_ON_WINDOWS.format(kept=KEPT, functions=FUNCTIONS, modules=names)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def no_locks(monkeypatch):
    monkeypatch.setattr(file_locks, "HAS_LOCKS", False)


def test_without_locks_a_lock_is_refused_as_on_a_file_system_without(no_locks, tmp_path):
    with (tmp_path / "lock").open("w") as file, pytest.raises(OSError, match="no locks of whole files"):
        file_locks.take(file)


def test_without_locks_scratch_folders_work_and_those_of_others_stay(no_locks, tmp_path, monkeypatch):
    monkeypatch.setattr("kdtrain.runtime.scratch._YOUNG_S", 0.0)
    monkeypatch.delattr("os.getuid")
    with scratch_folder(tmp_path) as first, scratch_folder(tmp_path) as second:
        (first / "work").touch()
        assert first.is_dir()
        assert second.is_dir()
    assert list(tmp_path.iterdir()) == []
