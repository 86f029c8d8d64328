"""The published data sets, on small trees in their official layouts."""

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter

from kdtrain import InputError, TrainConfig
from kdtrain.data import (
    ADE20K,
    VOC,
    CamVidFull,
    Cityscapes,
    DataConfig,
    ade20k,
    camvid,
    cityscapes,
    open_role,
    voc,
)
from kdtrain.testing import check_data

torch.set_num_threads(1)


def put(file, array, palette=None):
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(array, dtype=np.uint8))
    if palette is not None:
        image.putpalette([value for color in palette for value in color])
        assert image.mode == "P"
    image.save(file)


PIXELS = np.random.default_rng(0)


def photo(height=2, width=3):
    """Another picture in every call."""
    return PIXELS.integers(256, size=(height, width, 3))


@pytest.fixture
def cities(tmp_path):
    root = tmp_path / "data"
    for split, names in (("train", ["aachen", "bremen", "ulm"]), ("val", ["lindau"])):
        for city in names:
            for frame in range(2):
                name = f"{city}/{city}_00000{frame}_000019"
                put(root / f"cityscapes/leftImg8bit/{split}/{name}_leftImg8bit.png", photo())
                labels = root / f"cityscapes/gtFine/{split}/{name}_gtFine"
                put(labels.with_name(labels.name + "_labelIds.png"), [[7, 33, 0], [26, 255, 9]])
                put(labels.with_name(labels.name + "_color.png"), photo())
                put(labels.with_name(labels.name + "_instanceIds.png"), [[7, 33, 0], [26, 255, 9]])
                labels.with_name(labels.name + "_polygons.json").write_text("{}")
    return root


@pytest.fixture
def pascal(tmp_path):
    root = tmp_path / "data" / "VOCdevkit" / "VOC2012"
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    train, val, sbd = [f"2007_{i:06d}" for i in range(10)], ["2008_000001"], [f"2009_{i:06d}" for i in range(5)]
    for name in (*train, *val, *sbd, "2010_000009"):
        put(root / f"JPEGImages/{name}.jpg", photo())
    for name in (*train, *val):
        put(root / f"SegmentationClass/{name}.png", [[0, 1, 255], [20, 15, 0]], voc.COLORS)
    for name in (*train, *sbd):
        put(root / f"SegmentationClassAug/{name}.png", [[0, 1, 255], [20, 15, 0]])
    lists = root / "ImageSets" / "Segmentation"
    (lists / "train.txt").write_text("\n".join(train) + "\n")
    (lists / "val.txt").write_text("\n".join(val))
    augmented = (f"/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png" for name in (*train, *sbd))
    (lists / "train_aug.txt").write_text("\n".join(augmented))
    return root


@pytest.fixture
def ade(tmp_path):
    root = tmp_path / "data"
    for split, count in (("training", 10), ("validation", 2)):
        for i in range(1, count + 1):
            name = f"ADE_{'train' if split == 'training' else 'val'}_{i:08d}"
            put(root / f"ADEChallengeData2016/images/{split}/{name}.jpg", photo())
            put(root / f"ADEChallengeData2016/annotations/{split}/{name}.png", [[0, 1, 150], [2, 149, 255]])
    return root


