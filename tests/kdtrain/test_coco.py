"""Annotations in the form of COCO become the same store as label maps in folders."""

import json
import tracemalloc

import numpy as np
import pytest
from data_kinds import CLASSES, as_coco, as_folder, as_panoptic, coco, label_map, photo, put, rectangle
from PIL import ExifTags, Image
from pydantic import ValidationError

from kdtrain.data import Coco, Folder, open_data, open_role, parse_data
from kdtrain.data.coco import coco as coco_data
from kdtrain.data.coco.annotations import read_annotations
from kdtrain.data.coco.drawing import Drawing, Shape, drawing_of, mask_of
from kdtrain.data.store_index import IMAGES, LABELS
from kdtrain.errors import InputError
from kdtrain.testing import check_data

ROLES = {"train": range(7), "select": range(7, 10), "test": range(10, 12)}
MAKERS = {"runs": as_coco, "panoptic": as_panoptic}


def made(root, make=as_coco, roles=ROLES, **more):
    return {role: make(root, role, numbers, **more) for role, numbers in roles.items()}


def annotated(where, **changes):
    return Coco(**{"classes": CLASSES, "background": "background", "annotations": where} | changes)


def stored(config, role, root, cache):
    folder = open_role(config, role, root, cache).folder
    return (folder / IMAGES).read_bytes(), (folder / LABELS).read_bytes()


@pytest.mark.parametrize("kind", [*MAKERS, "polygons"])
def test_the_store_is_that_of_the_same_label_maps_in_folders(tmp_path, kind):
    if kind == "polygons":
        pytest.importorskip("pycocotools")
        where = made(tmp_path, by_polygons=True)
    else:
        where = made(tmp_path, MAKERS[kind])
    config = annotated(where)
    folder = Folder(classes=CLASSES, folders=made(tmp_path, as_folder))
    for role in ROLES:
        assert stored(config, role, tmp_path, tmp_path / "a") == stored(folder, role, tmp_path, tmp_path / "b")
    check_data(config, tmp_path)
    check_data(Coco.model_validate({**config.model_dump(), "carve": {"share": 0.5}}), tmp_path)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_changed_annotation_changes_listing_and_digest_of_its_role(tmp_path, kind):
    where = made(tmp_path, MAKERS[kind])
    before = open_data(annotated(where), tmp_path)
    listings, digests = ([of(role) for role in ROLES] for of in (before.listing, before.digest))
    file = tmp_path / "annotations/train.json"
    file.write_text(file.read_text().replace('"category_id": 30', '"category_id": 20', 1))
    after = open_data(annotated(where), tmp_path)
    assert [after.listing(role) != old for role, old in zip(ROLES, listings, strict=True)] == [True, False, False]
    assert [after.digest(role) != old for role, old in zip(ROLES, digests, strict=True)] == [True, False, False]
    other = annotated(where, ids={10: 0, 20: 2, 30: 1})
    assert open_data(other, tmp_path).listing("train") != after.listing("train")


def test_what_no_annotation_covers_is_background_or_ignored(tmp_path):
    where = made(tmp_path)
    source = open_data(annotated(where, classes=["road", "car"], background=None), tmp_path)
    expected = np.array([255, 0, 1], dtype=np.uint8)[np.asarray(label_map(0))]
    np.testing.assert_array_equal(source.read_labels("train", "00"), expected)


def test_categories_become_classes_by_name_or_by_id_and_others_are_refused(tmp_path):
    where = made(tmp_path)
    truth = np.asarray(label_map(0))

    def labels(**changes):
        return open_data(annotated(where, **changes), tmp_path).read_labels("train", "00")

    by_id = {"classes": ["car", "rest"], "background": "rest", "ids": {30: 0}}
    np.testing.assert_array_equal(labels(**by_id, ignore=[20]), np.array([1, 255, 0])[truth])
    np.testing.assert_array_equal(labels(**by_id, others="ignored"), np.array([1, 255, 0])[truth])
    skipped = np.where((truth == 2), 0, 1)
    np.testing.assert_array_equal(labels(**by_id, others="skipped"), skipped)
    with pytest.raises(InputError, match=r"has annotations of 20 \(road\), which no class stands for"):
        labels(**by_id)
    with pytest.raises(InputError, match=r"data.classes: bus is no category of .* are 10 \(background\), 20 \(road\)"):
        labels(classes=["background", "bus", "car"])
    with pytest.raises(InputError, match=r"has no category 31; its categories are"):
        labels(**{**by_id, "ids": {31: 0}}, others="skipped")


def test_the_masks_of_an_image_are_not_in_memory_at_the_same_time(tmp_path):
    side, count = 1000, 60
    outlines = [rectangle(10 * number, 10, 10 * number + 300, 400) for number in range(count)]
    shapes = [[f"the annotation {number}", number % 3, [outline]] for number, outline in enumerate(outlines)]
    drawing = Drawing(tmp_path, "image 1", side, side, json.dumps(shapes))
    tracemalloc.start()
    try:
        labels = drawing.labels(255, larger_first=True)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert labels[20, [5, 15, 25]].tolist() == [0, 1, 2]
    assert most < 8 * side**2  # bytes; a mask takes side**2


