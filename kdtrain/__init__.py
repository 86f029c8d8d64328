"""Knowledge distillation for semantic segmentation: one reusable training function and all that it needs.

The names are imported when they are first used, so that `import kdtrain.x` does not import torch without need.
"""

from typing import TYPE_CHECKING

from kdtrain.lazy_names import lazily

if TYPE_CHECKING:
    from kdtrain.config import Machine, TrainConfig
    from kdtrain.errors import InputError
    from kdtrain.loop.reports import EpochReport, TrainResult
    from kdtrain.loop.trainer import train
    from kdtrain.version import __version__

__all__ = ["EpochReport", "InputError", "Machine", "TrainConfig", "TrainResult", "__version__", "train"]

_MODULES = {
    "EpochReport": "kdtrain.loop.reports",
    "InputError": "kdtrain.errors",
    "Machine": "kdtrain.config",
    "TrainConfig": "kdtrain.config",
    "TrainResult": "kdtrain.loop.reports",
    "__version__": "kdtrain.version",
    "train": "kdtrain.loop.trainer",
}

__getattr__, __dir__ = lazily(__name__, _MODULES)
