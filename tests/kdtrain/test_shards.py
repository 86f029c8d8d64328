"""Images in Parquet, Arrow and tar files become the same store as the same images in folders."""

import struct
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_kinds import (
    CLASSES,
    add,
    as_folder,
    as_parquet,
    as_saved,
    as_tar,
    encoded,
    label_map,
    pairs,
    photo,
    structs,
    table,
)
from PIL import Image
from pydantic import ValidationError

from kdtrain.data import Folder, Shards, open_data, open_role, parse_data
from kdtrain.data.shards import row_groups
from kdtrain.data.shards.columns import TableFile
from kdtrain.data.store_index import IMAGES, LABELS
from kdtrain.errors import InputError, MissingError
from kdtrain.testing import check_data

ROLES = {"train": range(7), "select": range(7, 10), "test": range(10, 12)}
MAKERS = {"parquet": as_parquet, "arrow": as_saved, "tar": as_tar}


def made(make, root, roles=ROLES, **more):
    return {role: make(root, role, numbers, **more) for role, numbers in roles.items()}


def shards(where, **changes):
    return Shards(classes=CLASSES, shards=where, **changes)


def stored(config, role, root, cache):
    folder = open_role(config, role, root, cache).folder
    return (folder / IMAGES).read_bytes(), (folder / LABELS).read_bytes()


@pytest.mark.parametrize("kind", MAKERS)
def test_the_store_is_that_of_the_same_images_in_folders(tmp_path, kind):
    config = shards(made(MAKERS[kind], tmp_path))
    folder = Folder(classes=CLASSES, folders=made(as_folder, tmp_path))
    for role in ROLES:
        assert stored(config, role, tmp_path, tmp_path / "a") == stored(folder, role, tmp_path, tmp_path / "b")
    check_data(config, tmp_path)
    check_data(Shards.model_validate({**config.model_dump(), "carve": {"share": 0.5}}), tmp_path)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_changed_file_changes_listing_and_digest(tmp_path, kind):
    where = made(MAKERS[kind], tmp_path)
    before = open_data(shards(where), tmp_path)
    listings, digests = ([of(role) for role in ROLES] for of in (before.listing, before.digest))
    for file in tmp_path.rglob("train*.*" if kind != "arrow" else "train/data*.arrow"):
        content = file.read_bytes()
        place = content.index(b"JFIF") + 4
        file.write_bytes(content[:place] + b"\x01" + content[place + 1 :])
    after = open_data(shards(where), tmp_path)
    assert after.listing("train") != listings[0]
    if kind != "parquet":  # whose cells are compressed, so that the file is damaged
        assert after.digest("train") != digests[0]
    assert [after.digest(role) for role in ("select", "test")] == digests[1:]


def test_labels_of_the_user_mean_what_they_mean_in_folders(tmp_path):
    where = made(as_parquet, tmp_path, {"train": range(6)})
    config = Shards(
        classes=("car", "rest"), ids={2: 0, 0: 1}, ignore=[1], shards={"train": where["train"]}, group=r"/\d+(\d)$"
    )
    folder = Folder(
        classes=("car", "rest"), ids={2: 0, 0: 1}, ignore=[1], folders=made(as_folder, tmp_path, {"train": range(6)})
    )
    source = open_data(config, tmp_path)
    assert source.ids("train")[0] == "train-00000-of-00002/00000000"
    assert source.group(source.ids("train")[1]) == "1"
    labels = open_data(folder, tmp_path)
    for image_id in source.ids("train"):
        shard, row = image_id.split("/")
        number = 3 * int(shard.split("-")[1]) + int(row)
        role = "train" if f"{number:02d}" in labels.ids("train") else "select"
        assert (source.read_labels("train", image_id) == labels.read_labels(role, f"{number:02d}")).all()


