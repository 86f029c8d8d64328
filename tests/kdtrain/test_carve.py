"""Roles that a spec makes anew from whole groups: `data.carve`."""

import json

import numpy as np
import pytest
from camvid_tree import put

from kdtrain import InputError, TrainConfig
from kdtrain.data import CamVid, Folder, Streets, Unlabelled, open_data, open_role, parse_data
from kdtrain.data.carve import shared_groups
from kdtrain.data.census import count_labels
from kdtrain.data.check import check_role
from kdtrain.data.unlabelled import open_unlabelled
from kdtrain.testing import check_data

ROLE_NAMES = {"train": "train", "select": "val", "test": "test"}


@pytest.fixture
def root(tmp_path):
    """CamVid with three sequences in `train`, one of which is also in `select`, and a test role with a fourth."""
    frames = {"train": ("A_1", "A_2", "B_1", "C_1", "C_2", "C_3"), "select": ("C_4", "C_5"), "test": ("D_1",)}
    for number, (role, names) in enumerate(frames.items()):
        for frame, name in enumerate(names):
            pixels = np.random.default_rng((number, frame)).integers(0, 256, (2, 3, 3))
            put(tmp_path / "camvid" / ROLE_NAMES[role] / f"{name}.png", pixels)
            put(tmp_path / "camvid" / f"{ROLE_NAMES[role]}annot" / f"{name}.png", np.full((2, 3), number))
    return tmp_path


def camvid(**carve):
    return CamVid(carve=carve)


def roles(config, root):
    source = open_data(config, root)
    return source.ids("train"), source.ids("select")


def test_named_sequences_go_wholly_to_their_role(root):
    frames = ("A_1", "A_2"), ("B_1",), ("C_1", "C_2", "C_3", "C_4", "C_5")
    assert roles(camvid(select=["A", "B"], train=["C"]), root) == (frames[2], frames[0] + frames[1])
    assert roles(camvid(select=["C"]), root) == (frames[0] + frames[1], frames[2])
    assert roles(camvid(train=["C"], select=["B"]), root) == (frames[0] + frames[2], frames[1])
    assert open_data(camvid(select=["C"]), root).ids("test") == ("D_1",)


def test_what_no_list_names_stays_where_it_is(tmp_path):
    names = {"train": ("a_1", "a_2", "b_1"), "select": ("c_1", "d_1")}
    for role, images in names.items():
        for name in images:
            put(tmp_path / role / "images" / f"{name}.png", np.zeros((2, 3, 3)))
            put(tmp_path / role / "labels" / f"{name}.png", np.zeros((2, 3)))
    folders = {role: {"images": f"{role}/images", "labels": f"{role}/labels"} for role in names}
    mine = Folder(classes=("road", "car"), folders=folders, group="^([^_]+)_", carve={"select": ["b"]})
    assert roles(mine, tmp_path) == (("a_1", "a_2"), ("b_1", "c_1", "d_1"))
    mine = Folder(**{**mine.model_dump(), "carve": {"train": ["c"]}})
    assert roles(mine, tmp_path) == (("a_1", "a_2", "b_1", "c_1"), ("d_1",))


@pytest.mark.parametrize("seed", range(4))
def test_drawn_roles_share_no_sequence_and_lose_no_frame(root, seed):
    config = camvid(share=0.4, seed=seed)
    source = open_data(config, root)
    train, select = source.ids("train"), source.ids("select")
    assert train
    assert select
    assert sorted(train + select) == sorted(f"{s}_{i}" for s, i in zip("AABCCCCC", "12112345", strict=True))
    assert not {source.group(i) for i in train} & {source.group(i) for i in select}
    assert roles(config, root) == (train, select)


@pytest.mark.parametrize(
    ("carve", "says"),
    [
        (
            {"select": ["A"]},
            r"the group 'C' has images in train \(3\) and in select \(2\): name it under data.carve.train or",
        ),
        ({"select": ["E"]}, "there is no group E; known: A, B, C"),
        ({"select": ["D"]}, "there is no group D"),
        ({"train": ["C"]}, "leaves no group for select"),
        ({"select": ["A", "B", "C"]}, "leaves no group for train"),
    ],
)
def test_what_the_data_cannot_give_is_refused(root, carve, says):
    with pytest.raises(InputError, match=rf"^data.carve: {says}"):
        open_data(camvid(**carve), root)


@pytest.mark.parametrize(
    ("carve", "says"),
    [
        ({}, "name groups under train or select, or give share"),
        ({"share": 0.2, "select": ["A"]}, "one of both"),
        ({"select": ["A"], "train": ["A", "B"]}, "both name the group 'A'"),
        ({"select": ["A"], "seed": 1}, "seed draws the groups of share"),
        ({"share": 1}, "less than 1"),
        ({"groups": ["A"]}, "groups"),
    ],
)
def test_a_wrong_carve_is_refused(carve, says):
    with pytest.raises(ValueError, match=says):
        camvid(**carve)


