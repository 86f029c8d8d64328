"""The shipped CamVid sweeps can give an answer that repeats: what `docs/camvid.md` says of their design."""

from pathlib import Path

import numpy as np
import pytest
from camvid_tree import put

from kdtrain.data import open_data
from kdtrain.data.camvid import CamVid
from kdtrain.data.carve import shared_groups
from sweeps.spec.spec import SweepSpec, load_spec

SPECS = Path(__file__).parents[2] / "sweeps" / "specs"
FRAMES = {"train": ("0001TP_1", "0006R0_1", "0016E5_1"), "val": ("0016E5_2",)}


@pytest.fixture
def root(tmp_path):
    """One frame of every sequence that the tutorial's train and val have."""
    for number, (folder, names) in enumerate(FRAMES.items()):
        for frame, name in enumerate(names):
            put(tmp_path / "camvid" / folder / f"{name}.png", np.full((2, 3, 3), 10 * number + frame))
            put(tmp_path / "camvid" / f"{folder}annot" / f"{name}.png", np.zeros((2, 3)))
    return tmp_path


@pytest.fixture(params=["camvid.yaml", "camvid-gpu.yaml"])
def spec(request) -> SweepSpec:
    return load_spec(SPECS / request.param)


def test_select_has_several_sequences_and_none_of_train(spec, root):
    assert shared_groups(open_data(CamVid(), root)) != []
    source = open_data(spec.data, root)
    assert shared_groups(source) == []
    assert len({source.group(image) for image in source.ids("select")}) > 1
    assert len(source.ids("train") + source.ids("select")) == 4


def test_every_network_starts_from_imagenet_weights(spec):
    assert spec.student.weights == "library"
    assert spec.teacher_config is not None
    assert spec.teacher_config.student.weights == "library"


def test_every_study_is_searched_several_times_and_confirmed_on_enough_seeds(spec):
    assert spec.repeats >= 3
    assert len(spec.confirm_seeds) >= 5
