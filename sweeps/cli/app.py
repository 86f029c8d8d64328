"""The command line: what is done with a sweep. Other commands have files of their own."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from analysis.errors import AnalysisError
from kdtrain import InputError, Machine
from sweeps.cli.ablate import ablate
from sweeps.cli.data import app as data_app
from sweeps.cli.options import (
    Data,
    Device,
    NewDir,
    NewSweep,
    Set,
    SpecFile,
    SweepDir,
    Threads,
    Weights,
    Workers,
    changes_of,
    console,
    leaving,
    machine_of,
)
from sweeps.cli.teacher import app as teacher_app
from sweeps.cli.train import methods, train
from sweeps.spec.spec import SweepSpec, load_spec

if TYPE_CHECKING:
    from sweeps.store.store import Store

app = typer.Typer(
    name="kdsweep",
    help="Hyperparameter and ablation sweeps for knowledge distillation in semantic segmentation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(teacher_app, name="teacher")
export_app = typer.Typer(no_args_is_help=True, help="Hand a sweep to other tools.")
app.add_typer(export_app, name="export")
app.add_typer(data_app, name="data")

SPECS = Path(__file__).parents[1] / "specs"


def main() -> None:
    """Run the command line; wrong input is one line and exit code 2."""
    try:
        app()
    except (InputError, AnalysisError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]error:[/] {escape(str(error))}")
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("interrupted; run the same command again to go on")
        sys.exit(130)


@app.command()
def demo(
    sweep: NewDir = Path("kdsweep-demo"),
    inline: Annotated[bool, typer.Option(help="Without Ray, in this process.")] = False,
) -> None:
    """The main job with nothing given: generated street scenes, a teacher, five studies, report and best config.

    Example: [bold]kdsweep demo --dir runs/demo[/]
    """
    spec = load_spec(SPECS / "demo.yaml")
    console.print(
        "Generated street scenes, one teacher, five studies with the same budget each. This takes a few minutes."
    )
    _run(spec, str(sweep), Machine(cache=sweep / "cache"), None, inline)


@app.command()
def plan(spec_file: SpecFile, data: Data = None, weights: Weights = None, changes: Set = None) -> None:
    """Show what would run, and find every mistake that can be found before a GPU is used.

    Example: [bold]kdsweep plan sweeps/specs/camvid.yaml --data data[/]
    """
    from sweeps.plan import plan as make_plan

    console.print(make_plan(load_spec(spec_file, changes_of(changes)), machine_of(data, weights)).render())


@app.command()
def run(
    spec_file: SpecFile,
    sweep: NewSweep,
    address: Annotated[
        str | None,
        typer.Option(help="A running Ray cluster, such as auto or host:port; by default one is started here."),
    ] = None,
    inline: Annotated[bool, typer.Option(help="Without Ray, one trial after the other in this process.")] = False,
    data: Data = None,
    weights: Weights = None,
    device: Device = "auto",
    threads: Threads = None,
    workers: Workers = 0,
    changes: Set = None,
) -> None:
    """Run a sweep; the same command resumes it.

    Example: [bold]kdsweep run sweeps/specs/camvid.yaml --dir runs/camvid --data data[/]
    """
    machine = machine_of(data, weights, device=device, threads=threads, workers=workers)
    _run(load_spec(spec_file, changes_of(changes)), sweep, machine, address, inline)


@app.command()
def status(
    sweep: SweepDir,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until the sweep has finished.")] = False,
    page: Annotated[
        bool, typer.Option("--html", help="Write a small page that loads itself again, in place of the terminal.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Where the page goes; by default D/report/live.html, for a URI ./live.html.")
    ] = None,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 10.0,
) -> None:
    """Show how far a sweep has come, from its files, while it runs or after.

    Example: [bold]kdsweep status runs/camvid --watch --html[/]
    """
    from sweeps.show.live_page import watch_page, watch_terminal
    from sweeps.store.store import Store

    store = Store(sweep)
    if page or out is not None:
        target = out or (store.local / "report" / "live.html" if store.local is not None else Path("live.html"))
        watch_page(store, target, every if watch else None, console.print)
    else:
        watch_terminal(store, every if watch else None, console)


@app.command()
def tables(sweep: SweepDir) -> None:
    """Rebuild the tables from the ledger.

    Example: [bold]kdsweep tables runs/camvid[/]
    """
    from sweeps.outcome.tabulate import write_tables
    from sweeps.store.store import Store

    store = Store(sweep)
    for key in sorted(write_tables(store).values()):
        console.print(f"{store}/{key}")


@app.command()
def repair(sweep: SweepDir) -> None:
    """Cut a damaged ledger back to what is whole, so that the same `kdsweep run` can go on from there.

    Example: [bold]kdsweep repair runs/camvid[/]
    """
    from sweeps.ledger.ledger import SET_ASIDE
    from sweeps.ledger.ledger import repair as cut_back

    left, aside = cut_back(sweep)
    if not aside:
        console.print(f"the ledger is whole: {left} records")
        return
    console.print(f"{left} records are left; set aside in {sweep}/{SET_ASIDE}: {', '.join(aside)}")
    console.print("run the sweep's command again: what is no longer known is proposed anew")


@app.command()
def report(
    sweeps: Annotated[
        list[str], typer.Argument(metavar="D...", help="The sweep: a folder or a URI; several with --compare.")
    ],
    compare: Annotated[bool, typer.Option("--compare", help="Several sweeps beside each other, in one page.")] = False,
    out: Annotated[Path, typer.Option(help="The page of --compare.")] = Path("compared.html"),
) -> None:
    """Write the report, one HTML file that works offline, and the tables for a paper.

    Example: [bold]kdsweep report runs/camvid[/]

    Example: [bold]kdsweep report --compare runs/camvid-1 runs/camvid-2 runs/camvid-3 --out compared.html[/]
    """
    from analysis.report.comparison_report import write_comparison
    from analysis.report.sweep_report import write_report
    from sweeps.outcome.results import desk
    from sweeps.outcome.tabulate import write_tables
    from sweeps.store.store import Store

    if compare:
        console.print(str(write_comparison(sweeps, out)))
        return
    if len(sweeps) > 1:
        raise InputError(f"one sweep is allowed, got {len(sweeps)}: give --compare to set them side by side")
    store = Store(sweeps[0])
    with desk(store) as folder:
        if _has_ledger(store) or not (folder / "tables" / "trials.parquet").is_file():
            write_tables(folder)
        written = write_report(folder).relative_to(folder)
    console.print(f"{store}/{written}")


@app.command()
def query(
    sweep: SweepDir,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="A select; every table is a view of its own name.")],
    csv: Annotated[bool, typer.Option("--csv", help="All rows as CSV, in place of a table of the first ones.")] = False,
) -> None:
    """Ask the tables of a sweep a question in SQL; nothing is written.

    Example: [bold]kdsweep query runs/camvid "select study, max(score) from trials group by study"[/]
    """
    from analysis.tables.query import query as ask
    from sweeps.show.query_answer import as_csv, as_table

    answer = ask(sweep, sql)
    if csv:
        sys.stdout.write(as_csv(answer))
    else:
        console.print(as_table(answer))


@export_app.command("optuna")
def export_to_optuna(
    sweep: SweepDir,
    out: Annotated[
        Path | None,
        typer.Option(help="The file: a journal (.journal, fast) or SQLite (.db); by default ./<sweep>.journal."),
    ] = None,
) -> None:
    """Write the search as Optuna studies, one per study, that optuna-dashboard opens.

    Example: [bold]kdsweep export optuna runs/camvid --out camvid.journal && optuna-dashboard camvid.journal[/]
    """
    from analysis import read_tables
    from analysis.search.optuna_export import export_optuna
    from analysis.tables.scores import METRIC

    needed = ("sweeps", "studies", "trials", "params", "metrics")
    found = read_tables(sweep, needed, {"metrics": ("name", [METRIC])})
    target = out or Path(f"{found['sweeps']['name'].iloc[0]}.journal")
    for study, count in export_optuna(found, target).items():
        console.print(f"{study}: {count} trials")
    console.print(f"look at it with: optuna-dashboard {_dashboard_address(target)}")


@app.command()
def best(
    sweep: SweepDir,
    out: Annotated[Path | None, typer.Option(help="Write it to this YAML file, which `kdsweep train` takes.")] = None,
    freeze: Annotated[
        bool,
        typer.Option(
            "--freeze",
            help="Make the selection final. Only then does the sweep's run command train the chosen config and the "
            "baseline on seeds of their own and read the role report. Final: the sweep cannot grow after it.",
        ),
    ] = False,
) -> None:
    """Show the chosen config with what speaks for it.

    Example: [bold]kdsweep best runs/camvid --out best.yaml[/]
    """
    from analysis import read_tables
    from analysis.selection.select import best as choose
    from sweeps.attempt.teachers import teacher_store
    from sweeps.outcome.best_file import best_document
    from sweeps.outcome.tabulate import load_state, write_tables
    from sweeps.store.store import Store

    store = Store(sweep)
    spec, _ = load_state(store)
    if freeze:
        _freeze(store)
    write_tables(store)
    chosen = choose(read_tables(sweep))
    beside = Store(out.parent) if out is not None else store
    text = best_document(chosen, teacher_store(spec, store), beside)
    if freeze:
        store.write("best.yaml", best_document(chosen, teacher_store(spec, store), store).encode())
        if out is None:
            return
    if out is None:
        print(text, end="")
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
        console.print(str(out))


app.command()(ablate)
app.command()(methods)
app.command()(train)


def _run(spec: SweepSpec, sweep: str, machine: Machine, address: str | None, inline: bool) -> None:
    from sweeps.run import run_sweep
    from sweeps.store.store import Store

    with leaving() as asked:
        outcome = run_sweep(spec, Store(sweep), machine, console, asked, address, inline)
    console.print(f"\nreport: {outcome.report}")
    if outcome.best is None:
        console.print("no config was chosen: no trial completed; the report says why")
        sys.exit(1)
    evidence = outcome.best["evidence"]
    seeds = f"mean of {evidence['n']} fresh seeds" if evidence["confirmed_on_fresh_seeds"] else "1 seed, optimistic"
    console.print(f"best:   {outcome.best_file}: {evidence['study']}, mIoU {100 * evidence['mean']:.1f} ({seeds})")
    if isinstance(evidence["test"], dict) and evidence["test"]["mean"] is not None:
        told, n = evidence["test"], len(evidence["test"]["seeds"])
        console.print(f"report: mIoU {100 * told['mean']:.1f} on role {told['role']} (mean of {n} final seeds)")
    if "://" not in sweep:
        console.print(f"train it: kdsweep train {outcome.best_file} --dir {sweep}-student")


def _has_ledger(store: "Store") -> bool:
    from sweeps.ledger.ledger import FOLDER

    return bool(store.names(FOLDER))


def _dashboard_address(path: Path) -> str:
    from analysis.search.optuna_export import JOURNALS

    return str(path) if path.suffix in JOURNALS else f"sqlite:///{path}"


def _freeze(store: "Store") -> None:
    from sweeps.outcome.freeze import freeze

    frozen = freeze(store)
    chosen = frozen["chosen"]
    what = "the baseline, which nothing beat" if chosen == frozen["baseline"] else f"of study {chosen['study']}"
    console.print(f"frozen: config {chosen['config_id']} {what} ({frozen['why']})")
    if frozen["seeds"]:
        seeds = ", ".join(map(str, frozen["seeds"]))
        console.print(f"run {store}/spec.yaml with the same --dir to train on the final seeds {seeds}")