def put_camvid(root, images, labels):
    colors = camvid.FULL_COLORS
    map_ = [[colors["Sky"], colors["Wall"], colors["Void"]], [colors["Truck_Bus"], colors["Animal"], colors["Sky"]]]
    for split, names in (("train", ["0001TP_a", "0006R0_b"]), ("val", ["0016E5_c"]), ("test", ["Seq05VD_d"])):
        for name in names:
            put(root / images / f"{name}.png", photo())
            put(root / labels / f"{name}_L.png", map_)
        (root / f"{split}.txt").write_text(
            "".join(f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png\n" for name in names)
        )
    put(root / images / "0001TP_unlisted.png", photo())


@pytest.fixture
def stills(tmp_path):
    root = tmp_path / "data"
    put_camvid(root / "camvid", "701_StillsRaw_full", "LabeledApproved_full")
    return root


@pytest.mark.parametrize(
    ("tree", "data"),
    [
        ("cities", {"name": "cityscapes"}),
        ("cities", {"name": "cityscapes", "cities": ["ulm"]}),
        ("pascal", {"name": "voc"}),
        ("pascal", {"name": "voc", "sbd": True}),
        ("ade", {"name": "ade20k"}),
        ("stills", {"name": "camvid_full"}),
        ("stills", {"name": "camvid_full", "classes": 32}),
    ],
)
def test_every_published_data_set_passes_the_bench(tree, data, request, tmp_path):
    request.getfixturevalue(tree)
    check_data(data, tmp_path / "data")


def test_cityscapes_maps_ids_and_sets_cities_aside(cities, tmp_path):
    source = Cityscapes(cities=("bremen",)).open(cities)
    assert source.ids("train") == tuple(f"{c}/{c}_00000{i}_000019" for c in ("aachen", "ulm") for i in range(2))
    assert source.ids("select") == ("bremen/bremen_000000_000019", "bremen/bremen_000001_000019")
    assert source.ids("test") == ("lindau/lindau_000000_000019", "lindau/lindau_000001_000019")
    assert source.group("bremen/bremen_000000_000019") == "bremen"
    np.testing.assert_array_equal(source.read("train", source.ids("train")[0])[1], [[0, 18, 255], [13, 255, 255]])
    images = open_role(Cityscapes(), "select", cities, tmp_path / "cache")
    assert len(images) == 2
    assert len(set(images.groups)) == 1
    assert Cityscapes().open(cities / "cityscapes").ids("select") == images.ids


def test_cityscapes_cities_are_known_ones_and_not_all(cities):
    with pytest.raises(InputError, match="there is no city bonn; known: aachen, bremen, ulm"):
        Cityscapes(cities=("bonn",)).open(cities)
    with pytest.raises(InputError, match="takes all 3 cities"):
        Cityscapes(cities=("ulm", "bremen", "aachen")).open(cities)


def test_cityscapes_has_the_official_ids():
    assert len(cityscapes.CLASSES) == len(cityscapes.COLORS) == len(cityscapes.LABEL_IDS) == 19
    assert len(cityscapes.VOID) == 15
    named = dict(zip(cityscapes.CLASSES, cityscapes.LABEL_IDS, strict=True))
    assert [named[name] for name in ("road", "building", "pole", "rider", "train", "bicycle")] == [
        7,
        11,
        17,
        25,
        31,
        33,
    ]


def test_voc_reads_palette_images_as_indices(pascal, tmp_path):
    data = pascal.parent.parent
    source = VOC().open(data)
    assert len(source.ids("train")) == 8
    assert len(source.ids("select")) == 2
    assert source.ids("test") == ("2008_000001",)
    images = open_role(VOC(), "train", data, tmp_path / "cache")
    np.testing.assert_array_equal(images.get(0)[1], [[0, 1, 255], [20, 15, 0]])
    assert VOC(select={"seed": 3}).open(data).ids("select") != source.ids("select")
    assert VOC().open(pascal).ids("train") == source.ids("train")


def test_voc_with_sbd_trains_on_its_list(pascal):
    source = VOC(sbd=True, select={"from_train": 0.4}).open(pascal.parent.parent)
    names = (*source.ids("train"), *source.ids("select"))
    assert len(source.ids("select")) == 6
    assert sorted(names) == [*(f"2007_{i:06d}" for i in range(10)), *(f"2009_{i:06d}" for i in range(5))]
    assert source.ids("test") == ("2008_000001",)


def test_voc_never_trains_on_val(pascal):
    lists = pascal / "ImageSets" / "Segmentation"
    with (lists / "train_aug.txt").open("a") as file:
        file.write("\n2008_000001")
    with pytest.raises(InputError, match=r"1 images of VOC's val, which must stay unseen: 2008_000001"):
        VOC(sbd=True).open(pascal.parent.parent)
    (lists / "train_aug.txt").unlink()
    with pytest.raises(InputError, match=r"has no list .*train_aug.txt; put there the list"):
        VOC(sbd=True).open(pascal.parent.parent)


def test_voc_names_what_is_missing(pascal, tmp_path):
    for name in ("2007_000001", "2007_000003"):
        (pascal / "SegmentationClass" / f"{name}.png").unlink()
    with pytest.raises(InputError, match=r"lacks label maps: 2 of the 10 listed are not in .*Class: 2007_000001, "):
        VOC().open(pascal.parent.parent)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"'voc' are not there: looked for ImageSets/Segmentation in .*data get voc"):
        VOC().open(tmp_path / "empty")


def test_voc_has_the_official_palette():
    """Bit by bit, as in the development kit: bit j of the id is bit 7 - j // 3 of red, green, blue in turn."""
    for index, color in enumerate(voc.COLORS):
        bits = [[(index >> (3 * j + channel) & 1) << (7 - j) for j in range(3)] for channel in range(3)]
        assert color == tuple(map(sum, bits))
    assert len(voc.CLASSES) == len(voc.COLORS) == 21
    assert voc.CLASSES[15] == "person"


def test_ade20k_ignores_zero_and_counts_from_it(ade, tmp_path):
    source = ADE20K().open(ade)
    assert len(source.ids("train")) == 9
    assert len(source.ids("select")) == 1
    assert source.ids("test") == ("ADE_val_00000001", "ADE_val_00000002")
    np.testing.assert_array_equal(source.read("test", "ADE_val_00000001")[1], [[255, 0, 149], [1, 148, 255]])
    assert len(open_role(ADE20K(), "train", ade, tmp_path / "cache")) == 9
    put(ade / "ADEChallengeData2016/annotations/validation/ADE_val_00000002.png", [[151, 0, 0], [0, 0, 0]])
    with pytest.raises(InputError, match="holds the id 151, allowed are 0 to 150, 255"):
        source.read("test", "ADE_val_00000002")


