"""Which classes the label maps of a data set hold: the counts, what is remembered, and what they forbid."""

import numpy as np
import pytest
from PIL import Image

from kdtrain import InputError
from kdtrain.data import Folder, Streets
from kdtrain.data.census import check_presence, count_labels
from kdtrain.data.check import check_role

ROLES = ("train", "select")


@pytest.fixture
def data(tmp_path):
    """Makes a data set of two classes from the label maps of its roles, and opens it."""

    def make(train, select, classes=("back", "thing"), **changes):
        for role, maps in (("train", train), ("select", select)):
            for number, ids in enumerate(maps):
                for folder, array in (("images", np.full((*np.shape(ids), 3), number)), ("labels", ids)):
                    file = tmp_path / role / folder / f"{role}_{number}.png"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(file)
        folders = {role: {"images": f"{role}/images", "labels": f"{role}/labels"} for role in ROLES}
        config = Folder(classes=classes, folders=folders, **changes)
        return config, config.open(tmp_path)

    return make


def judged(config, source, cache):
    return check_presence(config, count_labels(source, ROLES, cache))


FINE = [[[0, 1]]]


def test_masks_of_0_and_255_are_refused_until_the_user_says_what_255_is(data, tmp_path):
    masks = [[[0, 0, 0, 255]], [[255, 0, 0, 0]]]
    with pytest.raises(
        InputError,
        match=r"train has no pixel of the class thing \(25\.0% of its pixels are ignored\).*"
        r"255: 1} and ignore: \[\]\), or allow it with data: \{absent: \[\"thing",
    ):
        judged(*data(masks, masks), tmp_path / "cache")
    assert judged(*data(masks, masks, ids={0: 0, 255: 1}, ignore=[]), tmp_path / "cache") == []
    colors = {"#000000": 0, "#ffffff": 1}
    assert judged(*data(masks, masks, label_colors=colors), tmp_path / "cache") == []


def test_an_absent_class_is_allowed_by_its_name(data, tmp_path):
    train, classes = [[[0, 1, 1]]], ("back", "thing", "rare", "gone")
    with pytest.raises(InputError, match=r"the 2 classes rare, gone .*\[\"rare\", \"gone\"\]"):
        judged(*data(train, train, classes), tmp_path / "cache")
    with pytest.raises(InputError, match=r"the class gone "):
        judged(*data(train, train, classes, absent=["rare"]), tmp_path / "cache")
    said = judged(*data(train, train, classes, absent=["rare", "gone"]), tmp_path / "cache")
    assert said == [
        "role train has no pixel of the 2 classes rare, gone: no network can learn it",
        "role select has no pixel of the 2 classes rare, gone: its mIoU is over the other 2",
    ]
    with pytest.raises(InputError, match=r"data\.absent: the data have no class 'rar'; did you mean rare"):
        judged(*data(train, train, classes, absent=["rar"]), tmp_path / "cache")


@pytest.mark.parametrize(
    ("train", "select", "changes", "says"),
    [
        (FINE, [[[0, 0]]], {}, ["role select has pixels of one class alone, 'back': its mIoU is over one class"]),
        (FINE, [[[1, 255]], [[255, 255]]], {}, ["one class alone, 'thing'", "1 of the 2 label maps of role select"]),
        ([[[0, 0]]], FINE, {"absent": ["thing"]}, ["role train has pixels of one class alone"]),
        ([[[0, 1]], [[255, 255]]], FINE, {}, ["1 of the 2 label maps of role train have no pixel that is not ignored"]),
        ([[[0, 1, 7]]], FINE, {"ignore": [7]}, []),
    ],
)
def test_what_is_one_sided_is_said(data, tmp_path, train, select, changes, says):
    said = judged(*data(train, select, **changes), tmp_path / "cache")
    assert [phrase in sentence for phrase, sentence in zip(says, said, strict=True)] == [True] * len(says)


