"""The drills of `benchmarks/damage.py`: a few of every kind here, all 546 among the slow tests."""

import importlib.util
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from sweeps.ledger import ledger as ledger_module

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "damage.py"


@pytest.fixture(scope="module")
def damage():
    spec = importlib.util.spec_from_file_location("damage", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        patch.setitem(sys.modules, "damage", module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def sweep(damage, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: None)
        patch.setattr(ledger_module, "SEGMENT_BYTES", 8000)
        return damage.make(tmp_path_factory.mktemp("drills"))


def test_a_sweep_without_damage_is_read_without_a_word(damage, sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(damage, "kinds", lambda sweep: {"none": lambda folder, chance: None})
    assert [damage.drill(sweep, "none", seed, tmp_path) for seed in range(2)] == ["same", "same"]


def test_a_loss_in_silence_would_be_noticed(damage, sweep, tmp_path, monkeypatch):
    def whole_other_sweep(folder, chance):
        shutil.rmtree(folder)
        shutil.copytree(sweep.other, folder)

    monkeypatch.setattr(damage, "kinds", lambda sweep: {"replaced": whole_other_sweep})
    assert damage.drill(sweep, "replaced", 0, tmp_path) == "silent"


def test_damage_of_every_kind_changes_no_table_in_silence(damage, sweep, tmp_path):
    outcomes = {kind: damage.drill(sweep, kind, seed, tmp_path) for seed, kind in enumerate(damage.kinds(sweep))}
    assert len(outcomes) == 21
    assert "silent" not in outcomes.values(), outcomes


@pytest.mark.slow
def test_546_damages_change_no_table_in_silence(damage, sweep, tmp_path):
    outcomes = Counter(damage.drill(sweep, kind, seed, tmp_path) for kind in damage.kinds(sweep) for seed in range(26))
    assert outcomes.total() == 546
    assert outcomes["silent"] == 0
