"""What runs in a worker process: one trial, or the fitting of a teacher."""

import gc
import json
import traceback
from pathlib import Path
from typing import Any

import torch
from ray import tune

from kdtrain import EpochReport, Machine, TrainConfig, train
from kdtrain.errors import InputError


def run_trial(tune_config: dict[str, Any]) -> None:
    """Train the trial that an assignment describes, and tell the driver by `tune.report` how it goes.

    Tells `report` (an epoch's report), and at the end either `result` or `error`, as JSON, since Tune flattens what it
    understands. An error of the training code is told rather than raised, so that Tune fails a trial only when its
    process or node is lost.

    Args:
        tune_config: `assignment`, as JSON so that Tune reads nothing into it: `config`, `machine`, and `workdir`, the
            trial's folder.
    """
    _let_go()
    assignment = json.loads(tune_config["assignment"])

    def tell(**told: Any) -> None:
        tune.report({"told": json.dumps(told)})

    def listen(report: EpochReport) -> None:
        tell(report=report.to_dict())

    try:
        result = train(
            TrainConfig.parse(assignment["config"]),
            Machine.model_validate(assignment["machine"]),
            listen,
            Path(assignment["workdir"]),
        )
    except InputError as error:
        tell(error=str(error), trace="", permanent=True)
    except Exception as error:
        tell(error=f"{type(error).__name__}: {error}", trace=traceback.format_exc(), permanent=False)
    else:
        tell(result=result.to_dict())


def _let_go() -> None:
    """Give back the memory of the process's last trial, which may have been stopped in the middle."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
