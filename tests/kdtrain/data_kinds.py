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
