"""Sweeps for knowledge distillation: from a spec to trials, tables, a report and the chosen config.

For use from Python::

    from sweeps import Sweep

    sweep = Sweep.from_yaml("sweeps/specs/demo.yaml", "runs/demo", {"budget.trials": 2})
    sweep.run(inline=True)
    config = sweep.best()

`load_spec`, `run_sweep` and `best_config` do the same as functions.

The names are imported when they are first used, so that `import sweeps.x` does not import everything.
"""

from typing import TYPE_CHECKING

from sweeps.packages import find_ours_first, hidden_package, in_ray_worker

if (_problem := hidden_package()) is not None:
    if not in_ray_worker():
        raise ImportError(_problem)
    find_ours_first()

from kdtrain.lazy_names import lazily

if TYPE_CHECKING:
    from sweeps.outcome.best_file import best_config
    from sweeps.run import run_sweep
    from sweeps.spec.spec import SweepSpec, load_spec
    from sweeps.sweep import Sweep

__all__ = ["Sweep", "SweepSpec", "best_config", "load_spec", "run_sweep"]

_MODULES = {
    "Sweep": "sweeps.sweep",
    "SweepSpec": "sweeps.spec.spec",
    "load_spec": "sweeps.spec.spec",
    "run_sweep": "sweeps.run",
    "best_config": "sweeps.outcome.best_file",
}

__getattr__, __dir__ = lazily(__name__, _MODULES)