def test_columns_are_found_by_their_names_or_given(tmp_path):
    where = as_parquet(tmp_path, "train", range(4), image="pixel_values", label="label")
    assert len(open_data(shards({"train": where}), tmp_path).ids("train")) == 3
    where = as_parquet(tmp_path, "train", range(4), image="a", label="b")
    with pytest.raises(InputError, match=r"^data.shards.train.label: must say which columns .* are a \(struct<.*scene"):
        open_data(shards({"train": where}), tmp_path)
    source = open_data(shards({"train": where | {"image": "a", "label": "b", "id": "scene"}}), tmp_path)
    assert set(source.ids("train") + source.ids("select")) == {"s0", "s1", "s2", "s3"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"image": "photo"}, r"data.shards.train.image: .* has no column 'photo'; its columns are image"),
        ({"label": "scene"}, r"the column 'scene' holds string in .* must hold encoded images"),
        ({"image": "annotation"}, r"data.shards.train: images and label maps must be different columns|must say which"),
        ({"id": "image"}, r"data.shards.train.id: the column 'image' holds struct.* must hold texts"),
        ({"files": "data/none-*.parquet"}, r"the role train has no shards: looked for none-\*.parquet"),
        ({"files": "hf:a/b/data/*.parquet"}, r"`kdsweep data get hf:a/b` fetches them"),
    ],
)
def test_what_a_spec_names_must_be_there(tmp_path, given, sentence):
    where = as_parquet(tmp_path, "train", range(4)) | given
    with pytest.raises(InputError, match=sentence) as caught:
        open_data(shards({"train": where}), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "files",
    [
        "/data/*.tar",
        "../*.tar",
        "a/../../b.tar",
        "hf:../x/y",
        "hf:name",
        "",
        "a/b**.tar",
        "hf:a/b@main/*.tar",
        "hf:a/",
        "hf:a/*/b.tar",
    ],
)
def test_shards_lie_below_the_data_root(files):
    with pytest.raises((InputError, ValidationError), match=r"relative to the data root|hf:owner/name"):
        parse_data({"name": "shards", "classes": CLASSES, "shards": {"train": {"files": files}}})


def test_tables_that_are_damaged_or_differ_are_refused(tmp_path):
    where = as_parquet(tmp_path, "train", range(6))
    first, second = sorted((tmp_path / "data").iterdir())
    content = second.read_bytes()
    second.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"train-00001.* is not a whole Parquet file"):
        open_data(shards({"train": where}), tmp_path)
    pq.write_table(table(range(2), label="mask"), second)
    with pytest.raises(
        InputError, match=r"the shards of the role train differ in columns: only one of .* annotation, mask"
    ):
        open_data(shards({"train": where}), tmp_path)
    saved = as_saved(tmp_path, "train", range(4))
    arrow = tmp_path / "saved/train/data-00000-of-00001.arrow"
    whole, size = arrow.read_bytes(), len(pairs([0])[0][0])
    arrow.write_bytes(whole.replace(struct.pack("<ii", 0, size), struct.pack("<ii", 0, 2**31 - 1), 1))
    with pytest.raises(InputError, match=r"is not a whole Arrow file .* out of bounds"):
        open_data(shards({"train": saved}), tmp_path)
    arrow.write_bytes(whole[:3000])
    with pytest.raises(InputError, match=r"is not a whole Arrow file"):
        open_data(shards({"train": saved}), tmp_path)
    assert first.exists()


def write_arrow(content, file):
    with pa.OSFile(str(file), "wb") as out, pa.ipc.new_stream(out, content.schema) as to:
        to.write_table(content)


@pytest.mark.parametrize(("suffix", "write"), [("parquet", pq.write_table), ("arrow", write_arrow)])
def test_tables_with_two_columns_of_one_name_or_texts_in_another_encoding_are_refused(tmp_path, suffix, write):
    content, given = table(range(4)), {"files": f"a.{suffix}", "image": "image", "label": "annotation"}
    write(content.append_column("image", content["image"]), tmp_path / f"a.{suffix}")
    with pytest.raises(InputError, match=r"has two columns 'image'"):
        open_data(shards({"train": given}), tmp_path)
    latin = pa.array([b"\xe4%d" % number for number in range(4)])
    write(content.append_column("id", pa.Array.from_buffers(pa.string(), 4, latin.buffers())), tmp_path / f"a.{suffix}")
    with pytest.raises(InputError, match=r"is not a whole (Parquet|Arrow) file .*(utf-8|UTF8)"):
        open_data(shards({"train": {**given, "id": "id"}}), tmp_path)


@pytest.mark.parametrize(
    ("image", "label", "sentence"),
    [
        (b"no image", encoded(label_map(0)), r"cannot read the image file .*\(row 0, column image\)"),
        (encoded(photo(0)), encoded(label_map(0).crop((0, 0, 9, 9))), r"is 64x48 pixels, its label map .* 9x9"),
        (encoded(photo(0)), encoded(Image.new("L", (64, 48), 7)), r"holds the id 7, allowed are 0 to 2, 255"),
        (None, encoded(label_map(0)), r"\(row 0, column image\) is empty"),
        (encoded(photo(0)), encoded(label_map(0), "JPEG"), r"must be one of PNG, .* got JPEG"),
    ],
)
def test_cells_that_are_no_image_or_no_label_map_are_refused(tmp_path, image, label, sentence):
    rows = [(image, label), *pairs(range(1, 4))]
    content = pa.table({"image": structs(r[0] for r in rows), "label": structs(r[1] for r in rows)})
    pq.write_table(content, tmp_path / "a.parquet")
    source = open_data(shards({"train": {"files": "a.parquet"}}), tmp_path)
    role = next(role for role in ("train", "select") if "a/00000000" in source.ids(role))
    with pytest.raises(InputError, match=sentence) as caught:
        source.read(role, "a/00000000")
    assert "\n" not in str(caught.value)


