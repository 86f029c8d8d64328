"""A user's own `analysis.py`, `sweeps.py` or `kdtrain.py` beside a script is named, rather than met as a riddle."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A fresh process in a folder of the user's, with this software further back on the path."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, check=False)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0
    return done.stderr.rstrip().splitlines()[-1]


@pytest.mark.parametrize("name", ["analysis", "sweeps", "kdtrain"])
def test_the_command_names_the_file_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").touch()
    done = python(tmp_path, "-m", "kdsweep_start", "--version")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: the file {tmp_path / name}.py hides kdsweep's package '{name}'")
    assert "rename the file" in done.stderr


@pytest.mark.parametrize("name", ["analysis", "kdtrain"])
@pytest.mark.parametrize("import_line", ["from sweeps import load_spec", "from sweeps.spec.spec import load_spec"])
def test_a_script_names_the_file(tmp_path: Path, name: str, import_line: str) -> None:
    (tmp_path / f"{name}.py").touch()
    (tmp_path / "script.py").write_text(f"{import_line}\n")
    line = last_line(python(tmp_path, "script.py"))
    assert line.startswith(f"ImportError: the file {tmp_path / name}.py hides")


def test_python_m_names_a_folder_with_a_package(tmp_path: Path) -> None:
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "__init__.py").touch()
    line = last_line(python(tmp_path, "-m", "sweeps", "--version"))
    assert line.startswith(f"ImportError: the folder {tmp_path / 'analysis'} hides")


def test_what_hides_nothing_that_is_used_does_no_harm(tmp_path: Path) -> None:
    for name in ("analysis", "sweeps"):  # folders of results are no packages
        (tmp_path / name).mkdir()
    done = python(tmp_path, "-m", "kdsweep_start", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "analysis.py").touch()  # kdtrain knows neither analysis nor sweeps
    (tmp_path / "script.py").write_text("from kdtrain import train\n")
    assert python(tmp_path, "script.py").returncode == 0


def test_a_worker_of_ray_takes_our_packages(tmp_path: Path) -> None:
    """Ray lets workers look into the driver's current folder first."""
    (tmp_path / "analysis.py").touch()
    code = "import sys; sys.argv = ['/ray/default_worker.py']; import sweeps, analysis; print(analysis.__file__)"
    done = python(tmp_path, "-c", code)
    assert done.stdout.strip() == str(ROOT / "analysis" / "__init__.py"), done.stderr
