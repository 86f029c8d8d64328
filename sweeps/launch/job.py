"""What runs in a worker process: one trial, or the fitting of a teacher."""

import json
import traceback
from pathlib import Path
from typing import Any

from ray import tune

from kdtrain import EpochReport, Machine, TrainConfig, train
from kdtrain.errors import InputError


def run_trial(tune_config: dict[str, Any]) -> None:
    """Train the trial that an assignment describes, and tell the driver by `tune.report` how it goes.

    Tells `report` (an epoch's report), and at the end either `result` or `error`. An error of the training code is told
    rather than raised, so that Tune fails a trial only when its process or node is lost.

    Args:
        tune_config: `assignment`, as JSON so that Tune reads nothing into it: `config`, `machine`, and `workdir`, the
            trial's folder.
    """
    assignment = json.loads(tune_config["assignment"])

    def tell(report: EpochReport) -> None:
        tune.report({"report": report.to_dict()})

    try:
        result = train(
            TrainConfig.parse(assignment["config"]),
            Machine.model_validate(assignment["machine"]),
            tell,
            Path(assignment["workdir"]),
        )
    except InputError as error:
        tune.report({"error": str(error), "trace": "", "permanent": True})
    except Exception as error:
        tune.report({"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc(), "permanent": False})
    else:
        tune.report({"result": result.to_dict()})
