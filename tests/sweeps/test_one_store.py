"""Two sweeps that record into, and replay from, one store at the same time."""

import time
from pathlib import Path

import pandas as pd
import pytest
from sweep_command import NETWORK, Command, Process, streets

from analysis import read_tables
from kdtrain.data.streets import Streets
from kdtrain.models import Network, build_network
from kdtrain.teacher import save_model

IMAGES, EPOCHS = 24, 2
SPEC = {
    "name": "shared",
    "data": streets(train=IMAGES, select=4),
    "student": NETWORK,
    "train": {"epochs": EPOCHS, "batch_size": 8},
    "studies": ["kd", "cwd"],
    "space": {"optimizer.lr": {"low": 0.01, "high": 0.1, "log": True}},
    "budget": {"trials": 2},
    "sampler": {"name": "random"},
    "confirm": {"top": 0},
    "purpose": "ablation",
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher with random weights."""
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    classes = tuple(Streets().open(None).classes)
    network = Network.model_validate(NETWORK)
    net = build_network(network, len(classes), bare=True).net
    save_model(folder, net, {"network": network, "classes": classes, "trained_on": "nothing"})
    return folder


def sweep(folder: Path, teacher: Path, **changes: object) -> Command:
    """A sweep in a folder of its own, with the cache beside it."""
    folder.mkdir()
    spec = SPEC | {"teacher": {"path": str(teacher)}} | changes
    return Command(folder, spec, str(folder / "sweep"), inline=True, cache=folder.parent / "cache")


def trials_of(command: Command, process: Process) -> pd.DataFrame:
    """Its trials by name, once it has ended."""
    command.ended(process)
    return read_tables(command.sweep)["trials"].set_index("trial_id")


@pytest.fixture(scope="module")
def live(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The trials of a sweep without a store."""
    alone = sweep(tmp_path_factory.mktemp("live") / "sweep", teacher, replay={"gigabytes": 0})
    return trials_of(alone, alone.start())


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_two_sweeps_at_once_ask_the_teacher_once_and_score_as_without_the_store(teacher, live, tmp_path, killed):
    pair = [sweep(tmp_path / name, teacher) for name in ("one", "two")]
    running = [command.start() for command in pair]
    if killed:
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob("cache/replay/**/logits*")):
            assert time.monotonic() < deadline, "nobody records"
            time.sleep(0.01)
        running[0].kill()
        running[0].wait()
        running[0] = pair[0].start()
    found = [trials_of(command, process) for command, process in zip(pair, running, strict=True)]
    assert sorted(live.index) == ["cwd-0", "cwd-1", "kd-0", "kd-1"]
    for trials in found:
        assert trials["score"].to_dict() == live["score"].to_dict()
    shown = sum(trials["asked"].sum() for trials in found)
    assert shown == sum(trials["recorded"].sum() for trials in found)
    if killed:  # what the killed attempt recorded is in nobody's report
        assert 0 < shown <= EPOCHS * IMAGES
    else:
        assert shown == EPOCHS * IMAGES
    assert live["asked"].sum() == len(live) * EPOCHS * IMAGES