def test_a_carved_source_keeps_every_promise_of_a_source(root, tmp_path):
    config = camvid(select=["A", "B"], train=["C"])
    check_data(config, root)
    images = open_role(config, "select", root, tmp_path / "cache")
    assert images.ids == ("A_1", "A_2", "B_1")
    assert images.groups == ("A", "A", "B")
    source, plain = open_data(config, root), CamVid().open(root)
    for role, name in (("train", "C_4"), ("train", "C_1"), ("select", "A_2"), ("test", "D_1")):
        own_role = "select" if name == "C_4" else "test" if role == "test" else "train"
        np.testing.assert_array_equal(source.read(role, name)[0], plain.read(own_role, name)[0])
    counts = count_labels(source, ("train", "select"), tmp_path / "cache")
    assert counts["train"].pixels[:2].tolist() == [18, 12]
    assert counts["select"].pixels[:2].tolist() == [18, 0]
    assert check_role(source, "train").bad == ()


def test_every_data_set_can_be_carved(tmp_path):
    """Generated scenes too, which are no files: one block of each role changes its role."""
    config = Streets(
        counts={"train": 40, "select": 40, "test": 1}, carve={"train": ["select000"], "select": ["train000"]}
    )
    source, plain = open_data(config, None), Streets(counts={"train": 40, "select": 40, "test": 1}).open()
    moved = next(i for i in source.ids("train") if i.startswith("select000"))
    np.testing.assert_array_equal(source.read("train", moved)[1], plain.read("select", moved)[1])
    check_data(config)


def test_images_of_one_name_stay_apart(tmp_path):
    """Folders whose frames are numbered from 1 in each role: both frames 1 are kept."""
    for number, role in enumerate(("train", "select")):
        for frame, name in enumerate(("v/1", "w/1") if role == "train" else ("v/1", "v/2")):
            put(tmp_path / role / "images" / f"{name}.png", np.full((2, 3, 3), 2 * number + frame))
            put(tmp_path / role / "labels" / f"{name}.png", np.full((2, 3), number))
    folders = {role: {"images": f"{role}/images", "labels": f"{role}/labels"} for role in ("train", "select")}
    config = Folder(classes=("road", "car"), folders=folders, group="^([^/]+)/", carve={"select": ["v"]})
    source = open_data(config, tmp_path)
    assert source.ids("select") == ("select/v/1", "train/v/1", "v/2")
    assert source.ids("train") == ("w/1",)
    assert [int(source.read("select", i)[1].max()) for i in source.ids("select")] == [1, 0, 1]
    assert {source.group(i) for i in source.ids("select")} == {"v"}
    check_data(config, tmp_path)


def test_a_file_under_two_names_is_not_in_two_roles(root):
    """The link's name is of another sequence, so that carving would put the same file into both roles."""
    for folder in ("train", "trainannot"):
        (root / "camvid" / folder / "B_2.png").symlink_to(root / "camvid" / folder / "A_2.png")
    assert len(open_data(CamVid(), root).ids("train")) == 7
    with pytest.raises(InputError, match="images are in role train and in role select, first"):
        open_data(camvid(select=["C", "A"]), root)


def test_images_without_labels_may_not_be_among_carved_ones(root):
    put(root / "further" / "x.png", np.zeros((2, 3, 3)))
    further = Unlabelled(images="further", per_batch=1)
    config = camvid(select=["C"])
    assert len(open_unlabelled(further, root, root / "cache", config)) == 1
    (root / "further" / "y.png").symlink_to(root / "camvid" / "val" / "C_4.png")
    with pytest.raises(InputError, match="in role select and in role unlabelled further"):
        further.open(root, config)


def test_digests_tell_carvings_apart_and_follow_the_files(root):
    first, other = camvid(select=["A", "B"], train=["C"]), camvid(select=["C"])
    digests = {
        open_data(config, root).digest(role) for config in (first, other, CamVid()) for role in ("train", "select")
    }
    assert len(digests) == 6
    assert open_data(first, root).digest("test") == CamVid().open(root).digest("test")
    before = open_data(first, root).digest("select")
    put(root / "camvid" / "trainannot" / "A_1.png", np.full((2, 3), 5))
    assert open_data(first, root).digest("select") != before


def test_carving_changes_the_config_id_and_its_absence_does_not():
    assert "carve" not in CamVid().model_dump()
    assert "carve" not in json.loads(CamVid().model_dump_json())
    ids = [TrainConfig(data=data).config_id for data in (CamVid(), camvid(select=["A"]), camvid(select=["B"]))]
    assert len(set(ids)) == 3
    assert ids[0] == TrainConfig(data=parse_data({"name": "camvid", "carve": None})).config_id
    lists = [camvid(select=names) for names in (["A", "B"], ["B", "A", "A"])]
    assert lists[0] == lists[1]


def test_groups_in_both_roles_are_named(root):
    (sentence,) = shared_groups(CamVid().open(root))
    assert sentence.startswith("train and select share C: images of one group are alike")
    assert shared_groups(open_data(camvid(select=["A", "B"], train=["C"]), root)) == []
    assert shared_groups(Streets().open(None)) == []


def test_a_carved_data_set_says_where_its_groups_are():
    """What the card of a teacher says it was trained on."""
    assert CamVid().name_with_roles == "camvid"
    assert camvid(select=["B", "A"], train=["C"]).name_with_roles == "camvid (train: C; select: A, B)"
    assert camvid(share=0.25, seed=3).name_with_roles == "camvid (select: groups with 0.25 of the images, seed 3)"