def test_cells_that_hold_paths_are_refused(tmp_path):
    content = pa.table(
        {
            n: pa.array([{"bytes": None, "path": "a.png"}] * 3, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
            for n in ("image", "label")
        }
    )
    pq.write_table(content, tmp_path / "a.parquet")
    source = open_data(shards({"train": {"files": "a.parquet"}}), tmp_path)
    with pytest.raises(InputError, match=r"holds the path 'a.png' and no image"):
        source.read("train", source.ids("train")[0])


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ([("../a.jpg", {})], r"holds '../a.jpg', which lies outside of it"),
        ([("/a.jpg", {})], r"holds '/a.jpg', which lies outside of it"),
        ([("a.jpg", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})], r"'a.jpg', which is a link"),
        ([("a.jpg", {}), ("a.jpg", {})], r"holds two members 'a.jpg'"),
        ([("a.jpg", {}), ("b.label.png", {})], r"incomplete: .* member a has no label.png, only jpg"),
        ([("a.jpg", {}), ("a.pkl", {})], r"data.shards.train.label: must say .* end with jpg, pkl"),
        ([("a.jpg", {}), ("a.seg.png", {}), ("a.depth.png", {})], r"data.shards.train.image: must say which members"),
    ],
)
def test_archives_with_other_members_are_refused(tmp_path, members, sentence):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, facts in members:
            add(archive, name, b"" if "type" in facts else b"content", **facts)
    with pytest.raises(InputError, match=sentence) as caught:
        open_data(shards({"train": {"files": "*.tar"}}), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"pax_headers": {"GNU.sparse.map": "a,b", "GNU.sparse.size": "3"}}, r"is not a whole tar archive"),
        ({"pax_headers": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}}, r"is not a whole tar archive"),
        ({"size": 2**70}, r"is not a whole tar archive"),
        ({"pax_headers": {"size": "-1536"}}, r"holds '.a.jpg' with a size below 0"),
    ],
)
def test_archives_with_damaged_headers_are_refused(tmp_path, facts, sentence):
    info = tarfile.TarInfo(".a.jpg")
    for key, value in facts.items():
        setattr(info, key, value)
    kind = tarfile.GNU_FORMAT if "size" in facts else tarfile.PAX_FORMAT
    (tmp_path / "a.tar").write_bytes(info.tobuf(kind) + bytes(1024))
    with pytest.raises(InputError, match=sentence) as caught:
        open_data(shards({"train": {"files": "a.tar"}}), tmp_path)
    assert "\n" not in str(caught.value)


def test_archives_that_are_cut_or_compressed_are_refused(tmp_path):
    where = as_tar(tmp_path, "train", range(4))
    file = tmp_path / "tars/train-000000.tar"
    content = file.read_bytes()
    with tarfile.open(file) as archive:
        last = archive.getmembers()[-1]
    for size in (last.offset_data + 3, last.offset_data, last.offset + 100, last.offset, 0):
        file.write_bytes(content[:size])
        with pytest.raises(InputError, match=r"not a whole tar archive|has no end, so members may lack"):
            open_data(shards({"train": where}), tmp_path)
    with tarfile.open(file, "w:gz") as archive:
        add(archive, "a.jpg", b"x")
    with pytest.raises(InputError, match="is compressed, so its members cannot be read in place; decompress it"):
        open_data(shards({"train": where}), tmp_path)


def test_other_ways_to_write_tables(tmp_path):
    expected = open_data(shards({"train": as_parquet(tmp_path / "a", "train", range(4), per_file=4)}), tmp_path / "a")
    content = pairs(range(4))
    plain = pa.table({"image": [c[0] for c in content], "label": pa.array([c[1] for c in content], pa.large_binary())})
    pq.write_table(plain, tmp_path / "b.PARQUET")
    with pa.OSFile(str(tmp_path / "c.arrow"), "wb") as out, pa.ipc.new_file(out, plain.schema) as to:
        to.write_table(plain, max_chunksize=3)
    (tmp_path / "._c.arrow").write_bytes(b"of another system")
    for files in ("b.PARQUET", "*.arrow"):
        source = open_data(shards({"train": {"files": files}}), tmp_path)
        for image_id, other in zip(source.ids("train"), expected.ids("train"), strict=True):
            image, labels = source.read("train", image_id)
            assert (image == expected.read("train", other)[0]).all()
            assert (labels == expected.read("train", other)[1]).all()


