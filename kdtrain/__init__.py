"""Knowledge distillation for semantic segmentation: one reusable training function and all that it needs."""

from kdtrain.config import Machine, TrainConfig
from kdtrain.errors import InputError
from kdtrain.loop.reports import EpochReport, TrainResult
from kdtrain.loop.trainer import train

__all__ = ["EpochReport", "InputError", "Machine", "TrainConfig", "TrainResult", "train"]