@pytest.mark.parametrize("change", [{"carve": {"share": 0.5}}, {}])
def test_annotations_from_which_select_is_carved_are_parsed_once(tmp_path, monkeypatch, change):
    calls = []
    monkeypatch.setattr(coco_data, "read_annotations", lambda file: calls.append(file) or read_annotations(file))
    where = {"train": as_coco(tmp_path, "train", range(8))}
    content = {"name": "coco", "classes": CLASSES, "background": CLASSES[0], "annotations": where, **change}
    source = open_data(parse_data(content), tmp_path)
    assert source.ids("train")
    assert source.ids("select")
    assert len(calls) == 1


def test_small_annotations_are_above_or_later_ones(tmp_path):
    where = made(tmp_path)
    file = tmp_path / "annotations/train.json"
    content = json.loads(file.read_text())
    whole = {"size": [48, 64], "counts": [0, 48 * 64]}
    content["annotations"].append({"id": 99, "image_id": 100, "category_id": 20, "segmentation": whole})
    file.write_text(json.dumps(content))
    read = [
        open_data(annotated(where, overlap=overlap), tmp_path).read_labels("train", "00")
        for overlap in ("larger_first", "file_order")
    ]
    assert set(np.unique(read[0])) == {1, 2}
    assert set(np.unique(read[1])) == {1}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.pop("categories"), r"has no list 'categories'"),
        (lambda c: c["categories"].clear(), r"has no categories, which say"),
        (lambda c: c["categories"].append(c["categories"][0]), r"two categories with the id 10"),
        (lambda c: c.update(images={}), r"has no list 'images'"),
        (lambda c: c.update(images=[3]), r"images must be a list of objects"),
        (lambda c: c["images"].append(c["images"][0]), r"two images with the id 100"),
        (lambda c: c["images"].append({**c["images"][0], "id": 5}), r"two images with the file_name '00.jpg'"),
        (lambda c: c["images"].append({**c["images"][0], "id": 5, "file_name": "x.jpg"}), r"lacks the image 'x.jpg'"),
        (
            lambda c: c["images"].append({**c["images"][0], "id": 5, "file_name": "./00.jpg"}),
            r"two images for the file",
        ),
        (lambda c: c["images"][0].update(file_name="../00.jpg"), r"must have a file_name below its folder"),
        (lambda c: c["images"][0].update(file_name="."), r"must have a file_name below its folder"),
        (lambda c: [image.pop("id") for image in c["images"]], r"has two images with the id None"),
        (lambda c: c["images"][0].update(file_name="00.png"), r"lacks the image '00.png'"),
        (lambda c: c["images"][0].pop("height"), r"must have its height and width in pixels, got None"),
        (lambda c: c["images"][0].update(height=10**9, width=10**9), r"must have its height and width"),
        (lambda c: c["annotations"][0].update(image_id=3), r"the annotation 1 is of the image 3, which images"),
        (lambda c: c["annotations"][0].update(category_id=7), r"the annotation 1 has the category 7, which categories"),
        (lambda c: c["annotations"][0].update(category_id=[7]), r"has the category '\[7\]'"),
        (lambda c: c["annotations"][0].update(segments_info=[]), r"panoptic annotations; name the folder"),
    ],
)
def test_annotation_files_that_do_not_hold_together_are_refused(tmp_path, change, sentence):
    where = made(tmp_path, roles={"train": range(4)})
    file = tmp_path / where["train"]["file"]
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=sentence) as caught:
        open_data(annotated(where), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("segmentation", "sentence"),
    [
        ([], r"train.json: the annotation 1 has no segmentation, and a box"),
        (None, r"has no segmentation"),
        ([[1, 2, 3, 4]], r"must have polygons of at least three points"),
        ([[1, 2, 3, 4, 5, float("nan")]], r"must have polygons of at least three points"),
        ([[1, 2, 3, 4, 5, "6"]], r"must have polygons"),
        ([[10**400, 2, 3, 4, 5, 6]], r"must have polygons"),
        ([rectangle(0, 0, 66, 10)], r"a polygon outside of its image of 64x48 pixels, x = 66; clip"),
        ([rectangle(0, -3, 60, 10)], r"pixels, y = -3; clip"),
        ({"size": [64, 48], "counts": [0, 3072]}, r"run lengths of the size \[64, 48\], its image has \[48, 64\]"),
        ({"size": [48, 64], "counts": [0, 3071]}, r"run lengths of 3071 pixels, its image has 3072"),
        ({"size": [48, 64], "counts": [-1, 3073]}, r"damaged run lengths"),
        ({"size": [48, 64], "counts": "zz zz"}, r"damaged run lengths"),
        ({"size": [48, 64], "counts": "p"}, r"damaged run lengths"),
        ({"size": [48, 64]}, r"damaged run lengths"),
    ],
)
def test_segmentations_that_are_damaged_are_refused(tmp_path, segmentation, sentence):
    where = made(tmp_path, roles={"train": range(4), "select": range(4, 6)})
    file = tmp_path / where["train"]["file"]
    content = json.loads(file.read_text())
    content["annotations"][0]["segmentation"] = segmentation
    file.write_text(json.dumps(content))
    source = open_data(annotated(where), tmp_path)
    with pytest.raises(InputError, match=sentence) as caught:
        source.read("train", "00")
    assert "\n" not in str(caught.value)


