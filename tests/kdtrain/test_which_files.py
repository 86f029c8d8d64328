"""Which files of a folder count: links, hidden entries, names, and roles that share a file."""

import contextlib
import os
import socket
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from camvid_tree import put, put_pair

from kdtrain import InputError
from kdtrain.data import CamVid, Folder, Unlabelled, open_unlabelled
from kdtrain.data.check import check_role, repeated_images
from kdtrain.data.files import read_list
from kdtrain.data.voc import VOC


def mine(select=("select/images", "select/labels"), test=None, train=("train/images", "train/labels"), **more):
    roles = {"train": train, "select": select, "test": test}
    folders = {
        role: {"images": where[0], "labels": where[1]} if isinstance(where, tuple) else where
        for role, where in roles.items()
        if where
    }
    return Folder(classes=("road", "car"), folders=folders, **more)


def put_images(root, role, *names, seed=0):
    for number, name in enumerate(names):
        pixels = np.random.default_rng((seed, number, len(role))).integers(0, 256, (2, 3, 3))
        put(root / role / "images" / f"{name}.png", pixels)
        put(root / role / "labels" / f"{name}.png", np.zeros((2, 3)))


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    put_images(root, "train", "a", "b")
    put_images(root, "select", "c", "d")
    return root


def replace_by_link(root, role, elsewhere):
    """Move the files of a role below `elsewhere`, and leave links to these folders in a subfolder."""
    for kind in ("images", "labels"):
        (elsewhere / kind).parent.mkdir(parents=True, exist_ok=True)
        (root / role / kind).rename(elsewhere / kind)
        (root / role / kind).mkdir()
        (root / role / kind / "linked").symlink_to(elsewhere / kind)


def test_linked_folders_are_followed(root, tmp_path):
    replace_by_link(root, "train", tmp_path / "elsewhere")
    source = mine().open(root)
    assert source.ids("train") == ("linked/a", "linked/b")
    assert source.read("train", "linked/a")[0].shape == (2, 3, 3)


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_folder_that_contains_itself_is_refused(root, target):
    (root / "train" / "images" / "again").symlink_to(target)
    with pytest.raises(InputError, match=r"a folder that contains itself: .*again.* is a link to .*; remove the link"):
        mine().open(root)


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", "@eaDir", "__MACOSX", "#recycle", ".Trash-1000"])
def test_hidden_and_system_folders_are_passed_over_and_named(root, hidden):
    put(root / "train" / "images" / hidden / "a-checkpoint.png", np.zeros((2, 3, 3)))
    source = mine().open(root)
    assert source.ids("train") == ("a", "b")
    assert [note for note in source.notes("train") if f"hidden and system entries passed over: {hidden}" in note]


@pytest.mark.parametrize("name", ["._a.png", ".DS_Store", "Thumbs.db", "readme.txt", "a.webp"])
def test_files_that_do_not_count_are_passed_over_and_named(root, name):
    (root / "train" / "images" / name).write_bytes(b"x")
    source = mine().open(root)
    assert source.ids("train") == ("a", "b")
    assert [note for note in source.notes("train") if note.endswith(f"passed over: {name}")]


def test_a_folder_named_like_an_image_is_a_folder(root):
    (root / "train" / "images" / "empty.png").mkdir()
    for kind in ("images", "labels"):
        put(root / "train" / kind / "frames.png" / "e.png", np.zeros((2, 3, 3) if kind == "images" else (2, 3)))
    assert mine().open(root).ids("train") == ("a", "b", "frames.png/e")


def dangling_file(folder):
    (folder / "gone.png").symlink_to("/no/such/file.png")


def dangling_folder(folder):
    (folder / "berlin").symlink_to("/no/such/folder")


def link_to_itself(folder):
    (folder / "self.png").symlink_to("self.png")


def fifo(folder):
    os.mkfifo(folder / "pipe.png")


def unix_socket(folder):
    with contextlib.chdir(folder), socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (dangling_file, r"a link to /no/such/file\.png that leads nowhere: .*gone\.png"),
        (dangling_folder, r"a link to /no/such/folder that leads nowhere: .*berlin"),
        (link_to_itself, r"a link to self\.png that leads nowhere: .*self\.png"),
        (fifo, r"neither a file nor a folder: .*pipe\.png; remove it"),
        (unix_socket, r"neither a file nor a folder: .*socket\.png; remove it"),
    ],
)
def test_entries_that_cannot_be_read_are_named_before_anything_is_read(root, spoil, says):
    spoil(root / "train" / "images")
    with pytest.raises(InputError, match=says):
        mine().open(root)


def test_a_folder_that_must_not_be_read_is_named(root, monkeypatch):
    (root / "train" / "images" / "closed").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"a folder that cannot be read: .*closed \(Permission denied\)"):
        mine().open(root)


# Names


