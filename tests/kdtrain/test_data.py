import json
import os

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from kdtrain import TrainConfig
from kdtrain.data import CamVid, DataConfig, Folder, Streets, colorize, open_role
from kdtrain.data.decode import DECODING
from kdtrain.data.palette import distinct_colors
from kdtrain.data.split import Split, set_aside
from kdtrain.errors import InputError
from kdtrain.testing import check_data

TRAIN = {"images": "i", "labels": "l"}


def put(folder, name, array):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(folder / name)


def put_pair(root, images, labels, name, ids=((0, 1), (2, 11)), suffix=".png"):
    ids = np.asarray(ids)
    put(root / images, name + suffix, np.repeat(ids[..., None] * 20, 3, axis=2))
    put(root / labels, name + ".png", ids)


@pytest.fixture
def camvid(tmp_path):
    root = tmp_path / "data"
    for role, names in (("train", ["01_a", "01_b", "02_a"]), ("val", ["03_a", "03_b"])):
        for name in names:
            put_pair(root / "camvid", role, role + "annot", name)
    return root


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "mine"
    for i in range(10):
        put_pair(root, "images", "labels", f"city{i // 2}_{i}", ids=[[0, 1, 0]])
    return root


def mine(**changes):
    folders = changes.pop("folders", {"train": {"images": "images", "labels": "labels"}})
    return Folder(classes=("road", "car"), folders=folders, **changes)


def test_a_config_is_chosen_by_its_name_and_survives_json():
    adapter = TypeAdapter(DataConfig)
    folders = {"train": {"images": "a", "labels": "b"}, "select": {"from_train": 0.5}}
    for content in (
        {"name": "camvid"},
        {"name": "streets", "size": [64, 96], "seed": 3},
        {"name": "folder", "classes": ["a", "b"], "folders": folders, "ids": {"7": 0, "8": 1}},
    ):
        config = adapter.validate_python(content)
        assert adapter.validate_json(config.model_dump_json()) == config
        assert "/" not in json.dumps(config.model_dump(mode="json"))
    with pytest.raises(ValidationError, match="camvid"):
        adapter.validate_python({"name": "kitti"})
    with pytest.raises(ValidationError, match="color"):
        adapter.validate_python({"name": "camvid", "color": 1})


def test_camvid_reads_its_layout(camvid):
    source = CamVid().open(camvid)
    assert source.ids("train") == ("01_a", "01_b", "02_a")
    assert source.ids("select") == ("03_a", "03_b")
    assert [source.group(i) for i in source.ids("train")] == ["01", "01", "02"]
    assert len(source.classes) == len(source.palette) == 11
    image, labels = source.read("train", "01_a")
    np.testing.assert_array_equal(labels, [[0, 1], [2, 255]])
    np.testing.assert_array_equal(image[..., 0], [[0, 20], [40, 220]])
    assert CamVid().open(camvid / "camvid").ids("train") == source.ids("train")


def test_camvid_takes_jpg_images(camvid):
    folder = camvid / "camvid" / "train"
    for file in list(folder.iterdir()):
        Image.open(file).save(file.with_suffix(".jpg"))
        file.unlink()
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_text("not an image")
    assert CamVid().open(camvid).ids("train") == ("01_a", "01_b", "02_a")


def test_the_test_role_is_missed_only_when_asked_for(camvid):
    source = CamVid().open(camvid)
    with pytest.raises(InputError, match=r"role test .*camvid.test"):
        source.ids("test")
    with pytest.raises(InputError, match="train, select, test, got 'val'"):
        source.ids("val")


def break_missing_labels(root):
    (root / "trainannot" / "01_b.png").unlink()
    return r"3 images in .*train but 2 label maps in .*trainannot; 1 images without a label map: 01_b"


def break_missing_images(root):
    for i in range(5):
        put(root / "valannot", f"x{i}.png", [[0]])
    return r"2 images .* 7 label maps .*5 label maps without an image: x0, x1, x2, \.\.\."


def break_missing_folder(root):
    (root / "valannot").rename(root / "elsewhere")
    return r"select has no folder of label maps: looked for .*valannot"


def break_no_images(root):
    for file in (root / "train").iterdir():
        file.unlink()
    return r"train has no images: looked for .*train"


def break_twice(root):
    put(root / "train", "01_a.bmp", np.zeros((2, 2, 3)))
    return r"two images of one name: .*01_a"


def break_size(root):
    put(root / "trainannot", "01_b.png", [[0, 1, 2]])
    return r"01_b.png is 2x2 pixels, its label map .*01_b.png 3x1"


def break_ids(root):
    put(root / "trainannot", "01_b.png", [[0, 1], [12, 200]])
    return r"trainannot.01_b.png holds the id 12, 200, allowed are 0 to 11, 255"


def break_colored_labels(root):
    put(root / "trainannot", "01_b.png", np.zeros((2, 2, 3)))
    return r"trainannot.01_b.png must be 8-bit with one channel .* got the mode RGB"


def break_16_bit_labels(root):
    Image.fromarray(np.zeros((2, 2), dtype=np.uint16)).save(root / "trainannot" / "01_b.png")
    return r"trainannot.01_b.png must be 8-bit"


