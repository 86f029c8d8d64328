"""Pictures of what the networks of a sweep predict, beside the truth."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kdtrain import Machine
from kdtrain.data import DataConfig, Images, colorize, open_role
from kdtrain.data.palette import color_text
from kdtrain.loop.evaluate import load_batch, predict
from kdtrain.runtime.atomic_files import write_atomically
from kdtrain.teacher import load_model

COUNT = 4


def draw_predictions(
    folder: Path,
    data: DataConfig,
    machine: Machine,
    models: Mapping[str, Path],
    eval_scale: float,
) -> None:
    """Write `folder/index.json` and, beside it, PNGs of a few images of the select role spread over the set.

    Args:
        folder: Where to; `D/predictions`.
        data: The data.
        machine: Where they lie.
        models: Model folders by the column that their predictions make: `teacher`, `baseline`, `best`. An encoder that
            knows no classes makes none.
        eval_scale: Factor on the images before the networks, as at evaluation.
    """
    images = open_role(data, "select", machine.data_root, machine.cache)
    loaded = {name: load_model(path)[1] for name, path in models.items()}
    networks = {name: network for name, network in loaded.items() if not network.classless}
    entries = []
    folder.mkdir(parents=True, exist_ok=True)
    for index in spread(len(images), COUNT):
        pixels, labels = load_batch(images, [index], torch.device("cpu"))
        truth = labels[0].numpy()
        pictures = {"image": (pixels[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)}
        pictures["truth"] = colorize(truth, images.palette)
        for name, network in networks.items():
            with torch.inference_mode():
                predicted = predict(network.logits, pixels, eval_scale)
            pictures[name] = colorize(predicted[0].numpy().astype(np.uint8), images.palette)
        files = {}
        for name, picture in pictures.items():
            files[name] = f"{index:05d}-{name}.png"
            Image.fromarray(picture).save(folder / files[name], optimize=True)
        entries.append({"image_id": images.ids[index], "files": files})
    write_atomically(folder / "index.json", json.dumps({"images": entries, "labels": legend(images)}).encode())


def spread(total: int, count: int) -> list[int]:
    """`count` indices, or all, evenly spread over `total`."""
    return sorted({round((i + 0.5) * total / count - 0.5) for i in range(count)} & set(range(total)))


def legend(images: Images) -> list[dict[str, str]]:
    """Classes with their colors."""
    return [
        {"class": name, "color": color_text(color)} for name, color in zip(images.classes, images.palette, strict=True)
    ]