@pytest.mark.parametrize("name", ["Müller_é", "ガラス", "Å"])
def test_both_unicode_forms_of_a_name_pair(root, name):
    composed, decomposed = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    assert composed != decomposed
    put(root / "train" / "images" / f"{decomposed}.png", np.zeros((2, 3, 3)))
    put(root / "train" / "labels" / f"{composed}.png", np.zeros((2, 3)))
    source = mine().open(root)
    assert composed in source.ids("train")
    assert source.read("train", composed)[1].shape == (2, 3)


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_spec", ["NFC", "NFD"])
def test_folders_are_found_in_both_unicode_forms(root, on_disk, in_spec):
    top = root / unicodedata.normalize(on_disk, "Büro")
    top.mkdir()
    (root / "train").rename(top / unicodedata.normalize(on_disk, "Übung"))
    where = unicodedata.normalize(in_spec, "Büro/Übung")
    source = mine(train=(f"{where}/images", f"{where}/labels")).open(root)
    assert source.ids("train") == ("a", "b")
    with pytest.raises(InputError, match="has no folder of images"):
        mine(train=(f"{where}/none", f"{where}/labels")).open(root)


def test_names_that_are_the_same_in_nfc_are_refused(root):
    for form in ("NFC", "NFD"):
        put(root / "train" / "images" / f"{unicodedata.normalize(form, 'é')}.png", np.zeros((2, 3, 3)))
    with pytest.raises(InputError, match="two images of one name"):
        mine().open(root)


