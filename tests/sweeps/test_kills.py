"""Real sweeps without Ray, killed at named moments: a short run of the benchmark."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kills.py"


@pytest.mark.slow
def test_killed_sweeps_end_as_if_they_had_been_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "kills.parquet"
    command = [sys.executable, SCRIPT, "--sweeps", "5", "--ray", "0", "--seed", "2", "--out", out]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_parquet(out)
    assert len(table) == 5
    assert table["kills"].sum() >= 4  # a kill comes at a random second, and a sweep may end before it
    assert table[["lost", "doubled", "again"]].sum().sum() == 0
    assert table["equal"].all()
