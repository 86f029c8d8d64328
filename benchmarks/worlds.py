"""How often the words are wrong, and how often the intervals cover, in simulated worlds whose truth is known.

    python benchmarks/worlds.py --worlds 1000 --out worlds.md
    python benchmarks/worlds.py --rows "unequal noise"

Every file of `benchmarks/world_rows` with a list `ROWS` adds its rows (see `world_rows/row.py`). A row draws worlds,
measures something in each, and shows the mean with its Monte Carlo error beside what it must be. Exits with 1 where a
row is out of its bounds by more than two errors.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import pandas as pd  # noqa: E402
from world_rows.row import Result, Row  # noqa: E402

COLUMNS = ["topic", "world", "measure", "mean", "error", "least", "most", "worlds", "holds", "percent", "seconds"]


def rows() -> list[Row]:
    """All rows, file by file."""
    files = sorted((HERE / "world_rows").glob("*.py"))
    modules = [importlib.import_module(f"world_rows.{file.stem}") for file in files if not file.stem.startswith("_")]
    return [row for module in modules for row in getattr(module, "ROWS", ())]


def markdown(results: Iterable[Result]) -> str:
    """The table of the results, a part for each topic."""
    lines: list[str] = []
    topic = None
    for result in results:
        row = result.row
        if row.topic != topic:
            topic = row.topic
            lines += [
                "",
                f"### {topic}",
                "",
                "| world | measured | result | must be | worlds |",
                "|" + "---|" * 5,
            ]
        mark = "" if result.holds else " **(out)**"
        value = f"{_shown(result.mean, row)} ± {_shown(result.error, row)}{mark}"
        lines.append(f"| {row.world} | {row.measure} | {value} | {_bounds(row)} | {result.worlds} |")
    return "\n".join(lines).strip() + "\n"


def frame(results: Iterable[tuple[Result, float]]) -> pd.DataFrame:
    """The results as a table with the columns `COLUMNS`."""
    return pd.DataFrame(
        [
            (
                *(result.row.topic, result.row.world, result.row.measure, result.mean, result.error),
                *(result.row.least, result.row.most, result.worlds, result.holds, result.row.percent, seconds),
            )
            for result, seconds in results
        ],
        columns=COLUMNS,
    )


def _shown(value: float, row: Row) -> str:
    return f"{100 * value:.1f} %" if row.percent else f"{value:.3f}"


def _bounds(row: Row) -> str:
    if row.least is not None and row.most is not None:
        return f"{_shown(row.least, row)} to {_shown(row.most, row)}"
    if row.most is not None:
        return f"at most {_shown(row.most, row)}"
    return "" if row.least is None else f"at least {_shown(row.least, row)}"


def main() -> int:
    """Run the rows and print their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=1000, help="worlds of each row")
    parser.add_argument("--rows", default="", help="only rows whose topic, world or measure has this text")
    parser.add_argument("--seed", type=int, default=0, help="other worlds")
    parser.add_argument("--out", type=Path, help="a file for the table, .md or .parquet")
    parser.add_argument("--list", action="store_true", help="print the names of the rows and stop")
    options = parser.parse_args()
    chosen = [row for row in rows() if options.rows.lower() in row.name.lower()]
    if options.list or not chosen:
        print("\n".join(row.name for row in chosen) or f"--rows: no row has the text {options.rows!r}; see --list")
        return 0 if chosen else 2
    results = []
    for row in chosen:
        begin = time.monotonic()
        result = row.run(options.worlds, options.seed)
        results.append((result, time.monotonic() - begin))
        print(f"{_shown(result.mean, row):>9}  {row.name}", file=sys.stderr, flush=True)
    table = markdown(result for result, _ in results)
    print(table)
    if options.out is not None and options.out.suffix == ".parquet":
        frame(results).to_parquet(options.out)
    elif options.out is not None:
        options.out.write_text(table)
    return 0 if all(result.holds for result, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