def test_a_listed_name_finds_its_file_in_both_unicode_forms_and_any_case_of_the_extension(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("é", "b", "c"):
        decomposed = unicodedata.normalize("NFD", name)
        put(root / "JPEGImages" / f"{decomposed}.JPG", np.zeros((2, 3, 3)))
        put(root / "SegmentationClass" / f"{decomposed}.PNG", np.zeros((2, 3)))
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("é\nb\nc\n", encoding="utf-8-sig")
    source = VOC(select={"from_train": 0.4}).open(tmp_path)
    assert sorted(source.ids("train") + source.ids("select")) == ["b", "c", "é"]
    put(root / "JPEGImages" / "b.jpg", np.zeros((2, 3, 3)))
    with pytest.raises(InputError, match=r"two files of one name: .*b\.JPG and .*b\.jpg"):
        VOC(select={"from_train": 0.4}).open(tmp_path)


def test_a_list_in_another_encoding_is_named(tmp_path):
    (tmp_path / "train.txt").write_bytes("Müller\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"a list that is not UTF-8 text: .*train\.txt"):
        read_list("VOC's train", tmp_path / "train.txt")


@pytest.mark.parametrize(
    ("raw", "shown"), [(b"caf\xe9.png", r"caf\\xe9\.png"), (b"a\nb.png", r"a\\nb\.png"), (b"\x1b[2J.png", r"\\x1b\[2J")]
)
@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_name_that_is_not_text_is_refused_with_a_name_that_prints(root, raw, shown, place):
    for kind in ("images", "labels"):
        folder = root / "train" / kind
        file = folder / Path(os.fsdecode(raw if place == "file" else raw + b"/x.png"))
        file.parent.mkdir(exist_ok=True)
        (folder / "a.png").rename(file)
    with pytest.raises(InputError, match=rf"not UTF-8 text: .*{shown}.*; rename it") as caught:
        mine().open(root)
    assert str(caught.value).isprintable()


def test_a_name_that_is_not_text_matters_only_where_an_image_has_it(root):
    (root / "train" / "images" / os.fsdecode(b"caf\xe9.txt")).write_text("")
    source = mine().open(root)
    assert source.ids("train") == ("a", "b")
    assert all(note.isprintable() for note in source.notes("train"))


def test_a_data_root_that_is_not_text_is_refused(root):
    moved = root.rename(root.with_name(os.fsdecode(b"donn\xe9es")))
    with pytest.raises(InputError, match=r"a path in UTF-8, got .*donn\\xe9es"):
        mine().open(moved)


def test_names_that_differ_in_case_are_named(root):
    (root / "train" / "labels" / "a.png").rename(root / "train" / "labels" / "A.png")
    with pytest.raises(InputError, match="a and A differ in upper and lower case alone"):
        mine().open(root)
    put_images(root, "train", "a", "A")
    assert [note for note in mine().open(root).notes("train") if "1 names differ in upper and lower case" in note]


def test_a_folder_of_another_case_is_proposed(root):
    with pytest.raises(InputError, match=r"looked for .*Images; did you mean 'images'\?"):
        mine(train=("train/Images", "train/labels")).open(root)


# Roles


def nested(root):
    for kind in ("images", "labels"):
        (root / "select" / kind).rename(root / "train" / kind / "val")
    return mine(select=("train/images/val", "train/labels/val"))


def linked_folder(root):
    for kind in ("images", "labels"):
        (root / "train" / kind / "more").symlink_to(root / "select" / kind)
    return mine()


def whole_role_linked(root):
    (root / "b").symlink_to("train")
    return mine(select=("b/images", "b/labels"))


def linked_files(root):
    for kind in ("images", "labels"):
        (root / "train" / kind / "other_name.png").symlink_to(root / "select" / kind / "c.png")
    return mine()


def hard_links(root):
    for kind in ("images", "labels"):
        (root / "train" / kind / "other_name.png").hardlink_to(root / "select" / kind / "c.png")
    return mine()


def carved_from_links(root):
    for name in "efgh":
        put_images(root, "train", name)
    for kind in ("images", "labels"):
        (root / "train" / kind / "b").symlink_to(".." + f"/../select/{kind}")
        (root / "train" / kind / "c").symlink_to(".." + f"/../select/{kind}")
    return mine(select={"from_train": 0.5, "seed": 1})


def held_out_in_train(root):
    (root / "test").symlink_to("train")
    return mine(test=("test/images", "test/labels"))


def held_out_is_select(root):
    (root / "test").symlink_to("select")
    return mine(test=("test/images", "test/labels"))


@pytest.mark.parametrize(
    "arrange",
    [
        nested, linked_folder, whole_role_linked, linked_files, hard_links, carved_from_links,
        held_out_in_train, held_out_is_select,
    ],
)  # fmt: skip
def test_a_file_in_two_roles_is_refused(root, arrange):
    config = arrange(root)
    with pytest.raises(InputError, match=r"images are in role (train|select) and in role (select|test), first .*"):
        config.open(root)


def bad_name(folder):
    folder.joinpath(os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")


def loop(folder):
    (folder / "again").symlink_to(".")


@pytest.mark.parametrize(
    ("spoil", "says"), [(bad_name, "not UTF-8 text"), (loop, "contains itself"), (fifo, "neither a")]
)
def test_what_is_wrong_with_the_role_test_is_found_before_anything_is_trained(root, spoil, says):
    put_images(root, "test", "e")
    config = mine(test=("test/images", "test/labels"))
    assert config.open(root).ids("test") == ("e",)
    spoil(root / "test" / "images")
    with pytest.raises(InputError, match=says):
        config.open(root)


@pytest.mark.parametrize("part", ["images", "labels"])
def test_a_role_test_that_is_not_there_yet_is_missed_only_when_asked_for(root, part):
    put_images(root, "test", "e", "f")
    (root / "test" / part / "e.png").unlink()
    source = mine(test=("test/images", "test/labels")).open(root)
    with pytest.raises(InputError, match="the role test is incomplete"):
        source.ids("test")


def test_roles_of_a_data_set_with_a_fixed_layout_are_compared(tmp_path):
    for role, name in (("train", "01_a"), ("val", "02_a")):
        put_pair(tmp_path / "camvid", role, name, [[0, 1]])
    (tmp_path / "camvid" / "test").symlink_to("val")
    (tmp_path / "camvid" / "testannot").symlink_to("valannot")
    with pytest.raises(InputError, match="in role select and in role test"):
        CamVid().open(tmp_path)


def test_one_label_map_for_many_images_is_no_overlap(root):
    for role, name in (("train", "a"), ("select", "c")):
        label = root / role / "labels" / f"{name}.png"
        label.unlink()
        label.symlink_to(root / "train" / "labels" / "b.png")
    assert mine().open(root).ids("select") == ("c", "d")


def test_an_image_that_is_its_own_label_map_is_refused(root):
    with pytest.raises(InputError, match="an image that is its own label map"):
        mine(train=("train/images", "train/images")).open(root)


@pytest.mark.parametrize("role", ["train", "select", "test"])
@pytest.mark.parametrize("how", ["same folder", "link", "hard link"])
def test_images_without_labels_are_not_among_the_labelled(root, tmp_path, role, how):
    put_images(root, "test", "e")
    config = mine(test=("test/images", "test/labels"))
    images = f"{role}/images"
    if how != "same folder":
        put(root / "extra" / "x.png", np.ones((2, 3, 3)))
        file = next((root / role / "images").iterdir())
        make = (root / "extra" / "y.png").symlink_to if how == "link" else (root / "extra" / "y.png").hardlink_to
        make(file)
        images = "extra"
    with pytest.raises(InputError, match=rf"images are in role {role} and in role unlabelled {images}"):
        open_unlabelled(Unlabelled(images=images, per_batch=1), root, tmp_path / "cache", config)


def test_images_of_equal_pixels_under_other_names_are_told(root):
    image = (root / "train" / "images" / "a.png").read_bytes()
    (root / "select" / "images" / "c.png").write_bytes(image)
    (root / "train" / "images" / "b.png").write_bytes(image)
    source = mine().open(root)
    told = repeated_images(check_role(source, role) for role in ("train", "select"))
    assert told == [
        "role train has a repeated image, first b, which has the pixels of a",
        "roles train and select share a repeated image, first c, which has the pixels of a",
    ]
