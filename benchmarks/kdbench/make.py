"""Train the tasks of kdbench through the product's own sweeps, and collect their tables.

    python benchmarks/kdbench/make.py run --dir runs/kdbench --task streets-a
    python benchmarks/kdbench/make.py collect --dir runs/kdbench --task streets-a

`run` goes on where it was interrupted. README.md says what the tasks are and how to add one.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from table import collect, write

HERE = Path(__file__).parent
TASKS = ["streets-a", "streets-b", "camvid"]


def run(task: str, folder: Path, options: list[str]) -> None:
    """Run or resume the sweep of a task as its own command, so that it frees its memory at its end."""
    spec, sweep = HERE / f"{task}.yaml", folder / task
    subprocess.run([sys.executable, "-m", "sweeps", "run", str(spec), "--dir", str(sweep), *options], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "collect"])
    parser.add_argument("--dir", type=Path, required=True, help="the folder of the sweeps, one folder for each task")
    parser.add_argument("--task", choices=TASKS, action="append", help="default: all tasks, in turn")
    parser.add_argument("--data", help="for camvid: the folder that holds the small camvid/ (shrink.py)")
    parser.add_argument("--weights", help="for camvid, without a hub: the folder of the encoders' ImageNet weights")
    options = parser.parse_args()
    for task in options.task or TASKS:
        if options.action == "run":
            given = [("--data", options.data), ("--weights", options.weights)]
            run(task, options.dir, [word for name, value in given if value for word in (name, value)])
        else:
            rows, spaces = collect(options.dir / task)
            trainings = len(rows.drop_duplicates(["study", "config", "seed"]))
            print(f"{task}: {trainings} trainings in {write(rows, spaces)}")


if __name__ == "__main__":
    main()
