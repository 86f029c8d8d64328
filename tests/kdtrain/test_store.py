import errno
import json
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from kdtrain.data import Streets, open_role
from kdtrain.data import store as store_module
from kdtrain.data.store import open_store
from kdtrain.errors import InputError, StorageError

CONFIG = Streets(size=(32, 32), counts={"train": 7, "select": 2, "test": 1})


class Mixed:
    """Images of different sizes, which counts how often they are read."""

    classes = ("a", "b")
    palette = ((1, 2, 3), (4, 5, 6))
    ignore_index = 255

    def __init__(self, sizes=((3, 5), (4, 2), (3, 5))):
        self.sizes = sizes
        self.reads = 0
        self.digests = 0

    def ids(self, role):
        return tuple(f"i{n}" for n in range(len(self.sizes)))

    def group(self, image_id):
        return "g" + image_id

    def read(self, role, image_id):
        self.reads += 1
        height, width = self.sizes[int(image_id[1:])]
        rng = np.random.default_rng(int(image_id[1:]))
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        return image, rng.integers(0, 2, (height, width), dtype=np.uint8)

    def listing(self, role):
        return f"listing{len(self.sizes)}"

    def digest(self, role):
        self.digests += 1
        return f"{len(self.sizes):032d}"


def store_folder(cache):
    return next(iter(cache.glob("train-*")))


def test_the_store_gives_back_what_was_read(tmp_path):
    source = Mixed()
    images = open_store(source, "train", tmp_path)
    assert len(images) == 3
    assert images.sizes == source.sizes
    assert images.ids == ("i0", "i1", "i2")
    assert images.groups == ("gi0", "gi1", "gi2")
    assert (images.classes, images.palette, images.ignore_index) == (Mixed.classes, Mixed.palette, 255)
    for i, image_id in enumerate(images.ids):
        for got, expected in zip(images.get(i), source.read("train", image_id), strict=True):
            np.testing.assert_array_equal(got, expected)
            assert got.dtype == np.uint8
            with pytest.raises(ValueError, match="read-only"):
                got[0, 0] = 1


def test_the_store_is_built_once_and_opened_without_hashing(tmp_path):
    source = Mixed()
    open_store(source, "train", tmp_path)
    open_store(source, "train", tmp_path)
    assert (source.reads, source.digests) == (3, 1)


def test_images_pickle_as_a_path(tmp_path):
    images = open_role(CONFIG, "train", None, tmp_path)
    blob = pickle.dumps(images)
    assert len(blob) < 1000
    again = pickle.loads(blob)
    np.testing.assert_array_equal(again.get(3)[0], images.get(3)[0])


def truncate(folder):
    file = folder / "images.bin"
    os.truncate(file, file.stat().st_size - 1)


def flip_a_byte(folder):
    with (folder / "labels.bin").open("r+b") as file:
        file.seek(100)
        byte = file.read(1)[0]
        file.seek(100)
        file.write(bytes([byte ^ 1]))
    os.utime(folder / "labels.bin", ns=(0, 123456789))


def spoil_the_index(folder):
    (folder / "index.json").write_text('{"format": 1, ')


def forget_the_labels(folder):
    (folder / "labels.bin").unlink()


def age_the_format(folder):
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(index | {"format": 0}))


@pytest.mark.parametrize("damage", [truncate, flip_a_byte, spoil_the_index, forget_the_labels, age_the_format])
def test_a_damaged_store_is_rebuilt(tmp_path, damage):
    source = Mixed(sizes=((20, 20),) * 3)
    open_store(source, "train", tmp_path)
    damage(store_folder(tmp_path))
    images = open_store(source, "train", tmp_path)
    assert source.reads == 6
    np.testing.assert_array_equal(images.get(1)[1], source.read("train", "i1")[1])
    assert [p.name for p in tmp_path.iterdir() if p.is_dir() and p.name.startswith(".")] == []


def test_a_copied_store_is_summed_up_and_kept(tmp_path):
    source = Mixed()
    open_store(source, "train", tmp_path)
    os.utime(store_folder(tmp_path) / "images.bin", ns=(0, 5))
    open_store(source, "train", tmp_path)
    assert source.reads == 3


@pytest.mark.parametrize("locks", [True, False])
def test_two_builders_at_once_end_with_one_sound_store(tmp_path, monkeypatch, locks):
    if not locks:

        def refuse(*_):
            raise OSError(errno.ENOLCK, "no locks available")

        monkeypatch.setattr(store_module.fcntl, "flock", refuse)
    sources = [Mixed(sizes=((200, 200),) * 20) for _ in range(4)]
    gate, found = threading.Barrier(4), []

    def build(source):
        gate.wait()
        found.append(open_store(source, "train", tmp_path))

    threads = [threading.Thread(target=build, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(list(tmp_path.glob("*train-*/index.json"))) == 1
    assert sum(s.reads for s in sources) == 20 or not locks
    np.testing.assert_array_equal(found[0].get(7)[0], found[3].get(7)[0])


def test_a_builder_that_died_leaves_nothing_behind(tmp_path):
    source = Mixed()
    open_store(source, "train", tmp_path)
    folder = store_folder(tmp_path)
    left = tmp_path / f".{folder.name}-abc"
    folder.rename(left)
    open_store(source, "train", tmp_path)
    assert not left.exists()


def test_a_failed_build_leaves_no_store(tmp_path):
    class Broken(Mixed):
        def read(self, role, image_id):
            if image_id == "i2":
                raise InputError("i2 is broken")
            return super().read(role, image_id)

    with pytest.raises(InputError, match="i2 is broken"):
        open_store(Broken(), "train", tmp_path)
    assert not list(tmp_path.glob("*train-*/"))


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module.os, "fsync", full)
    with pytest.raises(StorageError, match=r"cannot write the image cache .*: No space left on device"):
        open_store(Mixed(), "train", tmp_path)
    assert not list(tmp_path.glob("*train-*/"))


def test_a_cache_that_cannot_be_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        open_store(Mixed(), "train", Path(tmp_path / "file"))
