"""The same few images and label maps in every form in which a user may have them."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIZE = (48, 64)
CLASSES = ["background", "road", "car"]


def photo(number):
    return Image.fromarray(np.random.default_rng(number).integers(0, 255, (*SIZE, 3), dtype=np.uint8))


def label_map(number):
    labels = np.zeros(SIZE, dtype=np.uint8)
    labels[30:, :] = 1
    labels[20 : 36 + number, 4 * number : 4 * number + 16] = 2
    return Image.fromarray(labels)


def encoded(image, kind="PNG"):
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def pairs(numbers):
    return [(encoded(photo(number), "JPEG"), encoded(label_map(number))) for number in numbers]


def as_folder(root, role, numbers):
    for number, (image, label) in zip(numbers, pairs(numbers), strict=True):
        for place, content in ((f"{role}/images/{number:02d}.jpg", image), (f"{role}/labels/{number:02d}.png", label)):
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_bytes(content)
    return {"images": f"{role}/images", "labels": f"{role}/labels"}


def structs(contents):
    return pa.array([{"bytes": content, "path": None} for content in contents])


def table(numbers, image="image", label="annotation", **more):
    content = pairs(numbers)
    columns = {image: structs(c[0] for c in content), label: structs(c[1] for c in content)}
    return pa.table({**columns, "scene": [f"s{number}" for number in numbers], **more})


def put(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def as_parquet(root, role, numbers, per_file=3, **names):
    numbers = list(numbers)
    count = -(-len(numbers) // per_file)
    for shard in range(count):
        file = root / "data" / f"{role}-{shard:05d}-of-{count:05d}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table(numbers[shard * per_file :][:per_file], **names), file, row_group_size=2)
    return {"files": f"data/{role}-*.parquet"}


def as_saved(root, role, numbers):
    """What `save_to_disk` of the library datasets writes."""
    folder = root / "saved" / role
    folder.mkdir(parents=True)
    content = table(numbers)
    with (
        pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as out,
        pa.ipc.new_stream(out, content.schema) as to,
    ):
        to.write_table(content, max_chunksize=2)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (folder / "cache-0.arrow").write_bytes(b"left by map")
    return {"files": f"saved/{role}"}


def add(archive, name, content, **facts):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in facts.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(content))


def as_tar(root, role, numbers, label="label.png"):
    (root / "tars").mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / "tars" / f"{role}-000000.tar", "w") as archive:
        for number, (image, labels) in zip(numbers, pairs(numbers), strict=True):
            add(archive, f"{number:02d}.jpg", image)
            add(archive, f"{number:02d}.json", b"{}")
            add(archive, f"{number:02d}.{label}", labels)
    return {"files": f"tars/{role}-*.tar"}


def runs(mask):
    """Uncompressed run lengths of a mask, column by column."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def rectangle(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def coco(numbers, names=CLASSES, by_polygons=False):
    """The content of an annotation file for the label maps, with category ids 10, 20, ... as classes 0, 1, ..."""
    images, annotations = [], []
    for number in numbers:
        image_id = 100 + number
        images.append({"id": image_id, "file_name": f"{number:02d}.jpg", "height": SIZE[0], "width": SIZE[1]})
        labels = np.asarray(label_map(number))
        outlines = {1: rectangle(0, 30, 64, 48), 2: rectangle(4 * number, 20, min(64, 4 * number + 16), 36 + number)}
        for value in (2, 1):  # the car, which is above, comes first
            crowd = {"iscrowd": 1, "segmentation": runs(labels == value)}
            shape = {"iscrowd": 0, "segmentation": [outlines[value]]} if by_polygons else crowd
            entry = {"id": len(annotations) + 1, "image_id": image_id, "category_id": 10 * (value + 1)}
            annotations.append({**entry, "area": 1, **shape})
    categories = [{"id": 10 * (index + 1), "name": name} for index, name in enumerate(names)]
    return {"images": images, "categories": categories, "annotations": annotations}


def as_coco(root, role, numbers, **changes):
    images = as_folder(root, role, numbers)["images"]
    put(root / "annotations" / f"{role}.json", json.dumps(coco(numbers, **changes)).encode())
    return {"images": images, "file": f"annotations/{role}.json"}


def as_panoptic(root, role, numbers):
    images = as_folder(root, role, numbers)["images"]
    content = coco(numbers)
    content["annotations"] = []
    for image, number in zip(content["images"], numbers, strict=True):
        labels = np.asarray(label_map(number)).astype(int)
        ids = np.where(labels > 0, labels * 70000 + number, 0)
        colors = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
        put(root / "panoptic" / role / f"{number:02d}.png", encoded(Image.fromarray(colors)))
        segments = [{"id": value * 70000 + number, "category_id": 10 * (value + 1)} for value in (1, 2)]
        entry = {"image_id": image["id"], "file_name": f"{number:02d}.png", "segments_info": segments}
        content["annotations"].append(entry)
    put(root / "annotations" / f"{role}.json", json.dumps(content).encode())
    return {"images": images, "file": f"annotations/{role}.json", "segments": f"panoptic/{role}"}
