"""The command `kdsweep predict`: label maps of images on disk, by a network whose predictions are known."""

import itertools
import json
import sys

import numpy as np
import pytest
import torch
from called_command import called
from PIL import Image
from torch.nn import functional

from kdtrain.deploy.windows import Window, starts, windowed
from kdtrain.models import Network, build_network
from kdtrain.teacher import save_model

MODULE = """
from torch import nn


def build(num_classes):
    return nn.Conv2d(3, num_classes, 1)
"""
COLORS = np.eye(3, dtype=np.uint8) * 255
"""Red, green and blue: the classes of the network, which says which channel is the largest."""


def flag(height, width):
    """Three vertical stripes, red, green and blue, and their classes."""
    ids = (np.arange(width) * 3 // width)[None].repeat(height, 0)
    return COLORS[ids], ids


@pytest.fixture
def world(tmp_path, monkeypatch, capsys):
    """A folder with a student and two images in it; a function that runs the command there."""
    (tmp_path / "net_of_mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    network = Network(arch="net_of_mine:build", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    net = build_network(network, 3).net
    with torch.no_grad():
        net.weight.copy_(torch.eye(3)[:, :, None, None])
        net.bias.zero_()
    save_model(
        tmp_path / "trained" / "student", net, {"network": network, "classes": ("r", "g", "b"), "trained_on": "flags"}
    )
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    Image.fromarray(flag(20, 30)[0]).save(tmp_path / "photos" / "a.png")
    Image.fromarray(flag(33, 47)[0]).save(tmp_path / "photos" / "deep" / "b.bmp")

    return lambda *words: called(monkeypatch, capsys, "predict", "trained", *words, "--trust", "--device", "cpu")


@pytest.mark.parametrize("how", [(), ("--window", 8, 9), ("--window", 64, 64), ("--window", 5, 40, "--overlap", 0)])
def test_label_maps_have_the_size_of_the_images_and_the_ids_of_the_classes(world, tmp_path, how):
    code, said, errors = world("photos", "--out", "out", *how)
    assert (code, errors) == (0, "importing third-party code: net_of_mine:build\n")
    assert "2 label maps in out" in said
    for name, size in {"a": (20, 30), "deep/b": (33, 47)}.items():
        labels = Image.open(tmp_path / "out" / f"{name}.png")
        assert labels.mode == "P"
        assert np.array_equal(np.asarray(labels), flag(*size)[1])
    classes = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert [(each["id"], each["class"]) for each in classes] == [(0, "r"), (1, "g"), (2, "b")]
    shown = np.asarray(Image.open(tmp_path / "out" / "a.png").convert("RGB"))
    assert "#{:02x}{:02x}{:02x}".format(*shown[0, 0]) == classes[0]["color"]


def test_overlays_lie_beside_the_label_maps(world, tmp_path):
    world("photos/a.png", "--out", "out", "--overlay")
    mixed = np.asarray(Image.open(tmp_path / "out" / "a.overlay.png")).astype(int)
    classes = json.loads((tmp_path / "out" / "classes.json").read_text())
    red = np.array([int(classes[0]["color"][i : i + 2], 16) for i in (1, 3, 5)])
    assert np.abs(mixed[0, 0] - (red + COLORS[0]) / 2).max() <= 1


def test_a_photo_is_read_upright(world, tmp_path):
    image = Image.fromarray(flag(20, 30)[0])
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned: viewers show it turned by a quarter
    image.save("turned.png", exif=exif)
    world("turned.png", "--out", "out")
    assert np.array_equal(np.asarray(Image.open("out/turned.png")), np.rot90(flag(20, 30)[1], -1))


def test_results_that_exist_are_not_replaced_without_force(world):
    world("photos", "--out", "out")
    code, _, errors = world("photos/a.png", "--out", "out")
    assert code == 2
    assert "out/a.png exists" in errors
    assert "--force" in errors
    assert world("photos/a.png", "--out", "out", "--force")[0] == 0


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("nowhere",), "nowhere: there is no such image"),
        (("photos", "photos/a.png"), "would have one result, a.png"),
        (("trained",), "has no images"),
        (("broken.png",), "broken.png"),
        (("photos", "--window", 0, 4), "--window: height and width must be at least 1"),
        (("photos", "--overlap", 0.95), "--overlap: must be a number from 0 to 0.9"),
        (("photos", "--scale", 0), "--scale: must be a number"),
    ],
)
def test_wrong_input_is_one_sentence(world, tmp_path, words, part):
    (tmp_path / "broken.png").write_bytes((tmp_path / "photos" / "a.png").read_bytes()[:60])
    code, _, errors = world(*words, "--out", "out")
    assert code == 2
    assert part in errors
    assert len(errors.removeprefix("importing third-party code: net_of_mine:build\n").splitlines()) == 1


def test_a_folder_without_a_network_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").touch()
    code, _, errors = called(monkeypatch, capsys, "predict", "nothing", "a.png", "--out", "out")
    assert code == 2
    assert "nothing holds no network: name a folder with model.json" in errors


@pytest.mark.parametrize(
    ("side", "window", "overlap"), list(itertools.product((1, 7, 20, 33), (1, 4, 7, 50), (0, 0.3, 0.5, 0.9)))
)
def test_windows_cover_the_image_and_overlap_as_much_as_was_asked(side, window, overlap):
    begins = starts(side, window, overlap)
    assert begins[0] == 0
    assert begins[-1] == max(0, side - window)
    steps = np.diff(begins)
    assert (steps > 0).all()
    assert (steps <= max(1, window * (1 - overlap) + 1)).all()
    assert window > 1 or overlap > 0 or len(begins) == side


def test_logits_are_the_mean_over_the_windows_that_see_a_pixel():
    torch.manual_seed(0)
    images = torch.rand(2, 3, 11, 13)

    def logits_of(part):  # depends on the window, and is smaller than it
        return functional.avg_pool2d(part, 2) + part.mean(dim=(2, 3), keepdim=True)

    total, covered = torch.zeros(2, 3, 11, 13), torch.zeros(11, 13)
    for top, left in itertools.product((0, 2, 5), (0, 4, 7)):
        part = images[:, :, top : top + 6, left : left + 6]
        logits = functional.interpolate(logits_of(part), size=(6, 6), mode="bilinear", align_corners=True)
        total[:, :, top : top + 6, left : left + 6] += logits
        covered[top : top + 6, left : left + 6] += 1
    assert starts(11, 6, 0.5) == [0, 2, 5]
    assert starts(13, 6, 0.5) == [0, 2, 5, 7]
    got = windowed(logits_of, Window(height=6, width=6))(images)
    assert got.shape == images.shape
    columns = windowed(logits_of, Window(height=6, width=6, overlap=0.3))
    assert starts(13, 6, 0.3) == [0, 4, 7]
    assert starts(11, 6, 0.3) == [0, 2, 5]
    torch.testing.assert_close(columns(images), total / covered)
