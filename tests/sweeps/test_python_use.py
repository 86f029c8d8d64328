"""The package as Python users see it: four names, and a sweep in a few lines."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from tiny_spec import TINY

import sweeps
import sweeps.run
from analysis import read_tables
from analysis.selection.select import best
from kdtrain import InputError, Machine, TrainConfig
from sweeps import SweepSpec, best_config, load_spec, run_sweep
from sweeps.attempt.signals import Interrupted, StopRequest
from sweeps.ledger.read_state import read_state
from sweeps.outcome.tabulate import write_tables
from sweeps.store.store import Store

SPEC = {
    **TINY,
    "studies": ["none"],
    "space": {"optimizer.lr": {"low": 0.01, "high": 0.1, "log": True}},
    "budget": {"trials": 5},
    "confirm": {"top": 1, "seeds": 1},
}


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(SPEC))
    return path


WATCHER = """
def make(spec, sweep, file):
    def watch(event, state):
        with open(file, "a") as log:
            log.write(f"{spec.name} {event.kind} {len(state.trials)}\\n")
        if event.kind == "ended":
            raise ValueError("cannot write [/tmp/x]")
    return watch
"""


def test_a_sweep_in_a_few_lines(
    spec_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "watcher_of_a_user.py").write_text(WATCHER)
    monkeypatch.syspath_prepend(tmp_path)
    watcher = {"name": "watcher_of_a_user:make", "options": {"file": str(tmp_path / "events")}}
    spec = load_spec(spec_file, {"budget.trials": 2, "watchers": [watcher]})
    assert isinstance(spec, SweepSpec)
    folder, machine = tmp_path / "sweep", Machine(cache=tmp_path / "cache", threads=1)

    results = run_sweep(spec, folder, machine, inline=True)
    assert Path(results.report).is_file()
    out = capsys.readouterr().out
    assert "3 complete" in out
    assert 0 <= out.find("imports third-party code: ") < out.find("watcher_of_a_user") < out.find("tiny: ")
    events = (tmp_path / "events").read_text().splitlines()
    assert (events[0], events[-1]) == ("tiny sweep 0", "tiny finished 3")
    config = best_config(folder)
    assert isinstance(config, TrainConfig)
    assert results.best is not None
    assert config.config_id == results.best["evidence"]["config_id"]

    stop = StopRequest()
    stop.ask(15)
    with pytest.raises(Interrupted):  # a longer sweep in the same folder, by path, with a request to stop
        run_sweep(spec_file, str(folder), machine, inline=True, stop=stop)
    assert best_config(str(folder)) == config
    for result in (results.report, results.best_file):  # of the shorter sweep, until the longer one has ended
        assert result is not None
        assert Path(result).read_text().count("Out of date") == 1


def test_the_best_config_is_that_of_the_command(fake: ModuleType, tmp_path: Path) -> None:
    fake.run(fake.make_spec(), tmp_path)
    config = best_config(tmp_path)
    assert not (tmp_path / "tables").exists()
    write_tables(tmp_path)
    chosen = best(read_tables(tmp_path))
    assert len(chosen["evidence"]["runners_up"]) > 1
    assert config == TrainConfig.parse(chosen["config"])


def test_a_folder_without_a_sweep_has_no_best_config(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sweep in"):
        best_config(tmp_path)


def test_names_are_listed_and_others_refused() -> None:
    assert set(sweeps.__all__) <= set(dir(sweeps))
    with pytest.raises(AttributeError, match="run_sweeps"):
        _ = sweeps.run_sweeps


def test_a_module_of_the_package_does_not_import_everything() -> None:
    code = "import sys, sweeps.spec.paths; sys.exit('sweeps.run' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_the_command_that_began_a_session_is_kept_whatever_the_rehearsal_says(
    spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearse = sweeps.run.rehearse_sweep

    def with_a_remark(*given: Any) -> Any:
        rehearsed = rehearse(*given)
        return dataclasses.replace(rehearsed, lines=[*rehearsed.lines, "a remark that isn't a command"])

    monkeypatch.setattr("sweeps.run.rehearse_sweep", with_a_remark)
    spec = load_spec(spec_file, {"budget.trials": 1, "confirm.top": 0})
    run_sweep(spec, tmp_path / "D", Machine(device="cpu"), inline=True, command="kdsweep run spec.yaml --dir D")
    state = read_state(Store(tmp_path / "D")).state
    assert state.command is not None
    assert state.command["line"] == "kdsweep run spec.yaml --dir D"
