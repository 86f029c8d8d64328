"""Trains a config and kills itself: in a step of an epoch, or while a checkpoint is being written.

Usage: killed_training.py CONFIG MACHINE WORKDIR (step|checkpoint) EPOCH
"""

import os
import signal
import sys
from pathlib import Path

from kdtrain import Machine, TrainConfig, train
from kdtrain.loop import epoch as progress
from kdtrain.loop import run_folder
from kdtrain.runtime import atomic_files

config, machine, workdir, where, epoch = *map(Path, sys.argv[1:4]), sys.argv[4], int(sys.argv[5])


def die(_descriptor: int = 0) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def save(folder: Path, number: int, state: dict[str, object], step: int) -> None:
    if number == epoch:
        atomic_files.os.fsync = die
    save_checkpoint(folder, number, state, step)


def report(past: object) -> None:
    if past.epoch == epoch - 1:
        progress.LossMeter.add = lambda meter, raw, weights: die()


if where == "checkpoint":
    save_checkpoint, run_folder.save_checkpoint = run_folder.save_checkpoint, save
train(
    TrainConfig.model_validate_json(config.read_text()),
    Machine.model_validate_json(machine.read_text()),
    report if where == "step" else None,
    workdir,
)
