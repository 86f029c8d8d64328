"""Whole lives of a sweep in an object store that refuses, and on a disk that fills."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from sweep_command import NETWORK, Command, streets
from typer.testing import CliRunner

from analysis import read_tables
from kdtrain.errors import StorageError
from kdtrain.loop.run_files import STUDENT
from kdtrain.teacher import WEIGHTS
from sweeps.cli import app
from sweeps.launch.inline import run_inline
from sweeps.ledger.ledger import read
from sweeps.ledger.state import SweepState
from sweeps.store.store import Store

SPEC = {
    "name": "life",
    "data": streets(train=8, select=4),
    "student": NETWORK,
    "teacher": {"fit": {"network": NETWORK, "epochs": 1}},
    "train": {"epochs": 3, "batch_size": 8},
    "studies": ["none", "kd"],
    "space": {"optimizer.lr": {"low": 0.01, "high": 0.1, "log": True}},
    "budget": {"trials": 2},
    "confirm": {"top": 1, "seeds": 1},
}
INLINE_AND_RAY = pytest.mark.parametrize("inline", [True, pytest.param(False, marks=pytest.mark.ray)])


def check_whole(sweep: str) -> None:
    """Every trial once, complete, with every epoch once, and its student at its place."""
    tables = read_tables(sweep)
    trials = tables["trials"]
    assert sorted(trials["trial_id"]) == ["kd-0", "kd-1", "kd-2", "none-0", "none-1", "none-2"]
    assert set(trials["state"]) == {"complete"}
    assert not tables["metrics"].duplicated(["trial_id", "epoch", "name"]).any()
    losses = tables["metrics"][tables["metrics"]["name"] == "term/cross_entropy/raw"]
    assert set(losses.groupby("trial_id").size()) == {3}
    assert len(tables["evaluations"]) == 6
    for trial in trials["trial_id"]:
        assert Store(sweep).exists(f"trials/{trial}/{STUDENT}/{WEIGHTS}"), trial


def ask(*words: str) -> str:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_a_sweep_in_an_object_store_and_what_is_asked_of_it(tmp_path, s3_folder, monkeypatch):
    monkeypatch.setenv("KDSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KDSWEEP_TRUST", "tiny_networks")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    words = ["spec.yaml", "--dir", s3_folder, "--inline", "--set", "train.epochs=1", "--set", "budget.trials=1"]
    words += ["--set", "confirm.final_seeds=1"]
    assert "best.yaml" in ask("run", *words)
    trials = read_tables(s3_folder)["trials"]
    assert sorted(trials["trial_id"]) == ["kd-0", "kd-1", "none-0", "none-1"]
    assert set(trials["state"]) == {"complete"}
    assert all(Store(s3_folder).exists(f"trials/{trial}/{STUDENT}/{WEIGHTS}") for trial in trials["trial_id"])
    assert sorted(Store(s3_folder).names("")) == ["best.yaml", "spec.yaml"]
    assert "4 complete" in ask("status", s3_folder)
    assert "tables/trials.parquet" in ask("tables", s3_folder)
    assert "report/index.html" in ask("report", s3_folder)
    assert len(Store(s3_folder).read("report/index.html")) > 10_000
    assert yaml.safe_load(ask("best", s3_folder))["evidence"]["n"] == 1
    assert "final seeds 2" in ask("best", s3_folder, "--freeze")
    assert "verdict: Held out, on role test" in ask("run", *words)
    evidence = yaml.safe_load(Store(s3_folder).read("best.yaml"))["evidence"]["test"]
    assert evidence["seeds"] == [2]
    evaluations = read_tables(s3_folder)["evaluations"]
    assert evidence["mean"] in evaluations.loc[evaluations["role"] == "test", "miou"].tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "spec.yaml"]


@pytest.mark.slow
@INLINE_AND_RAY
def test_a_sweep_in_an_object_store_that_is_killed_twice_ends_whole(tmp_path, s3_folder, inline):
    command = Command(tmp_path, SPEC, s3_folder, inline)
    command.kill_after(8)
    command.kill_after(22)
    assert "taken over" in command.finish()
    check_whole(s3_folder)
    assert [record.kind for record in read(s3_folder)].count("session") == 3


@pytest.mark.slow
@INLINE_AND_RAY
def test_a_sweep_waits_for_a_store_that_refuses_for_a_while(tmp_path, door, inline):
    command = Command(tmp_path, SPEC, door.uri, inline)
    process = command.start_and_await(12)
    door.refuse(seconds=20)
    said = command.ended(process)
    assert door.refused > 5
    assert "trying again for" in said or not inline  # under Ray only a trial may have met it
    check_whole(door.uri)
    assert read_tables(door.uri)["trials"]["attempts"].max() == 1


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own of 96 MiB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a disk takes root")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"mounting a disk is not permitted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("ab", buffering=0) as filler:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    filler.write(b"\0" * size)
            except OSError:
                continue


@pytest.mark.parametrize("moment", ["the driver writes the ledger", "a trial writes its checkpoint"])
def test_a_disk_that_fills_stops_the_sweep_and_loses_nothing(fake, tmp_path, small_disk, moment):
    sweep, spec = small_disk / "D", fake.make_spec(retries=0)
    undisturbed = fake.run(spec, tmp_path / "beside")
    state = {"epochs": 0}

    def soon_full(config, epoch):
        state["epochs"] += 1
        if state["epochs"] == 20 and moment == "a trial writes its checkpoint":
            fill(small_disk)

    train = fake.FakeTrain(before=soon_full)

    def train_here(config, machine, report, workdir, interrupt):
        def told(epoch):
            if state["epochs"] == 20 and moment == "the driver writes the ledger":
                fill(small_disk)
            return report(epoch)

        return train(config, machine, told, workdir, interrupt)

    said = rf"cannot write {sweep}/\S+: No space left on device; make room and run the same command again$"
    with pytest.raises(StorageError, match=said), fake.open_driver(spec, sweep) as driver:
        run_inline(driver, train_here)
    with pytest.raises(StorageError, match=rf"cannot write (to )?{sweep}\S*: No space left on device; make room"):
        fake.open_driver(spec, sweep)
    before = SweepState.of(read(sweep))
    assert all(trial.state != "failed" for trial in before.trials.values())
    (small_disk / "filler").unlink()
    after = fake.run(spec, sweep)
    assert after.finished
    assert {key: (trial.params, trial.state, trial.curve) for key, trial in after.trials.items()} == {
        key: (trial.params, trial.state, trial.curve) for key, trial in undisturbed.trials.items()
    }
    assert all(trial.attempts <= 2 for trial in after.trials.values())


@pytest.mark.slow
@INLINE_AND_RAY
def test_a_disk_that_fills_under_the_command_is_one_line_and_code_2(tmp_path, small_disk, inline):
    sweep = str(small_disk / "D")
    command = Command(tmp_path, SPEC, sweep, inline)
    process = command.start_and_await(12)
    fill(small_disk)
    assert process.wait(timeout=200) == 2, command.log.read_text()
    (line,) = [line for line in command.log.read_text().splitlines() if "error" in line.lower()]
    assert line.startswith(f"error: cannot write {sweep}/")
    assert line.endswith("No space left on device; make room and run the same command again")
    assert "Traceback" not in command.log.read_text()
    assert command.start().wait(timeout=200) == 2
    assert "No space left on device; make room" in command.log.read_text()
    (small_disk / "filler").unlink()
    command.finish()
    check_whole(sweep)
