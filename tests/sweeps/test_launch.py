"""Whole lives of a sweep on a real Ray cluster of this machine, from the command line."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from sweep_command import LIBRARY_NETWORK, NETWORK, SMALL, Command, streets

from analysis import read_tables
from sweeps.ledger.ledger import read
from sweeps.outcome.freeze import freeze
from sweeps.outcome.tabulate import write_tables
from sweeps.store.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SPEC = {
    "name": "life",
    "data": streets(train=16, select=6),
    "student": NETWORK,
    "teacher": {"fit": {"network": NETWORK, "epochs": 1}},
    "train": {"epochs": 4, "batch_size": 8},
    "studies": ["none", "kd", "cwd"],
    "space": {"optimizer.lr": {"low": 0.01, "high": 0.1, "log": True}},
    "budget": {"trials": 3},
    "scheduler": {"name": "halving", "grace": 1, "factor": 2},
    "confirm": {"top": 1, "seeds": 2, "final_seeds": 3},
}

SHORT = SPEC | {"train": {"epochs": 1, "batch_size": 8}, "studies": ["none", "kd"], "scheduler": {"name": "none"}}


def kinds(sweep: Path, kind: str) -> list[Mapping[str, object]]:
    """The content of all records of a kind."""
    return [record.data for record in read(sweep) if record.kind == kind]


def check_whole(tables: dict[str, pd.DataFrame]) -> None:
    """Every trial once, budgets equal, every confirm run on its seed, every epoch once."""
    trials = tables["trials"]
    assert trials["trial_id"].is_unique
    assert set(trials["state"]) <= {"complete", "pruned"}
    search, confirm = trials[trials["phase"] == "search"], trials[trials["phase"] == "confirm"]
    assert search.groupby("study").size().to_dict() == {"none": 3, "kd": 3, "cwd": 3}
    assert sorted(zip(confirm["study"], confirm["seed"], strict=True)) == [
        (study, seed) for study in ("cwd", "kd", "none") for seed in (1, 2)
    ]
    assert (confirm["state"] == "complete").all()
    assert not tables["metrics"].duplicated(["trial_id", "epoch", "name"]).any()
    losses = tables["metrics"][tables["metrics"]["name"] == "term/cross_entropy/raw"]
    assert losses.groupby("trial_id").size().to_dict() == trials.set_index("trial_id")["epochs_run"].to_dict()
    assert len(tables["evaluations"]) == (trials["state"] == "complete").sum()


def test_a_sweep_from_start_to_report(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    networks = {
        "student": LIBRARY_NETWORK | {"options": SMALL},
        "teacher": {"fit": {"network": LIBRARY_NETWORK, "epochs": 1}},
    }
    command = Command(tmp_path, SPEC | networks, str(sweep), forked=False)
    output = command.finish()
    assert str(sweep / "report" / "index.html") in output
    assert "best.yaml" in output
    assert "(raylet)" not in output
    assert "WARNING" not in output
    check_whole(read_tables(sweep))
    assert (sweep / "report" / "index.html").stat().st_size > 10_000
    assert yaml.safe_load((sweep / "best.yaml").read_text())["evidence"]["n"] == 2

    before = {path.name: path.read_bytes() for path in (sweep / "tables").iterdir()}
    write_tables(sweep)
    assert before == {path.name: path.read_bytes() for path in (sweep / "tables").iterdir()}

    freeze(Store(sweep))
    assert "verdict: Held out, on role test" in command.finish()
    tables = read_tables(sweep)
    runs = tables["trials"][tables["trials"]["phase"] == "final"]
    held_out = tables["evaluations"][tables["evaluations"]["role"] == "test"]
    assert set(runs["seed"]) == {3, 4, 5}
    assert held_out["trial_id"].tolist() == runs["trial_id"].tolist()
    assert (tables["decisions"]["kind"] == "test_read").sum() == len(runs)


def test_a_sweep_killed_twice_ends_with_every_trial_once(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    command = Command(tmp_path, SPEC, str(sweep))
    command.kill_after(12)
    command.kill_after(45)
    command.finish()
    tables = read_tables(sweep)
    check_whole(tables)
    assert (tables["trials"]["attempts"] > 1).any()


def test_a_sweep_until_decided_is_killed_and_ends_at_a_look(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    spec = SHORT | {"budget": {"trials": 1}, "confirm": {"top": 1, "seeds": [2, 4], "until": "decided"}}
    command = Command(tmp_path, spec, str(sweep))
    command.kill_after(14)
    output = command.finish()
    looks = kinds(sweep, "look")
    assert [look["seeds"] for look in looks] == [2, 4][: len(looks)]
    assert [look["goes_on"] for look in looks] == [True] * (len(looks) - 1) + [False]
    assert f"look at {looks[-1]['seeds']} fresh seeds: {looks[-1]['reason']}" in output
    tables = read_tables(sweep)
    confirm = tables["trials"][tables["trials"]["phase"] == "confirm"]
    assert (confirm["state"] == "complete").all()
    seeds = list(range(1, 1 + int(str(looks[-1]["seeds"]))))
    assert confirm.groupby("study")["seed"].apply(sorted).to_dict() == {"kd": seeds, "none": seeds}
    assert "verdict: Provisional" in output
    assert kinds(sweep, "look") == looks


def test_repeated_searches_are_killed_and_each_ends_with_its_share(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    spec = SHORT | {"repeats": 2, "budget": {"trials": 4}, "confirm": {"top": 1, "seeds": 2}}
    command = Command(tmp_path, spec, str(sweep))
    command.kill_after(22)
    output = command.finish()
    trials = read_tables(sweep)["trials"]
    search, confirm = trials[trials["phase"] == "search"], trials[trials["phase"] == "confirm"]
    assert search.groupby(["study", "search"]).size().to_dict() == {
        (study, number): 2 for study in ("kd", "none") for number in (1, 2)
    }
    assert search.groupby("search")["seed"].unique().map(list).to_dict() == {1: [0], 2: [1_000_000]}
    assert confirm.groupby(["study", "search"])["seed"].apply(sorted).to_dict() == {
        (study, number): [1, 2] for study in ("kd", "none") for number in (1, 2)
    }
    assert (trials["state"] == "complete").all()
    assert "in 2 searches)" in output


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        ("Failure # 1\nThe actor died unexpectedly before finishing this task. Worker unexpectedly exits", "lost"),
        ("Failure # 1\nThe actor 4568c71f is unavailable: RPC error: Socket closed rpc_code: 14.", "node_lost"),
        ("Failure # 1\nThe actor died because its node has died. Node Id: 185a", "node_lost"),
        ("Failure # 1\nTask was killed due to the node running low on memory.", "out_of_memory"),
        (None, "lost"),
    ],
)
def test_what_tune_wrote_of_a_lost_trial_tells_its_cause(said: str | None, failure: str, tmp_path: Path) -> None:
    from sweeps.launch.tune import _Events, cause_of

    error_file = tmp_path / "error.txt"
    if said is not None:
        error_file.write_text(said)
    ended = []
    bridge = SimpleNamespace(lost=lambda tune_id, error: ended.append((tune_id, cause_of(error))))
    trial = SimpleNamespace(trial_id="t1", error_file=str(error_file))
    _Events(bridge).on_trial_error(1, [], trial)
    assert ended == [("t1", failure)]
