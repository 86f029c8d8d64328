import hashlib
import json

import numpy as np
import pytest
from pydantic import ValidationError

from kdtrain import TrainConfig
from kdtrain.data import Streets, open_role
from kdtrain.data.scene import INFO, POLE, WARNING
from kdtrain.errors import InputError

SMALL = {"train": 24, "select": 12, "test": 12}


def test_scenes_are_a_function_of_seed_role_and_index():
    one, two = Streets(counts=SMALL).open(), Streets(counts=SMALL | {"train": 99}).open()
    other = Streets(counts=SMALL, seed=1).open()
    first, last = one.ids("train")[0], one.ids("train")[-1]
    for image_id in (last, first):
        np.testing.assert_array_equal(one.read("train", image_id)[0], two.read("train", image_id)[0])
        np.testing.assert_array_equal(one.read("train", image_id)[1], two.read("train", image_id)[1])
    assert (one.read("train", first)[0] != other.read("train", first)[0]).any()
    assert (one.read("train", first)[0] != one.read("select", one.ids("select")[0])[0]).any()


def test_roles_share_no_id_and_no_group():
    source = Streets(counts=SMALL).open()
    ids = [source.ids(role) for role in ("train", "select", "test")]
    assert [len(i) for i in ids] == [24, 12, 12]
    assert len({i for role in ids for i in role}) == 48
    assert len({source.group(i) for role in ids for i in role}) == 4 + 2 + 2


def test_every_class_is_seen_and_large_ones_do_not_drown_the_rest():
    source = Streets(counts=SMALL).open()
    labels = np.stack([source.read("train", i)[1] for i in source.ids("train")])
    share = np.bincount(labels.ravel(), minlength=256) / labels.size
    assert (share[: len(source.classes)] > 0.005).all()
    assert share.max() < 0.35
    assert share[len(source.classes) : 255].sum() == 0
    assert 0 < share[255] < 0.1


def test_the_size_is_the_one_asked_for_and_things_grow_with_it():
    for size in ((48, 64), (64, 96), (96, 128)):
        source = Streets(size=size, counts=SMALL).open()
        image, labels = source.read("train", source.ids("train")[3])
        assert image.shape == (*size, 3)
        assert labels.shape == size
        assert image.dtype == labels.dtype == np.uint8


def test_color_alone_does_not_tell_the_kind_of_sign():
    source = Streets(counts={"train": 120}).open()
    means = {WARNING: [], INFO: [], POLE: []}
    for image_id in source.ids("train"):
        image, labels = source.read("train", image_id)
        for label, found in means.items():
            if (labels == label).sum() > 20:
                found.append(image[labels == label].mean(axis=0))
    warning, info = np.array(means[WARNING]), np.array(means[INFO])
    gap = np.abs(warning.mean(axis=0) - info.mean(axis=0))
    assert (gap < 0.5 * warning.std(axis=0)).all()


def test_the_digest_follows_what_decides_the_pixels():
    base = Streets(counts=SMALL).open()
    assert base.digest("train") == Streets(counts=SMALL | {"test": 1}).open().digest("train")
    others = [
        Streets(counts=SMALL, seed=1),
        Streets(counts=SMALL, size=(64, 64)),
        Streets(counts={"train": 25}),
    ]
    assert len({base.digest("train"), base.digest("select"), *(o.open().digest("train") for o in others)}) == 5


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="train00_9999"):
        Streets(counts=SMALL).open().read("train", "train00_9999")
    with pytest.raises(InputError, match="val"):
        Streets().open().ids("val")
    with pytest.raises(ValidationError):
        Streets(size=(8, 8))


def test_the_role_that_was_called_report_keeps_its_name_in_what_is_written(tmp_path):
    """Names, ids and hashes of the version in which the role `test` was called `report`."""
    streets = {"name": "streets", "size": [32, 48]}
    former = TrainConfig.parse({"data": {**streets, "counts": {"train": 4, "select": 2, "report": 3}}})
    config = TrainConfig.parse({"data": {**streets, "counts": {"train": 4, "select": 2, "test": 3}}})
    assert former == config
    assert config.data.model_dump()["counts"] == {"train": 4, "select": 2, "test": 3}
    assert config.config_id == "d07972316e299999"
    assert TrainConfig().config_id == "bbde7ff065f51f0e"
    images = open_role(config.data, "report", None, tmp_path)
    assert images.folder.name == "report-6433350a65d2a5efb36932cf10e00c97"
    assert json.loads((images.folder / "index.json").read_text())["role"] == "report"
    assert images.role == "test"
    assert images.ids == ("report000_0000", "report000_0001", "report000_0002")
    pixels = hashlib.sha256((images.folder / "images.bin").read_bytes()).hexdigest()
    assert pixels.startswith("41da152622db80ec")
    assert open_role(config.data, "test", None, tmp_path).folder == images.folder


def test_a_count_is_not_given_under_both_names():
    with pytest.raises(ValidationError, match="test and report are names of one field"):
        Streets(counts={"report": 3, "test": 3})
