"""Small sweeps through Ray, where it is installed: one student per card, and as many as it takes."""

import importlib.util
import time

from gpu_rows.bench import NETWORKS, TEACHER, Bench

_NEEDED = ("ray", "optuna", "pyarrow", "pandas")


def sweep(bench: Bench) -> None:
    """Seconds of a sweep of eight trials."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        bench.row("a sweep", "s", None, f"{', '.join(missing)} not installed")
        return
    from sweeps.run import run_sweep
    from sweeps.spec.spec import parse_spec

    bench.make_teacher()
    for gpu in (1, 0.25, "auto") if bench.on_gpu else (0,):
        spec = {
            "name": "gpu",
            "data": bench.config("none").data.model_dump(mode="json"),
            "student": NETWORKS[bench.networks][0] | {"weights": "none"},
            "teacher": {"path": str(bench.folder / TEACHER)},
            "train": {
                "epochs": bench.epochs,
                "evaluate_every": bench.epochs,
                "batch_size": bench.batch,
                "augment": {"crop": list(bench.image)},
            },
            "units": "weight",
            "studies": ["kd"],
            "space": {"optimizer.lr": {"low": 0.005, "high": 0.05, "log": True}},
            "budget": {"trials": 8},
            "sampler": {"name": "random"},
            "confirm": {"top": 0},
            "purpose": "ablation",
            "resources": {"cpu": 1, "gpu": gpu},
        }
        begin = time.perf_counter()
        where = bench.machine(threads=1, teacher=None, cache=bench.folder / f"cache-{gpu}")
        run_sweep(parse_spec(spec), bench.folder / f"sweep-{gpu}", where)
        bench.row(f"8 trials, gpu: {gpu}", "s", time.perf_counter() - begin)
