"""Whether the default ranges of every method hold a config that is as good as any.

    python benchmarks/ranges.py --dir runs/ranges --size 48x64

For each method 40 configs are trained from ranges that are ten times wider at both ends than the default ones (choices
stay as they are; the published config is the first). The two best of all and the two best within the default ranges
then train on fresh seeds, the same for all, and their means are compared: the fresh seeds have not chosen anything, so
a config is not preferred for its luck in the search. Of a method with three weights hardly any of the 40 lies within
the default ranges, so `--inside 40` trains as many from those ranges, too. Maps have a quarter of the height and width
of the images. All steps are sweeps of this project, which go on where they were interrupted; the first one fits the
teacher of all, if none is given. Prints a Markdown table.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from kdtrain.config import Machine
from kdtrain.errors import InputError
from kdtrain.methods import METHODS
from kdtrain.space import Domain, Range, contains
from sweeps import Sweep
from sweeps.check import check
from sweeps.spec.spec import SweepSpec

WIDER = 10.0
CHOSEN = 2

RECIPE: dict[str, Any] = {
    "student": {
        "arch": "DeepLabV3Plus",
        "encoder": "tu-mobilenetv3_small_050",
        "options": {"encoder_depth": 4, "decoder_channels": 32},
    },
    "teacher": {
        "fit": {
            "network": {
                "arch": "FPN",
                "encoder": "tu-resnet10t",
                "options": {"decoder_pyramid_channels": 64, "decoder_segmentation_channels": 32},
            },
            "epochs": 30,
            "evaluate_every": 10,
            "optimizer": {"lr": 0.01},
        }
    },
    "train": {
        "clip_norm": 5.0,
        "optimizer": {"name": "adamw", "lr": 0.02, "weight_decay": 0.01},
        "schedule": {"name": "poly", "warmup_epochs": 1},
    },
    "sampler": {"name": "sobol"},
    "scheduler": {"name": "none"},
    "resources": {"cpu": 1},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help="of the sweeps")
    parser.add_argument("--size", default="48x64", help="of the images, height x width")
    parser.add_argument("--images", type=int, default=64, help="in the training set, and in the set that scores")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3, help="fresh seeds of a config that is chosen")
    parser.add_argument("--teacher", help="a teacher folder, in place of fitting one")
    parser.add_argument("--configs", type=int, default=40)
    parser.add_argument("--inside", type=int, default=0, help="configs from the default ranges alone, besides")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--aux", action="store_true", help="networks with auxiliary heads, which dist_aux needs")
    parser.add_argument("--inline", action="store_true", help="train in this process, without Ray")
    options = parser.parse_args()
    ranges = {method: searched(method) for method in options.methods}
    ranges = {method: space for method, space in ranges.items() if space}

    for method in list(ranges):
        try:
            check(spec(options, method, [{"method": method}], {"trials": 1}, {"top": 0}), Machine())
        except InputError as error:
            print(f"{method} is left out: {error}")
            del ranges[method]
    wide = [{"method": method, "space": {path: wider(d) for path, d in s.items()}} for method, s in ranges.items()]
    search = spec(options, "search", wide, {"trials": options.configs}, {"top": 0})
    rows = trained(search, options)
    options.teacher = options.teacher or str(options.dir / search.name / "teacher")
    if options.inside:
        default = [{"method": method} for method in ranges]
        inside = trained(spec(options, "inside", default, {"trials": options.inside}, {"top": 0}), options)
        rows = pd.concat([rows, inside.assign(trial_id="inside-" + inside["trial_id"])])
    chosen = pd.concat([choose(rows[rows["study"] == method], ranges[method]) for method in ranges])

    fixed = [
        {"name": trial, "method": method, "set": values, "space": {}}
        for trial, method, values in zip(chosen["trial_id"], chosen["study"], chosen["searched"], strict=True)
    ]
    scores = trained(spec(options, "fresh", fixed, {"trials": 1}, {"top": 1, "seeds": options.seeds}), options)
    fresh = scores[scores["phase"] == "confirm"].pivot(index="study", columns="seed", values="score")
    print(markdown(chosen, fresh * 100))


def recipe(aux: bool) -> dict[str, Any]:
    """What all sweeps have in common, with auxiliary heads on both networks or without."""
    if not aux:
        return RECIPE
    fit = RECIPE["teacher"]["fit"]
    teacher = {"fit": {**fit, "network": with_aux(fit["network"])}}
    return {**RECIPE, "student": with_aux(RECIPE["student"]), "teacher": teacher}


def with_aux(network: Mapping[str, Any]) -> dict[str, Any]:
    """The network with an auxiliary head."""
    options = {"architecture": network["arch"], "encoder": network["encoder"], **network["options"]}
    return {"arch": "aux_network:WithAux", "options": options}


def searched(method: str) -> dict[str, Domain]:
    """The default ranges of a method by their paths in a spec."""
    return {f"terms.{key}": domain for key, domain in METHODS[method].defaults("pull")[1].items()}


def wider(domain: Domain) -> Domain:
    """A range of a positive quantity, ten times wider at both ends; a choice, or a range that is not, as it is."""
    if not isinstance(domain, Range) or not domain.log:
        return domain
    return domain.model_copy(update={"low": domain.low / WIDER, "high": domain.high * WIDER})


def within(params: Mapping[str, Any], space: Mapping[str, Domain]) -> bool:
    """Whether a config lies in the default ranges."""
    return all(contains(domain, params[path]) for path, domain in space.items())


def spec(options: argparse.Namespace, name: str, studies: list[Any], budget: Any, confirm: Any) -> SweepSpec:
    """A sweep of the given studies at one size of images."""
    counts = {"train": options.images, "select": options.images, "test": 1}
    size = [int(side) for side in options.size.split("x")]
    train = {"batch_size": options.batch, "epochs": options.epochs, "evaluate_every": options.epochs}
    common = recipe(options.aux)
    teacher = {"path": options.teacher} if options.teacher else common["teacher"]
    return SweepSpec.model_validate(
        {
            **common,
            "name": f"ranges-{options.size}-{name}",
            "data": {"name": "streets", "size": size, "counts": counts},
            "teacher": teacher,
            "train": {**common["train"], **train},
            "studies": studies,
            "budget": budget,
            "confirm": confirm,
        }
    )


def trained(spec: SweepSpec, options: argparse.Namespace) -> pd.DataFrame:
    """Run or resume a sweep; a row for each training that has a score, with its searched values as `searched`."""
    sweep = Sweep(spec, options.dir / spec.name)
    sweep.run(inline=options.inline)
    tables = sweep.tables
    nuisance = tables["params"].query("role == 'nuisance'")
    searched = {
        trial: {name: json.loads(text) for name, text in zip(rows["name"], rows["value_json"], strict=True)}
        for trial, rows in nuisance.groupby("trial_id")
    }
    trials = tables["trials"].dropna(subset="score")
    return trials.assign(searched=[searched.get(trial, {}) for trial in trials["trial_id"]])


def choose(rows: pd.DataFrame, space: Mapping[str, Domain]) -> pd.DataFrame:
    """The best configs of all and the best within the default ranges, with a column `inside`; of one method."""
    inside = rows["searched"].map(lambda values: within(values, space))
    ordered = rows.assign(inside=inside, tried=len(rows), tried_inside=inside.sum())
    ordered = ordered.sort_values("score", ascending=False)
    best = [ordered.head(CHOSEN), ordered[ordered["inside"]].head(CHOSEN)]
    return pd.concat(best).drop_duplicates("trial_id")


def markdown(chosen: pd.DataFrame, fresh: pd.DataFrame) -> str:
    """A row for each method: the best mean on fresh seeds of all chosen configs, and of those within the ranges.

    Args:
        chosen: As of `choose`, of all methods.
        fresh: Scores on fresh seeds in points, a row for each chosen config (its `trial_id`), a column for each seed.
    """
    lines = [
        "| method | configs within | best of all | best within | difference | its standard error |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for method, rows in chosen.groupby("study", sort=False):
        scores = fresh.loc[rows["trial_id"]]
        best, inside = (part.mean(axis=1).idxmax() for part in (scores, scores[rows["inside"].to_numpy()]))
        lost = scores.loc[best] - scores.loc[inside]
        means = " | ".join(f"{value:.1f}" for value in (*scores.loc[[best, inside]].mean(axis=1), lost.mean()))
        counts = f"{rows['tried_inside'].iloc[0]} of {rows['tried'].iloc[0]}"
        lines.append(f"| `{method}` | {counts} | {means} | {lost.sem():.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