def break_truncated_image(root):
    file = root / "train" / "02_a.png"
    file.write_bytes(file.read_bytes()[:40])
    return r"cannot read the image file .*02_a.png"


@pytest.mark.parametrize(
    "broken",
    [
        break_missing_labels, break_missing_images, break_missing_folder, break_no_images, break_twice,
        break_size, break_ids, break_colored_labels, break_16_bit_labels, break_truncated_image,
    ],
)  # fmt: skip
def test_wrong_data_are_named_in_one_sentence(camvid, tmp_path, broken):
    says = broken(camvid / "camvid")
    with pytest.raises(InputError, match=says) as caught:
        open_role(CamVid(), "train", camvid, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("train-*"))


def test_a_missing_data_root_is_named(tmp_path):
    with pytest.raises(InputError, match="data_root"):
        CamVid().open(None)
    with pytest.raises(InputError, match="nowhere"):
        CamVid().open(tmp_path / "nowhere")


def test_a_palette_image_is_read_by_its_indices(camvid):
    image = Image.fromarray(np.array([[0, 1], [2, 3]], dtype=np.uint8))
    image.putpalette([255, 0, 0] * 256)
    image.save(camvid / "camvid" / "trainannot" / "01_a.png")
    _, labels = CamVid().open(camvid).read("train", "01_a")
    np.testing.assert_array_equal(labels, [[0, 1], [2, 3]])


def test_the_digest_follows_contents_not_places(camvid, tmp_path):
    first = CamVid().open(camvid).digest("train")
    moved = camvid.rename(tmp_path / "moved")
    again = CamVid().open(moved)
    assert again.digest("train") == first
    before = again.digest("train"), again.digest("select"), again.listing("train")
    assert before[0] != before[1]
    file = moved / "camvid" / "train" / "01_a.png"
    put(file.parent, file.name, np.full((2, 2, 3), 9))
    changed = CamVid().open(moved)
    assert changed.digest("train") != before[0]
    assert changed.digest("select") == before[1]
    assert changed.listing("train") != before[2]


def test_a_store_says_how_its_files_were_decoded(camvid, tmp_path):
    assert open_role(CamVid(), "train", camvid, tmp_path).decoding == DECODING
    assert open_role(Streets(size=(32, 32), counts={"train": 2}), "train", None, tmp_path).decoding is None


def test_a_file_that_is_edited_under_its_old_time_and_size_shows(camvid, tmp_path):
    file = camvid / "camvid" / "trainannot" / "01_a.png"
    before = open_role(CamVid(), "train", camvid, tmp_path / "cache")
    status, content = file.stat(), file.read_bytes()
    put(file.parent, file.name, [[1, 0], [2, 11]])
    assert file.stat().st_size == status.st_size
    assert file.read_bytes() != content
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = open_role(CamVid(), "train", camvid, tmp_path / "cache")
    assert after.digest != before.digest
    np.testing.assert_array_equal(after.get(0)[1], [[1, 0], [2, 255]])


def test_a_folder_maps_and_ignores_ids(folder):
    put(folder / "labels", "city0_0.png", [[7, 8, 3]])
    for i in range(1, 10):
        put(folder / "labels", f"city{i // 2}_{i}.png", [[7, 7, 255]])
    source = mine(ids={7: 0, 8: 1}, ignore=(3,)).open(folder)
    role = "train" if "city0_0" in source.ids("train") else "select"
    np.testing.assert_array_equal(source.read(role, "city0_0")[1], [[0, 1, 255]])
    with pytest.raises(InputError, match=r"city0_0.png holds the id 3, allowed are 7 to 8, 255"):
        mine(ids={7: 0, 8: 1}).open(folder).read(role, "city0_0")


def test_a_folder_matches_names_by_suffix_and_subfolder(tmp_path):
    for city in ("bonn", "ulm"):
        put(tmp_path / "left" / city, f"{city}_1_left.png", np.zeros((1, 2, 3)))
        put(tmp_path / "fine" / city, f"{city}_1_ids.png", [[0, 1]])
        put(tmp_path / "fine" / city, f"{city}_1_color.png", np.zeros((1, 2, 3)))
    where = {"images": "left", "labels": "fine", "image_suffix": "_left", "label_suffix": "_ids"}
    source = mine(folders={"train": where, "select": {"from_train": 0.5}}, group="^([^/]+)/").open(tmp_path)
    assert sorted(source.ids("train") + source.ids("select")) == ["bonn/bonn_1", "ulm/ulm_1"]
    assert source.group("ulm/ulm_1") == "ulm"


def test_select_is_carved_out_of_train_by_whole_groups(folder):
    config = mine(group="^([^_]+)_", folders={"train": {"images": "images", "labels": "labels"},
                                              "select": {"from_train": 0.4, "seed": 1}})  # fmt: skip
    source = config.open(folder)
    train, select = source.ids("train"), source.ids("select")
    assert len(select) == 4
    assert sorted(train + select) == [f"city{i // 2}_{i}" for i in range(10)]
    assert not {source.group(i) for i in train} & {source.group(i) for i in select}
    assert config.open(folder).ids("select") == select
    with pytest.raises(InputError, match=r"folders\.test is not set"):
        source.ids("test")


