"""The sweep that a user would write around `train` with Ray Tune alone: no store, every trial asks its own teacher.

Called by `benchmarks/sweep.py`; `plain_tune.py TASK.json RESULT.json`.
"""

import json
import sys
import time
from pathlib import Path

import ray
from ray import tune

from kdtrain import EpochReport, Machine, TrainConfig, train


def trial(space: dict) -> None:
    def report(past: EpochReport) -> None:
        tune.report({"epoch": past.epoch, **past.metrics})

    train(TrainConfig.parse(space["config"]), Machine.model_validate(space["machine"]), report)


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    ray.init("local", num_cpus=task["slots"], include_dashboard=False, log_to_driver=False)
    begin = time.monotonic()
    space = {"config": tune.grid_search(task["configs"]), "machine": task["machine"]}
    storage = tune.RunConfig(storage_path=task["folder"], verbose=0)
    results = tune.Tuner(tune.with_resources(trial, {"cpu": 1}), param_space=space, run_config=storage).fit()
    found = [{"config": result.config["config"], "miou": result.metrics["miou"]} for result in results]
    Path(sys.argv[2]).write_text(json.dumps({"seconds": time.monotonic() - begin, "results": found}))


if __name__ == "__main__":
    main()
