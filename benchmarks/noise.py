"""The noise of scores over seeds: the last mIoU, the mean of the last evaluations, and both on averaged weights.

    python benchmarks/noise.py --out noise.jsonl

Trains the studies of a spec at their defaults (published weights) on several seeds, the same for all, through the loop
of the product, and evaluates after every epoch the weights as they are and their moving averages. A training is a line
of the file; those that are there are not repeated. Then prints, for each score, its mean, its standard deviation over
the seeds of a study, and that of the difference between two studies on the same seed, which decides a search: all its
trials share a seed. Each has a 95 % interval (of the ratio by bootstrap over seeds).
"""

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from kdtrain import Machine, TrainConfig, train
from kdtrain.loop.evaluate import evaluate
from kdtrain.loop.moving_average import MovingAverage
from kdtrain.loop.reports import EpochReport
from kdtrain.loop.run_folder import STUDENT, RunFolder
from kdtrain.loop.setup import Run, build
from kdtrain.loop.trainer import Trainer
from kdtrain.runtime.process_group import ProcessGroup
from kdtrain.teacher import read_card
from sweeps.spec.spec import SweepSpec, load_spec

RAW = "weights as they are"
Curves = dict[str, list[float]]
"""mIoU after every epoch, by the weights that were evaluated."""
Floats = np.ndarray[Any, np.dtype[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, default=Path(__file__).parents[1] / "sweeps/specs/demo.yaml")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of data sets")
    parser.add_argument("--teacher", type=Path, help="where the teacher lies or is fitted; default: beside --out")
    parser.add_argument("--studies", nargs="+", default=["none", "kd", "cwd"])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--half-lives", type=float, nargs="+", default=[0.25, 0.5, 1.0], help="in epochs")
    parser.add_argument("--last", type=int, default=3, help="evaluations of which a mean is taken")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    changes = {"units": "weight", "train.epochs": options.epochs, "train.evaluate_every": 1}
    spec = load_spec(options.spec, changes)
    machine = Machine(device="cpu", threads=1, data_root=options.data)
    machine = machine.model_copy(update={"teacher": teacher_of(spec, machine, options)})
    measure(spec, machine, options)
    lines = [json.loads(line) for line in options.out.read_text().splitlines()]
    print(table(lines, options.last))


def teacher_of(spec: SweepSpec, machine: Machine, options: argparse.Namespace) -> Path:
    """The folder of the teacher, which is fitted if it is not there."""
    folder: Path = options.teacher or options.out.with_suffix(".teacher") / STUDENT
    if not folder.is_dir():
        assert spec.teacher_config is not None
        train(spec.teacher_config, machine, workdir=folder.parent)
    return folder


def measure(spec: SweepSpec, machine: Machine, options: argparse.Namespace) -> None:
    """Train what the file lacks."""
    assert machine.teacher is not None
    digest = read_card(machine.teacher).digest
    done = set()
    if options.out.is_file():
        done = {(line["study"], line["seed"]) for line in map(json.loads, options.out.read_text().splitlines())}
    for seed in range(options.seeds):
        for name in options.studies:
            if (name, seed) in done:
                continue
            config = spec.config_for(spec.study(name), seed=seed, teacher=digest)
            curves = curves_of(config, machine, options.half_lives)
            with options.out.open("a") as file:
                file.write(json.dumps({"study": name, "seed": seed, "curves": curves}) + "\n")


def curves_of(config: TrainConfig, machine: Machine, half_lives: list[float]) -> Curves:
    """Train once, and evaluate several averages of the weights, which do not change the training."""
    run = build(config, machine, ProcessGroup())
    averages = {half_life: MovingAverage(run.student) for half_life in half_lives}
    curves: Curves = {RAW: [], **{title(half_life): [] for half_life in half_lives}}
    steps = 0

    def update(*_: object) -> None:
        nonlocal steps
        for half_life, average in averages.items():
            ema = config.ema.model_copy(update={"half_life": half_life})
            average.update(ema.decay(steps, run.steps_per_epoch))
        steps += 1

    def on_epoch(report: EpochReport) -> None:
        curves[RAW].append(report.metrics["miou"])
        for half_life, average in averages.items():
            with average.applied():
                curves[title(half_life)].append(miou_of(run))

    run.optimizer.register_step_post_hook(update)
    result = Trainer(run, RunFolder(None, config), on_epoch).run()
    assert result.state == "complete", result.reason
    return curves


def title(half_life: float) -> str:
    return f"average, half-life {half_life:g}"


def miou_of(run: Run) -> float:
    """The mIoU of the student as it is, on role select."""
    run.student.eval()
    per_batch, scale = run.config.images_per_evaluation, run.config.eval_scale
    miou = evaluate(run.student.logits, run.select_images, "select", per_batch, scale, run.device).miou
    assert miou is not None
    return miou


def table(lines: list[Mapping[str, Any]], last: int) -> str:
    """A table in Markdown: a row for each score."""
    studies, seeds = sorted({line["study"] for line in lines}), sorted({line["seed"] for line in lines})
    curves = {(line["study"], line["seed"]): line["curves"] for line in lines}
    rows = ["| weights | score | mean | sd over seeds | sd of a difference | of that of the first row |"]
    rows.append("| --- " * 6 + "|")
    first: Floats | None = None
    for weights in lines[0]["curves"]:
        for window, name in ((1, "last"), (last, f"mean of the last {last}")):
            scores = np.array(
                [[100 * np.mean(curves[study, seed][weights][-window:]) for seed in seeds] for study in studies]
            )
            first = scores if first is None else first
            n, m = len(studies), len(seeds)
            cells = [weights, name, f"{scores.mean():.2f}"]
            cells.append(with_interval(sd_over_seeds(scores), n * (m - 1)))
            cells.append(with_interval(sd_of_difference(scores), (n - 1) * (m - 1)))
            cells.append(ratio(scores, first))
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join([*rows, f"\n{', '.join(studies)}; {len(seeds)} seeds"])


def sd_over_seeds(scores: Floats) -> float:
    """The standard deviation over seeds within a study, pooled; `scores` is `(studies, seeds)`."""
    return math.sqrt(scores.var(axis=1, ddof=1).mean())


def sd_of_difference(scores: Floats) -> float:
    """The same of the difference between two studies on a seed, pooled over all pairs."""
    rest = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0, keepdims=True) + scores.mean()
    studies, seeds = scores.shape
    return math.sqrt(2 * (rest**2).sum() / ((studies - 1) * (seeds - 1)))


def with_interval(sd: float, freedom: int) -> str:
    """A standard deviation with its 95 % interval for normal scores."""
    low, high = (sd * math.sqrt(freedom / stats.chi2.ppf(share, freedom)) for share in (0.975, 0.025))
    return f"{sd:.2f} ({low:.2f} to {high:.2f})"


def ratio(scores: Floats, first: Floats, draws: int = 2000) -> str:
    """The standard deviation of a difference beside that of the first score, with an interval over seeds."""
    generator = np.random.default_rng(0)
    ways = generator.integers(scores.shape[1], size=(draws, scores.shape[1]))
    drawn = [sd_of_difference(scores[:, way]) / sd_of_difference(first[:, way]) for way in ways if len(set(way)) > 2]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{sd_of_difference(scores) / sd_of_difference(first):.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
