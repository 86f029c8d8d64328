"""Trains a config on one thread and writes what came out.

Usage: replaying_training.py CONFIG MACHINE OUT
"""

import json
import sys
from pathlib import Path

import torch

from kdtrain import Machine, TrainConfig, train

torch.set_num_threads(1)
config, machine, out = map(Path, sys.argv[1:4])
result = train(TrainConfig.model_validate_json(config.read_text()), Machine.model_validate_json(machine.read_text()))
assert result.evaluation is not None
outcome = {
    "losses": [past.losses for past in result.reports],
    "miou": result.evaluation.miou,
    "asked": sum(past.asked for past in result.reports),
}
out.write_text(json.dumps(outcome))