@pytest.mark.parametrize(
    ("train", "select", "changes", "says"),
    [
        ([[[255, 255]]], FINE, {}, "the 1 label maps of role train have no pixel of any class"),
        (FINE, [[[255, 255]]], {}, "the 1 label maps of role select have no pixel of any class"),
        ([[[0, 7]]], [[[0, 7]]], {"ids": {0: 0, 1: 1}, "ignore": [7]}, "train has no pixel of the class thing"),
        ([[[0, 0]]], FINE, {}, "train has no pixel of the class thing"),  # a class of `select` alone
        (FINE, [[[0, 9]]], {}, "holds the id 9"),
    ],
)
def test_data_that_cannot_be_learned_or_scored_are_refused(data, tmp_path, train, select, changes, says):
    with pytest.raises(InputError, match=says):
        judged(*data(train, select, **changes), tmp_path / "cache")


def test_counts_are_made_once_and_again_after_a_change_or_damage(data, tmp_path):
    cache, told = tmp_path / "cache", []

    def counts():
        told.clear()
        _, source = data([[[0, 1]], [[1, 255]]], FINE)
        return count_labels(source, ROLES, cache, lambda *progress: told.append(progress))

    first = counts()
    assert told == [("train", 1, 2), ("train", 2, 2), ("select", 1, 1)]
    assert (first["train"].pixels.tolist(), first["train"].ignored) == ([1, 2], 1)
    assert first["train"].shares.tolist() == [1 / 3, 2 / 3]
    _, source = data([[[0, 1]], [[1, 255]]], FINE)
    count_labels(source, ROLES, cache)
    (note,) = [file for file in (cache / "classes").iterdir() if file.stat().st_mtime == newest(cache)]
    again = count_labels(source, ROLES, cache, lambda *progress: pytest.fail("counted again"))
    assert again["train"].pixels.tolist() == [1, 2]
    note.write_bytes(note.read_bytes().replace(b"[1, 2]", b"[3, 0]"))
    told.clear()
    after = count_labels(source, ROLES, cache, lambda *progress: told.append(progress))
    assert (after["train"].pixels.tolist(), len(told)) == ([1, 2], 3)


def newest(cache):
    return max(file.stat().st_mtime for file in (cache / "classes").iterdir())


def test_a_cache_that_cannot_be_written_is_no_error(data, tmp_path):
    (tmp_path / "file").write_text("")
    assert judged(*data(FINE, FINE), tmp_path / "file" / "cache") == []


def test_a_bad_label_map_ends_the_count_at_once(data, tmp_path):
    _, source = data([[[9, 1]]] + [[[0, 1]]] * 200, FINE)
    read = []
    original = source.read_labels
    source.read_labels = lambda role, image_id: read.append(image_id) or original(role, image_id)
    with pytest.raises(InputError, match=r"train_0\.png holds the id 9"):
        count_labels(source, ROLES, tmp_path / "cache")
    assert len(read) < 150


def test_a_count_that_is_stopped_ends_at_once(data, tmp_path):
    _, source = data([[[0, 1]]] * 200, FINE)
    read = []
    original = source.read_labels
    source.read_labels = lambda role, image_id: read.append(image_id) or original(role, image_id)

    def stop(role, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        count_labels(source, ROLES, tmp_path / "cache", stop)
    assert len(read) < 150


def test_classes_of_generated_scenes_may_be_absent_by_chance(tmp_path):
    config = Streets(size=(32, 32), counts={"train": 1, "select": 1})
    scenes = count_labels(config.open(), ["select"], tmp_path)["select"]
    assert scenes.absent
    assert check_presence(config, {"train": scenes})


def test_images_that_are_turned_without_their_label_maps_are_said(data, tmp_path):
    config, source = data([[[0, 1]], [[1, 0]]], FINE)
    exif = Image.Exif()
    exif[0x0112] = 3
    file = tmp_path / "train" / "images" / "train_0.png"
    Image.open(file).save(file, exif=exif)
    for _ in range(2):  # counted, and remembered
        (said,) = judged(config, source, tmp_path / "cache")
        assert said.startswith("1 of the 2 images of role train are turned by an EXIF orientation and their label maps")
    assert check_role(source, "train").turned == 1


def test_a_look_at_all_files_counts_the_same(data):
    _, source = data([[[0, 1]], [[255, 255]]], FINE)
    found = check_role(source, "train")
    assert (found.pixels.tolist(), found.ignored, found.blank, found.present) == ([1, 1], 2, 1, ("back", "thing"))
