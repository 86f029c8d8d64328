"""A folder of images is looked at, and what it holds is written as the field `data` of a spec."""

import numpy as np
import pytest
from PIL import Image

from kdtrain.data import Folder, open_data
from kdtrain.data.recognize import recognize
from kdtrain.errors import InputError

SIZE = (48, 64)
PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0]


def ids(number, values=(0, 1, 2)):
    labels = np.full(SIZE, values[0], dtype=np.uint8)
    for index, value in enumerate(values[1:], start=1):
        labels[index * 8 : index * 8 + 8, number : number + 20] = value
    return Image.fromarray(labels)


def palette(number):
    image = ids(number).convert("P")
    image.putpalette(PALETTE)
    return image


def colors(number):
    table = np.array([(0, 0, 0), (128, 64, 128), (224, 224, 192)], dtype=np.uint8)
    return Image.fromarray(table[np.asarray(ids(number))])


def mask(number):
    return ids(number, (0, 255))


def photo(number):
    return Image.fromarray(np.random.default_rng(number).integers(0, 255, (*SIZE, 3), dtype=np.uint8))


def fill(folder, images, labels, make=ids, names=None, label_name="{}.png", image_name="{}.jpg"):
    names = names or [f"{letter}_{number}" for letter in "abcd" for number in range(3)]
    for number, name in enumerate(names):
        for place, image in ((images, photo(number)), (labels, make(number))):
            file = folder / place / (image_name if place == images else label_name).format(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            image.save(file)


def opened(found):
    config = Folder.model_validate(found.content)
    source = open_data(config, found.root)
    for role in ("train", "select"):
        assert source.ids(role)
        for image_id in source.ids(role):
            assert set(np.unique(source.read(role, image_id)[1])) <= {*range(len(config.classes)), 255}
    return config


@pytest.mark.parametrize(
    ("places", "roles"),
    [
        ([("images", "labels")], {"train"}),
        ([("JPEGImages", "SegmentationClass")], {"train"}),
        ([("train/images", "train/masks"), ("val/images", "val/masks")], {"train", "select"}),
        (
            [("img/training", "gt/training"), ("img/validation", "gt/validation"), ("img/test", "gt/test")],
            {"train", "select", "test"},
        ),
        ([("train_images", "train_labels"), ("valid_images", "valid_labels")], {"train", "select"}),
        ([("my pictures/é 1", "my masks/é 1"), ("my pictures/é 2", "my masks/é 2")], {"train"}),
    ],
)
def test_layouts(tmp_path, places, roles):
    for number, (images, labels) in enumerate(places):
        fill(tmp_path, images, labels, names=[f"{letter}{number}_{i}" for letter in "abc" for i in range(3)])
    config = opened(recognize(tmp_path))
    assert {role for role in ("train", "select", "test") if hasattr(getattr(config.folders, role), "images")} == roles
    assert len(config.classes) == 3


@pytest.mark.parametrize(
    ("make", "field", "classes"),
    [
        (ids, None, ("class_0", "class_1", "class_2")),
        (palette, "colors", ("class_0", "class_1", "class_2")),
        (colors, "label_colors", ("background", "color_804080")),
        (mask, "ids", ("background", "object")),
        (lambda number: ids(number, (0, 7, 33, 255)), "ids", ("class_0", "class_7", "class_33")),
        (lambda number: mask(number).convert("1"), "label_colors", ("background", "object")),
    ],
)
def test_labels_of_every_kind(tmp_path, make, field, classes):
    fill(tmp_path, "images", "labels", make)
    found = recognize(tmp_path)
    assert opened(found).classes == classes
    assert field is None or field in found.content


def test_names_of_folders_tell_images_of_few_colors_from_label_maps(tmp_path):
    for number in range(12):
        for place in ("images", "labels"):
            (tmp_path / place).mkdir(exist_ok=True)
            ids(number).convert("RGB" if place == "images" else "L").save(tmp_path / place / f"{number}.png")
    assert opened(recognize(tmp_path)).folders.train.images == "images"


def test_label_maps_that_were_saved_with_loss_are_refused(tmp_path):
    fill(tmp_path, "images", "masks", label_name="{}.jpg")
    with pytest.raises(InputError, match="looks like a label map, but \\.jpg changes ids"):
        recognize(tmp_path)


def test_endings_of_names_are_left_out(tmp_path):
    fill(tmp_path, "images", "masks", image_name="{}_photo.jpg", label_name="{}_mask.png")
    config = opened(recognize(tmp_path))
    assert (config.folders.train.image_suffix, config.folders.train.label_suffix) == ("_photo", "_mask")


def test_images_of_one_video_are_of_one_group(tmp_path):
    fill(tmp_path, "images", "labels")
    assert recognize(tmp_path).content["group"] == r"^(.+?)[_-]?\d+$"


def test_names_of_classes_come_from_files_beside_the_images_or_from_the_user(tmp_path):
    fill(tmp_path, "images", "labels", colors)
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nvoid,0,0,0\nroad,128,64,128\n")
    assert recognize(tmp_path).content["classes"] == ["void", "road"]
    assert recognize(tmp_path, ("a", "b")).content["classes"] == ["a", "b"]
    with pytest.raises(InputError, match=r"--classes: must name 2 classes.*write - in the place of what is not scored"):
        recognize(tmp_path, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("values", "names", "wanted"),
    [
        ((0, 1, 2), "a b -", {"classes": ["a", "b"], "ignore": [2]}),
        ((0, 1, 2), "- a b", {"classes": ["a", "b"], "ids": {1: 0, 2: 1}, "ignore": [0]}),
        ((0, 1, 2), "a b c - -", {"classes": ["a", "b", "c"], "ignore": [3, 4]}),
        ((7, 8, 11), "a - b", {"classes": ["a", "b"], "ids": {7: 0, 11: 1}, "ignore": [8]}),
    ],
)
def test_an_id_without_a_name_is_not_scored(tmp_path, values, names, wanted):
    fill(tmp_path, "images", "labels", lambda number: ids(number, values))
    found = recognize(tmp_path, tuple(names.split()))
    assert {key: found.content[key] for key in ("classes", "ids", "ignore") if key in found.content} == wanted
    opened(found)


def test_a_color_without_a_name_is_not_scored(tmp_path):
    fill(tmp_path, "images", "labels", lambda number: palette(number).convert("RGB"))
    found = recognize(tmp_path, ("-", "a", "b"))
    assert found.content["label_colors"] == {"#008000": 0, "#800000": 1}
    assert (found.content["classes"], found.content["ignore_colors"]) == (["a", "b"], ["#000000"])
    with pytest.raises(InputError, match="--classes: must name two classes or more"):
        recognize(tmp_path, ("-", "a", "-"))


def test_a_class_that_train_lacks_may_be_absent(tmp_path):
    fill(tmp_path, "train/images", "train/labels", lambda number: ids(number, (0, 1)))
    fill(tmp_path, "val/images", "val/labels", names=["x", "y"])
    assert recognize(tmp_path).content["absent"] == ["class_2"]


def test_what_cannot_be_used_is_one_sentence(tmp_path):
    fill(tmp_path / "whole", "images", "labels")
    next((tmp_path / "whole/labels").iterdir()).unlink()
    fill(tmp_path / "alone", "images", "labels", lambda number: ids(number, (0,)))
    fill(tmp_path / "unpaired", "images", "labels", label_name="other{}.png")
    fill(tmp_path / "unlabelled", "images", "images")
    (tmp_path / "empty").mkdir()
    for name, part in (
        ("whole", "1 images without a label map"),
        ("alone", "the id 0 alone"),
        ("unpaired", "no label maps of the same names"),
        ("unlabelled", "lacks label maps"),
        ("empty", "lacks images"),
        ("nowhere", "there is no folder"),
    ):
        with pytest.raises(InputError, match=part) as raised:
            recognize(tmp_path / name)
        assert "\n" not in str(raised.value)


def test_public_data_sets_are_recognized_by_their_folders(tmp_path):
    for role in ("train", "val"):
        fill(
            tmp_path / "data/camvid",
            role,
            f"{role}annot",
            names=[f"0001TP_{role}{i}" for i in range(3)],
            image_name="{}.png",
        )
    for folder in (tmp_path / "data", tmp_path / "data/camvid"):
        assert recognize(folder).content == {"name": "camvid"}
    for city in ("ulm", "jena", "bonn"):
        fill(
            tmp_path / "cityscapes", f"leftImg8bit/train/{city}", f"gtFine/train/{city}",
            names=[f"{city}_{i}" for i in range(3)],
            image_name="{}_leftImg8bit.png", label_name="{}_gtFine_labelIds.png",
        )  # fmt: skip
    found = recognize(tmp_path / "cityscapes")
    assert found.content == {"name": "cityscapes"}
    assert found.smallest == SIZE


def test_folders_named_as_those_of_camvid_may_hold_other_images(tmp_path):
    for role in ("train", "val"):
        fill(tmp_path, role, f"{role}annot", names=[f"{role}{i}" for i in range(3)], image_name="{}.png")
    assert recognize(tmp_path).content["name"] == "folder"