def test_a_group_pattern_that_does_not_match_is_found_before_decoding(folder):
    with pytest.raises(InputError, match=r"group='\^\(town\)' does not match the image id 'city0_0'"):
        mine(group="^(town)").open(folder)


def test_a_split_needs_two_groups_and_leaves_some_for_training():
    assert len(set_aside(["a_1", "b_1"], Split(from_train=0.01), None)) == 1
    assert len(set_aside(["a_1", "b_1"], Split(from_train=0.99), None)) == 1
    assert len(set_aside([str(i) for i in range(50)], Split(from_train=0.2), None)) == 10
    with pytest.raises(InputError, match="whole groups"):
        set_aside(["a_1", "a_2"], Split(), "^(a)_")
    with pytest.raises(InputError, match=r"group='\^\(b\)' does not match the image id 'a_1'"):
        set_aside(["a_1", "b_2"], Split(), "^(b)")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"classes": ("a", "a")}, "repeat"),
        ({"colors": ("#ff0000",)}, "one per class"),
        ({"colors": ("#ff0000", "red")}, "red"),
        ({"ids": {7: 0}}, "no file id to the class 'b'"),
        ({"ids": {7: 0, 8: 1, 9: 2}}, "classes end at 1"),
        ({"ids": {7: 0, 8: 1}, "ignore": (8,)}, "both a class and ignored"),
        ({"ids": {7: 0, 256: 1}}, "256"),
        ({"folders": {"train": {"images": "/data/images", "labels": "l"}}}, "relative to the data root"),
        ({"group": "city"}, "parentheses"),
        ({"group": "("}, "regular expression"),
        ({"folders": {"train": TRAIN, "test": {"images": "i", "labels": "m"}}}, "same images"),
    ],
)  # fmt: skip
def test_a_wrong_folder_config_is_refused(changes, says):
    content = {"classes": ("a", "b"), "folders": {"train": TRAIN}} | changes
    with pytest.raises(ValueError, match=says):
        Folder(**content)


def test_colorize_paints_classes_and_blackens_the_rest():
    palette = distinct_colors(20)
    assert len(set(palette)) == 20
    picture = colorize(np.array([[0, 19, 255]], dtype=np.uint8), palette)
    assert [tuple(pixel) for pixel in picture[0]] == [palette[0], palette[19], (0, 0, 0)]


def test_streets_open_without_a_data_root(tmp_path):
    images = open_role(Streets(counts={"train": 2}), "train", None, tmp_path)
    assert len(images) == 2


@pytest.mark.parametrize(
    ("data", "config_id", "folder"),
    [
        ({"name": "camvid"}, "df675205a36042b2", "report-df0110c734404e7fa9c4ab85387ff0ec"),
        (
            {
                "name": "folder",
                "classes": ["a", "b"],
                "folders": {
                    "train": {"images": "camvid/train", "labels": "camvid/trainannot"},
                    "report": {"images": "camvid/test", "labels": "camvid/testannot"},
                },
            },
            "d3d362b5a6d020fd",
            "report-cf78ebbac72b1f0da16f48487fb372a3",
        ),
    ],
)
def test_the_role_that_was_called_report_keeps_its_hashes(tmp_path, data, config_id, folder):
    """Ids of configs and names of folders of the version in which the role `test` was called `report`."""
    for role, name in enumerate(("train", "val", "test")):
        for i in range(3):
            put(tmp_path / "camvid" / name, f"{role}{i}_a.png", np.full((4, 6, 3), 10 * role + i))
            put(tmp_path / "camvid" / f"{name}annot", f"{role}{i}_a.png", np.full((4, 6), (10 * role + i) % 2))
    config = TrainConfig.parse({"data": data})
    assert config.config_id == config_id
    assert TrainConfig.parse(config.model_dump(mode="json")).config_id == config_id
    for role in ("test", "report"):
        assert open_role(config.data, role, tmp_path, tmp_path / "cache").folder.name == folder


@pytest.mark.parametrize("has_test", [True, False])
def test_folders_and_camvid_pass_the_bench(tmp_path, has_test):
    for role, name in enumerate(("train", "val", "test")):
        for i in range(3):
            put(tmp_path / name, f"{role}{i}_a.png", np.full((4, 6, 3), 10 * role + i))
            put(tmp_path / f"{name}annot", f"{role}{i}_a.png", np.full((4, 6), (10 * role + i) % 2))
    folders = {name: {"images": name, "labels": f"{name}annot"} for name in ("train", "test")[: 1 + has_test]}
    check_data({"name": "folder", "classes": ["a", "b"], "folders": folders}, tmp_path)
    check_data({"name": "camvid"}, tmp_path)


def test_a_folder_without_a_role_test_keeps_its_id():
    config = TrainConfig(
        data=Folder(classes=("a", "b"), folders={"train": {"images": "camvid/train", "labels": "camvid/trainannot"}})
    )
    assert not config.data.has_test
    assert config.config_id == "2feab921e4ea2274"
