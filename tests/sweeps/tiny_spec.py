"""The smallest sweep of real trainings that tests of commands share."""

from typing import Any

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"name": "streets", "size": [32, 48], "counts": {"train": 8, "select": 4, "test": 1}},
    "student": {
        "arch": "FPN",
        "encoder": "tu-mobilenetv3_small_050",
        "options": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
    },
    "train": {"epochs": 1, "batch_size": 4},
}
