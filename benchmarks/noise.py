"""The noise of scores over seeds: the last mIoU, the mean of the last evaluations, and both on averaged weights.

    python benchmarks/noise.py --out noise.jsonl

Trains configs of some studies of a spec (published weights), the default of each study and random ones from its space,
on several seeds, the same for all, through the loop of the product, and evaluates after every epoch the weights as they
are and their moving averages. A training is a line of the file; those that are there are not repeated.

Then prints for each score, at a rung and at the end: its mean; its standard deviation over the seeds of a config; that
of the difference between two configs on the same seed, which decides a search, because all its trials share a seed; and
the regret of choosing by it. For the regret, each score chooses on one seed the best of every `CHOICES` configs, and
pays how far the mean of the chosen one over the other seeds lies below the best such mean (last evaluation, weights as
they are). Standard deviations have 95 % intervals for normal scores, ratios by bootstrap over seeds, regrets a standard
error over seeds.
"""

import argparse
import itertools
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
from kdtrain.loop.run_files import STUDENT
from kdtrain.loop.run_folder import RunFolder
from kdtrain.loop.setup import Run, build
from kdtrain.loop.trainer import Trainer
from kdtrain.runtime.process_group import ProcessGroup
from kdtrain.runtime.random_streams import derive
from kdtrain.teacher import read_card
from sweeps.driver.samplers.by_optuna import RandomSampler
from sweeps.spec.spec import SweepSpec, load_spec

RAW = "weights as they are"
CHOICES = 4
Curves = dict[str, list[float]]
"""mIoU after every epoch, by the weights that were evaluated."""
Floats = np.ndarray[Any, np.dtype[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, default=Path(__file__).parents[1] / "sweeps/specs/demo.yaml")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of data sets")
    parser.add_argument("--teacher", type=Path, help="where the teacher lies or is fitted; default: beside --out")
    parser.add_argument("--studies", nargs="+", default=["none", "kd", "cwd"])
    parser.add_argument("--draws", type=int, default=2, help="random configs of each study, beside its default")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--half-lives", type=float, nargs="+", default=[0.5], help="in epochs")
    parser.add_argument("--at", type=int, nargs="+", default=[3, 6, 12], help="the epochs at which scores are compared")
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
    print(table(lines, options.at, options.last))


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
        done = {(line["config"], line["seed"]) for line in map(json.loads, options.out.read_text().splitlines())}
    for seed, name, draw in itertools.product(range(options.seeds), options.studies, range(options.draws + 1)):
        if (f"{name}-{draw}", seed) in done:
            continue
        study = spec.study(name)
        params = RandomSampler().propose(name, spec.space_of(study), (), derive(0, name, draw)) if draw else {}
        config = spec.config_for(study, params, seed=seed, teacher=digest)
        curves = curves_of(config, machine, options.half_lives)
        with options.out.open("a") as file:
            file.write(json.dumps({"config": f"{name}-{draw}", "seed": seed, "curves": curves}) + "\n")


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


def table(lines: list[Mapping[str, Any]], at: list[int], last: int) -> str:
    """A table in Markdown, over the seeds that all configs have: for each epoch a row for each score."""
    configs = sorted({line["config"] for line in lines})
    curves = {(line["config"], line["seed"]): line["curves"] for line in lines}
    seeds = [seed for seed in sorted({seed for _, seed in curves}) if all((each, seed) in curves for each in configs)]

    def scores(weights: str, epoch: int, window: int) -> Floats:
        """In points, `(configs, seeds)`."""
        shown = slice(max(0, epoch - window), epoch)
        values = [[curves[config, seed][weights][shown] for seed in seeds] for config in configs]
        return np.array(100 * np.mean(values, axis=2), dtype=np.float64)

    n, m = len(configs), len(seeds)
    truth = scores(RAW, len(curves[configs[0], seeds[0]][RAW]), 1)
    columns = (
        "epoch",
        "weights",
        "score",
        "mean",
        "sd over seeds",
        "sd of a difference",
        "of the first row's",
        "regret",
    )
    rows = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for epoch in at:
        first = scores(RAW, epoch, 1)
        for weights, window in itertools.product(lines[0]["curves"], (1, last)):
            of = scores(weights, epoch, window)
            cells = [str(epoch), weights, "last" if window == 1 else f"mean of the last {window}", f"{of.mean():.2f}"]
            cells.append(with_interval(sd_over_seeds(of), n * (m - 1)))
            cells.append(with_interval(sd_of_difference(of), (n - 1) * (m - 1)))
            cells += [ratio(of, first), regret(of, truth)]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([*rows, f"\n{', '.join(configs)}; {m} seeds"])


def regret(scores: Floats, truth: Floats) -> str:
    """The mean over seeds and choices, with its standard error over seeds; both arrays are `(configs, seeds)`."""
    seeds = scores.shape[1]
    by_seed = []
    for seed in range(seeds):
        means = np.delete(truth, seed, axis=1).mean(axis=1)
        sets = map(list, itertools.combinations(range(len(means)), CHOICES))
        by_seed.append(np.mean([means[each].max() - means[each][scores[each, seed].argmax()] for each in sets]))
    return f"{np.mean(by_seed):.2f} ± {np.std(by_seed, ddof=1) / math.sqrt(seeds):.2f}"


def sd_over_seeds(scores: Floats) -> float:
    """The standard deviation over seeds within a config, pooled; `scores` is `(configs, seeds)`."""
    return math.sqrt(scores.var(axis=1, ddof=1).mean())


def sd_of_difference(scores: Floats) -> float:
    """The same of the difference between two configs on a seed, pooled over all pairs."""
    rest = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0, keepdims=True) + scores.mean()
    configs, seeds = scores.shape
    return math.sqrt(2 * (rest**2).sum() / ((configs - 1) * (seeds - 1)))


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
