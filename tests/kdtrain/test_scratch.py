"""Temporary folders are removed: at the end of their block, and those of killed processes at the next start."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kdtrain.runtime import scratch as scratch_module
from kdtrain.runtime.scratch import remove_abandoned, scratch_folder

HOLDER = """
import sys, time
from kdtrain.runtime.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "work").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch_module, "_YOUNG_S", 0.0)
    return tmp_path


def start(temporary):
    environment = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_of_a_killed_process_is_removed_and_one_in_use_is_left(temporary):
    (killed, left), (alive, used) = start(temporary), start(temporary)
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert (left / "work").exists()
        with scratch_folder() as folder:
            assert folder.parent == temporary
            assert not left.exists()
            assert (used / "work").exists()
            with scratch_folder():
                assert folder.exists()
        assert not folder.exists()
    finally:
        alive.kill()
        alive.wait()


def test_a_folder_elsewhere_is_hidden_and_removed_with_its_forerunners(tmp_path):
    parent = tmp_path / "cache"
    (parent / ".kdsweep-tmp-killed").mkdir(parents=True)
    with scratch_folder(parent) as folder:
        assert list(parent.iterdir()) == [folder]
        assert folder.name.startswith(".")
    assert list(parent.iterdir()) == []


def test_a_folder_is_removed_after_an_error(temporary):
    with pytest.raises(KeyError), scratch_folder() as folder:
        raise KeyError
    assert not folder.exists()
    assert list(temporary.iterdir()) == []


def test_what_is_not_ours_is_left(temporary, monkeypatch):
    (temporary / "kdsweep-tmp-file").write_text("x")
    (temporary / "else").mkdir()
    for name in ("kdsweep", "kdsweep.demo", "kdsweep-demo", "kdsweep-tune-old"):
        (temporary / name).mkdir()
    (temporary / "kdsweep-tmp-link").symlink_to(temporary / "else")
    with scratch_folder():
        pass
    left = {path.name for path in temporary.iterdir()}
    assert left >= {"else", "kdsweep", "kdsweep.demo", "kdsweep-demo", "kdsweep-tmp-file", "kdsweep-tmp-link"}
    (temporary / "kdsweep-tmp-other").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: -1)
    remove_abandoned(temporary, "kdsweep-tmp-*")
    assert (temporary / "kdsweep-tmp-other").exists()


def test_without_locks_nothing_is_removed(temporary, monkeypatch):
    (temporary / "kdsweep-tmp-other").mkdir()

    def refuse(*_):
        raise OSError

    monkeypatch.setattr("fcntl.flock", refuse)
    with scratch_folder() as folder:
        assert folder.is_dir()
    assert (temporary / "kdsweep-tmp-other").exists()


def test_a_folder_that_was_just_made_is_left(temporary, monkeypatch):
    monkeypatch.setattr(scratch_module, "_YOUNG_S", 60.0)
    (temporary / "kdsweep-tmp-young").mkdir()
    remove_abandoned(temporary, "kdsweep-tmp-*")
    assert (temporary / "kdsweep-tmp-young").exists()