def test_ade20k_has_150_classes():
    assert len(ade20k.CLASSES) == len(set(ade20k.CLASSES)) == len(ade20k.COLORS) == 150
    assert (ade20k.CLASSES[0], ade20k.CLASSES[12], ade20k.CLASSES[149]) == ("wall", "person", "flag")


def test_camvid_groups_its_colors(stills, tmp_path):
    source = CamVidFull().open(stills)
    assert source.ids("train") == ("0001TP_a", "0006R0_b")
    assert (source.ids("select"), source.ids("test")) == (("0016E5_c",), ("Seq05VD_d",))
    assert source.group("0016E5_c") == "0016E5"
    names = source.classes
    expected = [[names.index("Sky"), names.index("Building"), 255],
                [names.index("Car"), names.index("Pedestrian"), names.index("Sky")]]  # fmt: skip
    images = open_role(CamVidFull(), "train", stills, tmp_path / "cache")
    np.testing.assert_array_equal(images.get(0)[1], expected)


@pytest.mark.parametrize(("count", "void"), [(31, 255), (32, 30)])
def test_camvid_with_all_its_colors(stills, count, void):
    source = CamVidFull(classes=count).open(stills)
    assert len(source.classes) == len(source.palette) == count
    _, labels = source.read("train", "0001TP_a")
    assert labels[0, 2] == void
    for place, name in (((0, 0), "Sky"), ((0, 1), "Wall"), ((1, 0), "Truck_Bus")):
        assert source.classes[labels[place]] == name
        assert source.palette[labels[place]] == camvid.FULL_COLORS[name]
    digests = {CamVidFull(classes=classes).open(stills).digest("train") for classes in (11, 31, 32)}
    assert len(digests) == 3


@pytest.mark.parametrize("folders", [("images", "labels"), ("images/701_StillsRaw_full", "labels")])
def test_camvid_in_its_other_layouts(tmp_path, folders):
    put_camvid(tmp_path / "camvid_full", *folders)
    assert CamVidFull().open(tmp_path).ids("train") == ("0001TP_a", "0006R0_b")


def test_every_color_of_camvid_has_one_group():
    members = [member for group in camvid.GROUPED.values() for member in group]
    assert sorted([*members, "Void"]) == sorted(camvid.FULL_COLORS)
    assert len(set(camvid.FULL_COLORS.values())) == 32
    assert tuple(camvid.GROUPED) == camvid.CLASSES


def break_lists(root):
    (root / "val.txt").unlink()
    return r"role select has no list of its images: looked for .*val.txt; the lists of the SegNet tutorial"


def break_overlap(root):
    (root / "val.txt").write_text("0016E5_c\n0006R0_b\n")
    return r"give 0006R0_b to train and to select"


def break_twice(root):
    (root / "train.txt").write_text("0001TP_a\n0001TP_a\n")
    return r"lists 0001TP_a twice in .*train.txt"


def break_empty(root):
    (root / "train.txt").write_text("\n")
    return r"empty list"


def break_missing(root):
    (root / "LabeledApproved_full" / "0006R0_b_L.png").unlink()
    return r"lacks label maps: 1 of the 2 listed are not in .*LabeledApproved_full: 0006R0_b_L"


def break_color(root):
    put(root / "LabeledApproved_full" / "0006R0_b_L.png", [[[1, 2, 3]] * 3] * 2)
    return r"0006R0_b_L.png holds the color #010203, which stands for no class"


def break_mode(root):
    put(root / "LabeledApproved_full" / "0006R0_b_L.png", [[1, 2, 3]] * 2)
    return r"0006R0_b_L.png must be in colors .* got the mode L"


def break_both(root):
    for file in ("701_StillsRaw_full/0006R0_b.png", "LabeledApproved_full/0006R0_b_L.png"):
        (root / file).write_bytes(b"nothing")
    return r"cannot read the image file .*0006R0_b.png.*; cannot read the image file .*0006R0_b_L.png"


@pytest.mark.parametrize(
    "broken",
    [break_lists, break_overlap, break_twice, break_empty, break_missing, break_color, break_mode, break_both],
)
def test_wrong_trees_are_named_in_one_sentence(stills, tmp_path, broken):
    says = broken(stills / "camvid")
    with pytest.raises(InputError, match=says) as caught:
        open_role(CamVidFull(), "train", stills, tmp_path / "cache")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cityscapes", r"leftImg8bit in .*cityscapes or .*www\.cityscapes-dataset\.com"),
        ("ade20k", r"annotations in .*ADEChallengeData2016.* unpack ADEChallengeData2016.zip"),
        ("camvid_full", r"701_StillsRaw_full or .*701_StillsRaw_full.zip"),
    ],
)
def test_a_data_set_that_is_not_there_says_how_to_get_it(tmp_path, name, says):
    config = TypeAdapter(DataConfig).validate_python({"name": name})
    assert config.has_test
    with pytest.raises(InputError, match=says):
        config.open(tmp_path)


def test_configs_name_no_path(tmp_path):
    for name in ("cityscapes", "voc", "ade20k", "camvid_full"):
        config = TrainConfig.parse({"data": {"name": name}})
        assert TrainConfig.model_validate_json(config.model_dump_json()) == config