def test_the_size_in_the_file_is_that_of_the_image(tmp_path):
    where = made(tmp_path, roles={"train": range(4), "select": range(4, 6)})
    file = tmp_path / where["train"]["file"]
    content = json.loads(file.read_text())
    content["images"][0]["height"] = 50
    content["annotations"] = []
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"00.jpg is 64x48 pixels, its label map .*train.json \(image 100\) 64x50"):
        open_data(annotated(where), tmp_path).read("train", "00")


def test_an_image_that_is_turned_is_said_as_labels_are_drawn_on_the_file(tmp_path):
    where = made(tmp_path, roles={"train": range(4), "select": range(4, 6)})
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    photo(0).save(tmp_path / "train/images/00.jpg", exif=exif)
    source = open_data(annotated(where), tmp_path)
    assert [source.is_silently_turned("train", f"{number:02d}") for number in range(2)] == [True, False]


def test_segments_that_the_file_does_not_describe_are_refused(tmp_path):
    where = made(tmp_path, as_panoptic)
    file = tmp_path / "annotations/train.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["segments_info"].pop()
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"00.png has the segments 140000, which .*train.json does not describe"):
        open_data(annotated(where), tmp_path).read("train", "00")
    (tmp_path / "panoptic/train/00.png").unlink()
    with pytest.raises(InputError, match=r"there is no PNG file '00.png' of '00.jpg'"):
        open_data(annotated(where), tmp_path)


def test_damaged_or_missing_files_are_refused(tmp_path):
    where = made(tmp_path, roles={"train": range(4)})
    file = tmp_path / where["train"]["file"]
    for content in (b"{", b"[" * 100_000, b"[]", b"\xff"):
        put(file, content)
        with pytest.raises(InputError, match=r"no whole JSON file|must hold one JSON object"):
            open_data(annotated(where), tmp_path)
    file.unlink()
    with pytest.raises(InputError, match=r"the role train has no annotations: looked for"):
        open_data(annotated(where), tmp_path)


def test_runs_and_polygons_are_drawn_as_the_api_of_coco_does():
    mask = pytest.importorskip("pycocotools.mask")
    drawn = np.zeros((48, 64), dtype=np.uint8)
    drawn[5:40:3, 2:50] = 1
    packed = mask.encode(np.asfortranarray(drawn))
    runs = {"size": packed["size"], "counts": packed["counts"].decode()}
    np.testing.assert_array_equal(mask_of(runs, 48, 64), drawn.astype(bool))
    polygons = [[3.5, 4, 30, 6.2, 12, 40], rectangle(40, 1, 60, 9)]
    expected = mask.decode(mask.merge(mask.frPyObjects(polygons, 48, 64)))
    np.testing.assert_array_equal(mask_of(polygons, 48, 64), expected.astype(bool))


def test_the_digest_of_a_drawing_holds_labels_and_shapes(tmp_path):
    shapes = [
        Shape("a", 1, [[0, 0, 1, 0, 1, 1]]),
        Shape("a", 2, [[0, 0, 1, 0, 1, 1]]),
        Shape("a", 1, [[0, 0, 1, 0, 2, 1]]),
    ]
    assert len({drawing_of(tmp_path, 1, (4, 4), [shape]).read_bytes() for shape in shapes}) == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"background": "sky"}, r"background must be one of the classes background, road, car, got 'sky'"),
        ({"ids": {1: 3}}, r"ids maps 1 to 3, but classes end at 2"),
        ({"ids": {1: 0}, "ignore": [1]}, r"category 1 is both a class and ignored"),
        ({"annotations": {"train": {"images": "a", "file": "a.xml"}}}, r"file is the JSON file"),
        ({"annotations": {"train": {"images": "a", "file": "../a.json"}}}, r"relative to the data root"),
        ({"palette": 1}, r"palette"),
    ],
)
def test_fields_that_do_not_fit_are_refused(changes, sentence):
    where = {"train": {"images": "a", "file": "a.json"}}
    with pytest.raises((ValidationError, InputError), match=sentence):
        parse_data({"name": "coco", "classes": CLASSES, "annotations": where} | changes)


def test_polygons_without_their_package_are_refused(tmp_path, monkeypatch):
    where = made(tmp_path, roles={"train": range(4), "select": range(4, 6)}, by_polygons=True)
    monkeypatch.setattr("kdtrain.data.coco.drawing.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package pycocotools: pip install 'kdsweep\[coco\]'"):
        open_data(annotated(where), tmp_path).read("train", "00")
    assert coco([0])["categories"][0]["name"] == "background"
