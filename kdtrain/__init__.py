"""Knowledge distillation for semantic segmentation: one reusable training function and all that it needs."""

from kdtrain.config import Machine, TrainConfig
from kdtrain.errors import InputError
from kdtrain.loop.reports import EpochReport, TrainResult
from kdtrain.loop.trainer import train
from kdtrain.version import __version__

__all__ = ["EpochReport", "InputError", "Machine", "TrainConfig", "TrainResult", "__version__", "train"]