def in_one_group(root, size, **more):
    """A table of label maps as images, all in one row group, whose cells hold further bytes."""
    image = [encoded(photo(0)) + bytes(np.random.default_rng(row).bytes(2**16)) for row in range(size)]
    rows = {"image": structs(image), "label": structs(encoded(label_map(0)) for _ in range(size)), **more}
    pq.write_table(pa.table(rows), root / "a.parquet", write_batch_size=4)  # its pages end after every 1 MiB


def most_memory(source, order):
    """The most bytes that Arrow holds while images are read."""
    before, most = pa.total_allocated_bytes(), 0
    for image_id in order(source.ids("train")):
        source.read("train", image_id)
        most = max(most, pa.total_allocated_bytes() - before)
    return most


def test_a_part_of_a_row_group_is_in_memory_where_rows_are_read_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(row_groups, "_BATCH_BYTES", 2**19)
    in_one_group(tmp_path, 300)  # 24 MiB
    for order in (list, list, lambda ids: ids[:200:3]):  # the second time from the beginning
        assert most_memory(open_data(shards({"train": {"files": "a.parquet"}}), tmp_path), order) < 9 * 2**20


def test_rows_in_another_order_are_read_from_whole_row_groups(tmp_path):
    in_one_group(tmp_path, 40, id=[f"{17 * row % 40:02d}" for row in range(40)])
    row_groups._whole.cache_clear()
    source = open_data(shards({"train": {"files": "a.parquet", "id": "id"}}), tmp_path)
    for image_id in source.ids("train"):
        source.read("train", image_id)
    assert row_groups._whole.cache_info().misses == 2  # of images, and of label maps


def test_threads_that_lag_behind_get_their_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(row_groups, "_BATCH_BYTES", 1)
    numbers = pa.table({"number": [row.to_bytes(2) for row in range(500)]})
    pq.write_table(numbers, tmp_path / "a.parquet", row_group_size=180)
    opened = TableFile(tmp_path / "a.parquet")
    opened.in_order = True
    order = [*range(0, 500, 2), *range(499, 0, -2)]
    order += [row for start in range(0, 500, 64) for row in np.random.default_rng(start).permutation(64) + start]
    assert [opened.cell(int(row), "number") for row in order if row < 500] == [
        int(row).to_bytes(2) for row in order if row < 500
    ]


def test_members_may_lie_in_folders(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "./night", b"", type=tarfile.DIRTYPE)
        for number, (image, label) in enumerate(pairs(range(4))):
            add(archive, f"./night/{number}.JPG", image)
            add(archive, f"./night/._{number}.jpg", b"of another system")
            add(archive, f"./night/{number}.Label.png", label)
    source = open_data(shards({"train": {"files": "a.tar"}}), tmp_path)
    assert set(source.ids("train") + source.ids("select")) == {f"a/night/{number}" for number in range(4)}


def test_shards_are_counted(tmp_path):
    as_parquet(tmp_path, "train", range(9))
    source = open_data(shards({"train": {"files": "data/train-{00000..00001}-of-00003.parquet"}}), tmp_path)
    assert len(source.ids("train") + source.ids("select")) == 6
    with pytest.raises(MissingError, match=r"the role train lacks 1 of the 2 shards .*: train-00003-of-00003.parquet"):
        open_data(shards({"train": {"files": "data/train-{00002..00003}-of-00003.parquet"}}), tmp_path)
    with pytest.raises(InputError, match=r"are counted upwards, as in \{000..012\}, got \{3..1\}"):
        open_data(shards({"train": {"files": "data/{3..1}.tar"}}), tmp_path)


def test_labels_beside_images_of_the_same_key_are_those_without_loss(tmp_path):
    where = as_tar(tmp_path, "train", range(4), label="png")
    source = open_data(shards({"train": where}), tmp_path)
    assert set(source.read("train", source.ids("train")[0])[1].ravel()) == {0, 1, 2}
    assert "members passed over" not in str(source.notes("train"))


def test_an_image_in_two_roles_is_refused(tmp_path):
    where = as_tar(tmp_path, "train", range(4))
    with pytest.raises(InputError, match="4 images are in role train and in role select"):
        open_data(shards({"train": where, "select": {"files": "tars"}}), tmp_path)
    with pytest.raises(MissingError, match=r"the data have no role test: shards.test is not set"):
        open_data(shards({"train": where}), tmp_path).ids("test")


def test_structs_of_other_things_are_no_images(tmp_path):
    rows = pairs(range(3))
    content = pa.table({"image": structs(r[0] for r in rows), "label": pa.array([{"bytes": 1}] * 3)})
    pq.write_table(content, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"data.shards.train.label: must say which columns hold the label maps"):
        open_data(shards({"train": {"files": "a.parquet"}}), tmp_path)
