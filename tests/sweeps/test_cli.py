"""The commands as a user types them: a whole life without Ray, and the messages for wrong input."""

import errno
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from called_command import called
from PIL import Image
from tiny_spec import TINY

import kdtrain
from analysis import read_tables
from kdtrain.data.camvid import CLASSES
from kdtrain.teacher import read_card
from sweeps.cli.app import COMMANDS
from sweeps.ledger.environment import describe_teacher

Command = Callable[..., tuple[int, str, str]]

SPEC: dict[str, Any] = {
    **TINY,
    "teacher": {"fit": {"network": {"arch": "FPN", "encoder": "tu-mobilenetv3_small_050"}, "epochs": 1}},
    "studies": ["none", "csc_ace"],
    "space": {"optimizer.lr": {"low": 0.01, "high": 0.1, "log": True}},
    "budget": {"trials": 2},
    "confirm": {"top": 1, "seeds": 2},
}


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> Command:
    monkeypatch.setenv("KDSWEEP_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))

    def run(*words: object) -> tuple[int, str, str]:
        return called(monkeypatch, capsys, *words)

    return run


@pytest.fixture
def spec_file(tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump({**SPEC, **changes}))
        return path

    return write


def refused(command: Command, *words: object) -> str:
    """The one sentence with which a command refuses its input."""
    code, _, err = command(*words)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_a_life_without_ray(command: Command, spec_file: Callable[..., Path], tmp_path: Path) -> None:
    spec, sweep = spec_file(), tmp_path / "sweep"
    assert "at most 8 trials" in command("plan", spec)[1]
    code, out, err = command("run", spec, "--dir", sweep, "--inline", "--threads", 1)
    assert (code, err) == (0, "")
    assert str(sweep / "report" / "index.html") in out
    assert "8 complete" in command("status", sweep)[1]
    ledger = {path: path.read_bytes() for path in (sweep / "ledger").glob("*.jsonl")}
    trials = read_tables(sweep)["trials"]

    assert command("run", spec, "--dir", sweep, "--inline", "--threads", 1)[0] == 0
    assert read_tables(sweep)["trials"]["attempts"].tolist() == trials["attempts"].tolist()
    assert all(path.read_bytes() == content for path, content in ledger.items())

    best = tmp_path / "elsewhere" / "best.yaml"
    assert command("best", sweep, "--out", best)[0] == 0
    assert set(yaml.safe_load(best.read_text())) >= {"config", "evidence"}
    code, out, err = command("train", best, "--dir", tmp_path / "student", "--threads", 1)
    assert (code, err) == (0, "")
    assert (tmp_path / "student" / "student" / "weights.safetensors").is_file()
    again = yaml.safe_load(best.read_text())["evidence"]
    if yaml.safe_load(best.read_text())["config"]["seed"] in again["seeds"]:
        score = again["scores"][again["seeds"].index(yaml.safe_load(best.read_text())["config"]["seed"])]
        assert f"mIoU {100 * score:.1f}" in out

    ablation, second = tmp_path / "ablation.yaml", tmp_path / "ablation"
    code, out, _ = command("ablate", sweep, "--study", "csc_ace", "--out", ablation, "--seeds", 1)
    assert code == 0
    assert "without_csc" in ablation.read_text()
    assert command("run", ablation, "--dir", second, "--inline", "--threads", 1)[0] == 0
    cells = read_tables(second)["cells"]
    assert set(cells["cell"]) >= {"reference", "without_csc", "without_adaptive_cross_entropy"}
    assert "without_csc" in (second / "report" / "index.html").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bugdet": {"trials": 1}}, "budget"),
        ({"train": {"epochs": 1, "lr": 0.1}}, "lr"),
        ({"studies": ["none", "cwdd"]}, "cwdd"),
        ({"studies": [{"name": "x", "terms": [{"loss": "channel_wize"}]}]}, "channel_wize"),
        ({"studies": [{"name": "x", "terms": [{"loss": "channel_wise", "wheight": 1}]}]}, "wheight"),
        ({"studies": ["none", {"method": "cwd", "set": {"terms.channel_wise.student_layer": "decodr"}}]}, "decodr"),
        ({"student": {"arch": "FPN", "encoder": "resnet19"}}, "resnet19"),
        ({"student": {"arch": "FPNN"}}, "FPNN"),
        ({"space": {"optimizer.lr": {"low": 0.1, "high": 0.1}}}, "empty"),
        ({"space": {"optimizer.lr": {"low": 0, "high": 0.1, "log": True}}}, "log"),
        ({"space": {"optimizer.lrr": {"low": 0.01, "high": 0.1}}}, "lrr"),
        ({"space": {"optimizer.name": []}}, "choices"),
        ({"budget": {}}, "budget"),
        ({"data": {"name": "camvid"}}, "camvid"),
        ({"data": {"name": "cityscape"}}, "cityscape"),
        ({"teacher": None}, "teacher"),
        ({"teacher": {"path": "no/such/teacher"}}, "no/such/teacher"),
        ({"sampler": {"name": "tpe", "objective": "acc"}}, "objective"),
        ({"train": {"epochs": 1, "batch_size": 400}}, "batch_size"),
    ],
)
def test_a_wrong_spec_is_one_sentence(
    command: Command, spec_file: Callable[..., Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    spec = spec_file(**changes)
    assert message in refused(command, "plan", spec, "--data", data)
    assert message in refused(command, "run", spec, "--dir", tmp_path / "sweep", "--data", data, "--inline")
    assert not (tmp_path / "sweep" / "ledger").exists()


def test_files_that_are_no_specs(command: Command, tmp_path: Path) -> None:
    assert "nowhere.yaml" in refused(command, "plan", tmp_path / "nowhere.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    assert "not YAML" in refused(command, "plan", broken)
    assert "no sweep" in refused(command, "status", tmp_path)
    assert "no sweep" in refused(command, "report", tmp_path)
    assert "--set" in refused(command, "plan", broken, "--set", "oops")


def camvid(root: Path, images: int = 4, labels: int = 4) -> Path:
    """A tree in the layout of CamVid."""
    for split in ("train", "val"):
        for folder in (split, f"{split}annot"):
            (root / "camvid" / folder).mkdir(parents=True, exist_ok=True)
        for i in range(images):
            Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(root / "camvid" / split / f"0001TP_{i}.png")
        for i in range(labels):
            Image.fromarray(np.zeros((32, 48), np.uint8)).save(root / "camvid" / f"{split}annot" / f"0001TP_{i}.png")
    return root


def test_wrong_data_are_one_sentence_before_training(
    command: Command, spec_file: Callable[..., Path], tmp_path: Path
) -> None:
    spec = spec_file(data={"name": "camvid", "absent": list(CLASSES)})

    def message_of(root: Path) -> str:
        return refused(command, "run", spec, "--dir", tmp_path / "sweep", "--data", root, "--inline")

    half = camvid(tmp_path / "half", labels=2)
    assert "4" in message_of(half)
    assert "2" in message_of(half)
    sizes = camvid(tmp_path / "sizes")
    Image.fromarray(np.zeros((30, 48), np.uint8)).save(sizes / "camvid" / "trainannot" / "0001TP_1.png")
    assert "0001TP_1" in message_of(sizes)
    ids = camvid(tmp_path / "ids")
    Image.fromarray(np.full((32, 48), 77, np.uint8)).save(ids / "camvid" / "valannot" / "0001TP_2.png")
    assert "77" in message_of(ids)
    assert not (tmp_path / "sweep" / "ledger").exists()


def test_a_teacher_of_other_classes_is_refused(
    command: Command, spec_file: Callable[..., Path], tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher"
    assert command("teacher", "fit", spec_file(), "--dir", teacher, "--threads", 1)[0] == 0
    spec = spec_file(data={"name": "camvid", "absent": list(CLASSES)}, teacher={"path": str(teacher)})
    data = camvid(tmp_path / "data")
    assert "classes" in refused(command, "run", spec, "--dir", tmp_path / "s", "--data", data, "--inline")

    weights = teacher / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    spec = spec_file(teacher={"path": str(teacher)})
    assert "damaged" in refused(command, "run", spec, "--dir", tmp_path / "s", "--inline")


def test_train_takes_no_spec(command: Command, spec_file: Callable[..., Path], tmp_path: Path) -> None:
    spec = spec_file()
    said = refused(command, "train", spec, "--dir", tmp_path / "x")
    assert f"{spec}: is the spec of a sweep, which `kdsweep run` takes" in said
    assert "such as best.yaml" in said


def test_an_ensemble_of_teachers(command: Command, spec_file: Callable[..., Path], tmp_path: Path) -> None:
    member, both = tmp_path / "member", tmp_path / "both"
    assert command("teacher", "fit", spec_file(), "--dir", member, "--threads", 1)[0] == 0
    data = tmp_path / "data.yaml"
    data.write_text(yaml.safe_dump({"data": SPEC["data"]}))
    code, out, _ = command("teacher", "ensemble", member, "--dir", both, "--temperature", 2, "--flip", "--spec", data)
    assert code == 0
    assert "ensemble of FPN" in out
    assert "on select" in out
    assert "at least 2 teachers" in refused(command, "teacher", "ensemble", member, "--dir", tmp_path / "x")
    card = read_card(both)
    row = describe_teacher(card, "given")
    assert (row.name, row.encoder) == ("ensemble of FPN tu-mobilenetv3_small_050", None)
    assert (row.role, row.macs) == ("select", 2 * read_card(member).macs)

    small = {"teacher": {"path": str(both)}, "budget": {"trials": 1}, "confirm": {"top": 1, "seeds": 1}}
    assert command("plan", spec_file(**small, studies=["none", "kd"]))[0] == 0
    assert "set teacher_layer to logits" in refused(command, "plan", spec_file(**small, studies=["none", "cskd"]))


def test_a_folder_of_another_sweep_is_refused(command: Command, spec_file: Callable[..., Path], tmp_path: Path) -> None:
    small = {"studies": ["none"], "teacher": None, "budget": {"trials": 1}, "confirm": {"top": 0, "seeds": 0}}
    sweep = tmp_path / "sweep"
    assert command("run", spec_file(**small), "--dir", sweep, "--inline", "--threads", 1)[0] == 0
    other = spec_file(**{**small, "train": {"epochs": 2, "batch_size": 4}})
    assert "epochs" in refused(command, "run", other, "--dir", sweep, "--inline")


def test_a_full_disk_is_said_before_training(
    command: Command, spec_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    message = refused(command, "run", spec_file(), "--dir", tmp_path / "sweep", "--inline")
    assert "No space left" in message


def test_the_version_has_one_source(command: Command) -> None:
    stated = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["version"]
    assert command("--version") == (0, f"kdsweep {stated}\n", "")
    assert stated == kdtrain.__version__


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_has_help_with_an_example(command: Command, words: str) -> None:
    code, out, _ = command(*words.split(), "--help")
    assert code == 0
    assert f"Example: kdsweep {words}" in " ".join(out.split())
