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
from kdtrain.errors import DamagedError, InputError, StorageError

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


def flip_and_keep_the_time(file, offset):
    before = file.stat()
    with file.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("name", ["images.bin", "labels.bin"])
@pytest.mark.parametrize("image", [0, 1, 2])
def test_a_byte_that_changed_without_a_trace_is_never_read(tmp_path, caplog, name, image):
    source = Mixed(sizes=((20, 20),) * 3)
    open_store(source, "train", tmp_path)
    flip_and_keep_the_time(store_folder(tmp_path) / name, 400 * image * (3 if name == "images.bin" else 1) + 7)
    images = open_store(source, "train", tmp_path)
    for i, image_id in enumerate(images.ids):
        for got, expected in zip(images.get(i), source.read("train", image_id), strict=True):
            np.testing.assert_array_equal(got, expected)
    assert source.reads == 3 + 3 + 3
    assert f"does not hold the bytes that were written for i{image}: it is built anew" in caplog.text
    again = Mixed(sizes=source.sizes)
    assert len(open_store(again, "train", tmp_path).get(image)) == 2
    assert again.reads == 0


def test_a_process_without_the_source_refuses_a_changed_byte_and_the_next_one_builds_anew(tmp_path):
    source = Mixed(sizes=((20, 20),) * 3)
    images = pickle.loads(pickle.dumps(open_store(source, "train", tmp_path)))
    flip_and_keep_the_time(store_folder(tmp_path) / "labels.bin", 450)
    images.get(0)
    with pytest.raises(DamagedError, match=r"bytes that were written for i1; .* the same command again") as caught:
        images.get(1)
    assert "\n" not in str(caught.value)
    open_store(source, "train", tmp_path)
    assert source.reads == 6


def test_every_byte_of_the_index_is_guarded(tmp_path):
    source = Mixed()
    open_store(source, "train", tmp_path)
    file = store_folder(tmp_path) / "index.json"
    content = file.read_bytes()
    for offset in range(0, len(content), 41):
        file.write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
        images = open_store(source, "train", tmp_path)
        assert (images.ids, images.groups, images.sizes) == (("i0", "i1", "i2"), ("gi0", "gi1", "gi2"), source.sizes)
        assert (images.classes, images.palette) == (source.classes, source.palette)


def test_every_byte_of_a_noted_digest_is_guarded(tmp_path):
    source = Mixed()
    digest = open_store(source, "train", tmp_path).digest
    (note,) = (tmp_path / "digests").iterdir()
    content = note.read_bytes()
    for offset in range(0, len(content), 3):
        note.write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
        assert open_store(source, "train", tmp_path).digest == digest
    assert source.reads == 3


class Rewritten(Mixed):
    """Data whose content changes while its listing stays."""

    content = 1

    def digest(self, role):
        self.digests += 1
        return f"{self.content:032d}"


def test_a_store_is_built_under_the_digest_of_what_is_read(tmp_path):
    source = Rewritten()
    folder = tmp_path / f"train-{1:032d}"
    assert open_store(source, "train", tmp_path).folder == folder
    source.content = 2
    assert open_store(source, "train", tmp_path).folder == folder  # nothing shows yet
    (folder / "images.bin").unlink()
    assert open_store(source, "train", tmp_path).digest == f"{2:032d}"


class Restless(Mixed):
    """Data of which a file is written while they are read."""

    def listing(self, role):
        return f"listing{self.reads}"


def test_files_that_change_while_they_are_read_are_refused(tmp_path):
    with pytest.raises(InputError, match="files of the role train changed while they were read"):
        open_store(Restless(), "train", tmp_path)
    assert not list(tmp_path.glob("train-*"))


def test_what_killed_builders_of_other_stores_left_is_removed(tmp_path):
    for name in ("train-old", "train-in-use"):
        (tmp_path / f".{name}-abcd1234").mkdir(parents=True)
        (tmp_path / f".{name}.lock").touch()
    with store_module._lock(tmp_path / ".train-in-use.lock"):
        open_store(Mixed(), "train", tmp_path)
    left = [path.name for path in tmp_path.iterdir() if path.is_dir() and path.name.startswith(".")]
    assert left == [".train-in-use-abcd1234"]


def test_a_copied_store_is_read_once_and_kept(tmp_path, monkeypatch):
    source = Mixed()
    open_store(source, "train", tmp_path)
    os.utime(store_folder(tmp_path) / "images.bin", ns=(0, 5))
    whole = []
    monkeypatch.setattr(store_module, "is_as_written", lambda *args: whole.append(args) or True)
    open_store(source, "train", tmp_path)
    open_store(source, "train", tmp_path)
    assert len(whole) == 1


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

        monkeypatch.setattr("fcntl.flock", refuse)
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
