"""Replays search policies on the table of real trainings, with a simulated clock.

    python benchmarks/search run --dir results --repetitions 50
    python benchmarks/search run --dir results --policies "tpe + halving" random --workers 1
    python benchmarks/search run --dir results --spec 'prior: {sampler: {name: prior}, scheduler: {name: hyperband}}'
    python benchmarks/search show --dir results

A policy is a whole procedure: a search and a confirmation on fresh seeds within one budget of epochs of one study.
`run` goes on where it was interrupted. `fit` fits the surrogates alone, which policies of other packages need in their
own environment (`run --others`), see `benchmarks/search/README.md`.
"""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
if sys.path[2:] and Path(sys.path[2]) == HERE:
    del sys.path[2]

import pandas as pd  # noqa: E402

from search.figures import draw, markdown  # noqa: E402
from search.policies import OTHERS, OURS, PolicyOfOthers, PolicyOfOurs  # noqa: E402
from search.replay import PUBLISHED, STARTS, Part, Study, read_results, run_part  # noqa: E402
from search.surrogate import Surrogate  # noqa: E402
from search.tables import read_task, tasks  # noqa: E402

TABLES = HERE.parent / "kdbench" / "tables"
SPECS = HERE.parent / "kdbench"


def studies(tables: Path, specs: Path, folder: Path, with_specs: bool) -> dict[tuple[str, str], Study]:
    """All studies of the tables, their surrogates fitted or read."""
    found = {}
    for task in tasks(tables):
        spec = {}
        if with_specs:
            from search.ours import read_spec

            spec = read_spec(specs / f"{task}.yaml")
        for table in read_task(tables, task):
            found[task, table.study] = Study(table, _surrogate(table, tables, folder), spec)
    return found


def _surrogate(table, tables: Path, folder: Path) -> Surrogate:
    path = folder / "surrogates" / f"{table.task}-{table.study}.json"
    if path.exists() and path.stat().st_mtime > (tables / f"{table.task}.parquet").stat().st_mtime:
        return Surrogate.parse(path.read_text())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Surrogate.of(table).to_json())
    return Surrogate.parse(path.read_text())


def run(options: argparse.Namespace) -> int:
    """Replay what is missing."""
    policies: dict[str, PolicyOfOurs | PolicyOfOthers] = dict(OTHERS if options.others else OURS)
    if options.spec:
        policies = {name: _of_text(fields) for text in options.spec for name, fields in _yaml(text).items()}
    elif options.policies:
        if lacking := [name for name in options.policies if name not in policies]:
            print(f"--policies: must be of {', '.join(policies)}; got {lacking[0]!r}", file=sys.stderr)
            return 2
        policies = {name: policies[name] for name in options.policies}
    found = studies(options.tables, options.specs, options.dir, not options.others)
    if not found:
        print(f"--tables: {options.tables} must hold tables <task>.parquet, got none", file=sys.stderr)
        return 2
    parts = [
        Part(name, policy, task, of_sweep, options.trainings, workers, options.start)
        for workers in options.workers
        for name, policy in policies.items()
        for task in dict.fromkeys(task for task, _ in found)
        for of_sweep in _sweeps(policy, [study for its_task, study in found if its_task == task])
    ]
    begin = time.monotonic()
    with ProcessPoolExecutor(options.jobs) as pool:
        jobs = [
            pool.submit(
                run_part,
                part,
                {study: found[part.task, study] for study in part.studies},
                _budgets(options, part.workers),
                options.dir / "parts",
            )
            for part in parts
        ]
        for number, (part, job) in enumerate(zip(parts, jobs, strict=True), start=1):
            try:
                frame = job.result()
                said = f"mean regret {frame['regret'].mean():.2f}"
            except Exception as error:
                said = f"failed: {type(error).__name__}: {error}"
            print(f"{time.monotonic() - begin:6.0f} s  {number} of {len(parts)}  {part.name}: {said}", flush=True)
    print(markdown(_results(options)))
    return 0


def _sweeps(policy: PolicyOfOurs | PolicyOfOthers, studies: list[str]) -> list[tuple[str, ...]]:
    """The studies of a task by the sweep that searches them."""
    together = isinstance(policy, PolicyOfOurs) and policy.together
    return [tuple(studies)] if together else [(study,) for study in studies]


def _budgets(options: argparse.Namespace, workers: int) -> dict[int, int]:
    """All budgets with one worker; with more workers those alone that hold some rounds of them."""
    budgets = [budget for budget in options.budgets if workers == 1 or budget >= max(options.budgets) / 2]
    return dict.fromkeys(budgets, options.repetitions)


def _yaml(text: str) -> dict:
    from sweeps.spec.strict_yaml import parse_yaml

    return dict(parse_yaml(text, "--spec"))


def _of_text(fields: dict) -> PolicyOfOurs:
    fields = dict(fields)
    own = {name: fields.pop(name) for name in ("rule", "together") if name in fields}
    return PolicyOfOurs(fields, **own)


def fit(options: argparse.Namespace) -> int:
    """Fit the surrogates and print how well they predict configs that were left out."""
    lines = ["| task | study | configs | rank correlation, left out | between two seeds | error | spread | seed sd |"]
    lines.append("|" + "---|" * 8)
    options.dir.mkdir(parents=True, exist_ok=True)
    for (task, study), each in studies(options.tables, options.specs, options.dir, False).items():
        said = each.surrogate.fit_of_left_out(each.table)
        figures = [
            said[name] for name in ("rank_correlation", "rank_correlation_of_seeds", "error", "spread", "seed_sd")
        ]
        shown = " | ".join(f"{figure:.2f}" for figure in figures)
        lines.append(f"| {task} | {study} | {len(each.table.configs)} | {shown} |")
    print("\n".join(lines))
    (options.dir / "fit.md").write_text("\n".join(lines) + "\n")
    return 0


def _results(options: argparse.Namespace) -> pd.DataFrame:
    results = read_results(options.dir / "parts")
    return results[(results["trainings"] == options.trainings) & (results["start"] == options.start)]


def show(options: argparse.Namespace) -> int:
    """Write the results, the table of regrets and the figure; print the table."""
    results = _results(options)
    if results.empty:
        print("no results yet", file=sys.stderr)
        return 2
    name = options.trainings + ("" if options.start == PUBLISHED else f"-{options.start}")
    results.to_parquet(options.dir / f"{name}.parquet")
    text = markdown(results)
    (options.dir / f"{name}.md").write_text(text)
    draw(results, options.dir / f"{name}.png", options.policies)
    print(text)
    return 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands: dict[str, Callable[[argparse.Namespace], int]] = {"run": run, "fit": fit, "show": show}
    parser.add_argument("command", choices=commands)
    parser.add_argument("--dir", type=Path, required=True, help="where results lie")
    parser.add_argument("--tables", type=Path, default=TABLES)
    parser.add_argument("--specs", type=Path, default=SPECS, help="the specs that the tables were made with")
    parser.add_argument("--others", action="store_true", help="policies of other packages")
    parser.add_argument("--policies", nargs="*", default=[], help="only these; show: only these in the figure")
    parser.add_argument("--spec", action="append", default=[], help="a policy of ours: 'name: {sampler: ..., ...}'")
    parser.add_argument("--trainings", choices=["surrogate", "rows"], default="surrogate")
    parser.add_argument(
        "--start", choices=STARTS, default=PUBLISHED, help="the config that all begin with, and their prior"
    )
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--budgets", type=int, nargs="*", default=[3, 6, 12, 24], help="full trainings per study")
    parser.add_argument("--repetitions", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    return commands[options.command](options)


if __name__ == "__main__":
    sys.exit(main())
