"""Shards and annotations are looked at, and what they hold is written as the field `data` of a spec."""

import json

import numpy as np
import pytest
from data_kinds import CLASSES, as_coco, as_panoptic, as_parquet, as_saved, as_tar, coco, encoded, photo, put

from kdtrain.data import open_data, parse_data
from kdtrain.data.recognize import recognize
from kdtrain.errors import InputError

ROLES = {"train": range(7), "validation": range(7, 10), "test": range(10, 12)}


def made(root, make, roles=ROLES, **more):
    for role, numbers in roles.items():
        make(root, role, numbers, **more)


def opened(found):
    config = parse_data(found.content)
    source = open_data(config, found.root)
    for role in ("train", "select"):
        for image_id in source.ids(role):
            assert set(np.unique(source.read(role, image_id)[1])) <= {*range(len(config.classes)), 255}
    return config


@pytest.mark.parametrize(
    ("make", "inside", "files"),
    [
        (as_parquet, ".", "data/train-*.parquet"),
        (as_parquet, "data", "train-*.parquet"),
        (as_saved, "saved", "train"),
        (as_tar, "tars", "train-*.tar"),
    ],
)
def test_shards_have_the_roles_of_their_names(tmp_path, make, inside, files):
    made(tmp_path, make)
    found = recognize(tmp_path / inside)
    config = opened(found)
    assert config.name == "shards"
    assert config.shards.train.files == files
    assert config.has_test
    assert config.classes == ("class_0", "class_1", "class_2")
    assert (found.images, found.smallest, found.one_size) == (7, (48, 64), True)


def test_shards_without_a_role_are_train_and_ids_are_named_by_a_file_of_the_hub(tmp_path):
    made(tmp_path, as_parquet, {"part": range(8)})
    (tmp_path / "id2label.json").write_text(json.dumps({"1": "road", "0": "back", "2": "car"}))
    config = opened(recognize(tmp_path))
    assert config.shards.train.files == "data"
    assert config.classes == ("back", "road", "car")
    assert recognize(tmp_path, ("a", "b", "c")).content["classes"] == ["a", "b", "c"]


def test_one_saved_split_and_one_folder_of_a_role(tmp_path):
    made(tmp_path, as_saved, {"train": range(5)})
    assert opened(recognize(tmp_path / "saved/train")).shards.train.files == "."


def test_columns_without_telling_names_are_given(tmp_path):
    made(tmp_path, as_parquet, image="a", label="b")
    with pytest.raises(InputError, match=r"^--columns.label: must say which columns hold the label maps"):
        recognize(tmp_path)
    assert opened(recognize(tmp_path, columns=("a", "b"))).shards.train.label == "b"


def test_shards_whose_roles_are_not_clear_are_refused(tmp_path):
    made(tmp_path, as_parquet, {"train": range(3), "rest": range(3, 6)})
    with pytest.raises(InputError, match=r"not clear which shards of .* are for training .*: data/rest-00000"):
        recognize(tmp_path)
    made(tmp_path / "other", as_tar, {"test": range(3)})
    with pytest.raises(InputError, match=r"has shards for test but none for train"):
        recognize(tmp_path / "other")


def test_several_data_sets_in_one_folder_are_refused(tmp_path):
    for config in ("full", "small"):
        made(tmp_path / config, as_parquet)
    with pytest.raises(InputError, match=r"no pattern names .* give the folder of one of several data sets"):
        recognize(tmp_path)


@pytest.mark.parametrize("make", [as_coco, as_panoptic])
def test_annotations_have_the_roles_of_their_names(tmp_path, make):
    made(tmp_path, make)
    found = recognize(tmp_path)
    config = opened(found)
    assert config.name == "coco"
    assert config.annotations.train.images == "train/images"
    assert (config.annotations.train.segments is None) == (make is as_coco)
    assert (config.classes, config.background) == (("background", "road", "car"), "background")
    assert "absent" not in found.content


def put_coco(root, change=lambda content: None, name="_annotations.coco.json"):
    content = coco(range(6), names=["nothing", "road", "car"])
    change(content)
    put(root / name, json.dumps(content).encode())
    for number in range(6):
        put(root / f"{number:02d}.jpg", encoded(photo(number), "JPEG"))


def test_annotations_beside_their_images_and_categories_that_cover_all(tmp_path):
    def cover(content):
        whole = {"size": [48, 64], "counts": [0, 48 * 64]}
        content["annotations"] += [
            {"id": 500 + i, "image_id": 100 + i, "category_id": 10, "segmentation": whole} for i in range(6)
        ]

    put_coco(tmp_path / "a")
    config = opened(recognize(tmp_path / "a"))
    assert (config.classes, config.annotations.train.images) == (("background", "road", "car"), ".")
    put_coco(tmp_path / "b", cover)
    config = opened(recognize(tmp_path / "b"))
    assert (config.classes, config.background) == (("nothing", "road", "car"), None)


def test_some_categories_become_classes(tmp_path):
    put_coco(tmp_path)
    config = opened(recognize(tmp_path, ("car",)))
    assert (config.classes, config.others) == (("background", "car"), "skipped")
    with pytest.raises(InputError, match=r"--classes: annotations have no category 'bus'; they have"):
        recognize(tmp_path, ("bus",))


def test_annotations_without_their_images_or_of_no_clear_role_are_refused(tmp_path):
    put_coco(tmp_path)
    (tmp_path / "03.jpg").unlink()
    with pytest.raises(InputError, match=r"has images that are not in one folder below .*, such as '03.jpg'"):
        recognize(tmp_path)
    put_coco(tmp_path)
    put_coco(tmp_path, name="more.json")
    with pytest.raises(InputError, match=r"not clear which annotations of"):
        recognize(tmp_path)
    assert CLASSES[0] == "background"


def test_annotations_of_too_few_or_too_many_categories_are_refused(tmp_path):
    put_coco(tmp_path, lambda content: content["annotations"].clear())
    with pytest.raises(InputError, match=r"^--data: classes: should have at least 2 items"):
        recognize(tmp_path)

    def many(content):
        content["categories"] += [{"id": 1000 + i, "name": f"c{i}"} for i in range(300)]
        first = content["annotations"][0]
        content["annotations"] += [{**first, "id": 1000 + i, "category_id": 1000 + i} for i in range(300)]

    put_coco(tmp_path, many)
    with pytest.raises(InputError, match=r"^--data: classes: should have at most 255 items"):
        recognize(tmp_path)
    put_coco(tmp_path)
    with pytest.raises(InputError, match=r"^--data: classes repeat a name"):
        recognize(tmp_path, ("car", "car"))
