"""Two sweeps that record into, and replay from, one store at the same time."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from analysis import read_tables
from kdtrain.data.streets import Streets
from kdtrain.models import Network, build_network
from kdtrain.teacher import save_model

NETWORK = {"arch": "FPN", "encoder": "tu-mobilenetv3_small_050"}
IMAGES, EPOCHS = 24, 2
SPEC = {
    "name": "shared",
    "data": {"name": "streets", "size": [32, 48], "counts": {"train": IMAGES, "select": 4, "report": 1}},
    "student": NETWORK | {"options": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}},
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
    network = Network.model_validate(NETWORK | {"weights": "none"})
    net = build_network(network, len(classes), bare=True).net
    save_model(folder, net, {"network": network, "classes": classes, "trained_on": "nothing"})
    return folder


class Sweep:
    """`kdsweep run` as a process of its own."""

    def __init__(self, folder: Path, teacher: Path, cache: str, **changes: object) -> None:
        folder.mkdir()
        self.folder, self.cache = folder, folder.parent / cache
        content = SPEC | {"teacher": {"path": str(teacher)}} | changes
        (folder / "spec.yaml").write_text(yaml.safe_dump(content))
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", "from sweeps.cli import main; main()", "run", str(self.folder / "spec.yaml")]
        environment = {**os.environ, "KDSWEEP_CACHE": str(self.cache)}
        with (self.folder / "log").open("ab") as log:
            options = ["--dir", str(self.folder / "sweep"), "--inline"]
            return subprocess.Popen([*command, *options], stdout=log, stderr=log, env=environment)

    def trials(self) -> pd.DataFrame:
        """Its trials by name, once it has ended."""
        assert self.process.wait(timeout=300) == 0, (self.folder / "log").read_text()
        return read_tables(self.folder / "sweep")["trials"].set_index("trial_id")


@pytest.fixture(scope="module")
def live(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The trials of a sweep without a store."""
    return Sweep(tmp_path_factory.mktemp("live") / "sweep", teacher, "cache", replay={"gigabytes": 0}).trials()


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_two_sweeps_at_once_ask_the_teacher_once_and_score_as_without_the_store(teacher, live, tmp_path, killed):
    pair = [Sweep(tmp_path / name, teacher, "cache") for name in ("one", "two")]
    if killed:
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob("cache/replay/**/logits*")):
            assert time.monotonic() < deadline, "nobody records"
            time.sleep(0.01)
        pair[0].process.kill()
        pair[0].process.wait()
        pair[0].process = pair[0].start()
    found = [sweep.trials() for sweep in pair]
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
