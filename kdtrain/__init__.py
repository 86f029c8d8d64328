"""Knowledge distillation for semantic segmentation: one reusable training function and all that it needs."""

from kdtrain.config import Machine, TrainConfig
from kdtrain.errors import InputError
from kdtrain.progress import EpochReport, TrainResult
from kdtrain.train import train

__all__ = ["EpochReport", "InputError", "Machine", "TrainConfig", "TrainResult", "train"]
