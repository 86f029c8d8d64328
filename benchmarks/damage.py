"""Damage to the ledger of a sweep, of 21 kinds: whoever reads it then has the same tables, or says what is lost.

    python benchmarks/damage.py --seeds 26

A sweep of trials that train nothing is run in three sessions and damaged in a copy. Each drill reads the copy as
`kdsweep tables` does, and opens it as `kdsweep run` does. Exits with 1 if a table differs and nothing was said.
"""

import argparse
import logging
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from launch import make_spec, nothing, open_driver

from kdtrain.errors import InputError
from sweeps.launch.inline import run_inline
from sweeps.ledger import ledger as ledger_module
from sweeps.ledger.extent import HEAD
from sweeps.ledger.ledger import Ledger, say_once
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import rows, write_tables

SESSIONS = (5, 10, 20)
"""Trials after each session."""
Damage = Callable[[Path, random.Random], None]


@dataclass(frozen=True)
class Sweep:
    """A sweep to damage: its folder, its tables, the same at the end of an earlier session, and another sweep."""

    folder: Path
    tables: Mapping[str, object]
    earlier: Path
    other: Path


def make(scratch: Path) -> Sweep:
    """Run the sweep, and another one with the same settings."""
    for name in ("sweep", "other"):
        for trials in SESSIONS:
            folder = scratch / name
            with open_driver(str(folder), make_spec(trials, "random", 0 if name == "sweep" else 1)) as driver:
                run_inline(driver, nothing)
            for trial in load_state(folder)[1].trials:
                (folder / "trials" / trial).mkdir(parents=True, exist_ok=True)
            if trials == SESSIONS[1]:
                shutil.copytree(folder, scratch / f"earlier {name}")
    return Sweep(scratch / "sweep", tables_of(scratch / "sweep"), scratch / "earlier sweep", scratch / "other")


def tables_of(folder: Path) -> Mapping[str, object]:
    """The rows of the tables."""
    spec, state = load_state(folder)
    return rows(state, spec)


def segments(folder: Path) -> list[Path]:
    """The files of a ledger."""
    return sorted((folder / "ledger").glob("*.jsonl"))


def lines(path: Path) -> list[bytes]:
    """The lines of a file."""
    return path.read_bytes().splitlines(keepends=True)


def flipped(content: bytes, at: int, bit: int) -> bytes:
    """A content with one bit flipped."""
    return content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]


def flip(path: Path, start: int, end: int, chance: random.Random) -> None:
    """Flip one bit of a part of a file."""
    path.write_bytes(flipped(path.read_bytes(), chance.randrange(start, end), chance.randrange(8)))


def kinds(sweep: Sweep) -> dict[str, Damage]:
    """The kinds of damage, by name."""

    def any_of(folder: Path, chance: random.Random) -> Path:
        return chance.choice(segments(folder))

    def at_end(folder: Path, chance: random.Random) -> Path:
        return segments(folder)[-1]

    def change(pick: Callable[[Path, random.Random], Path], how: Callable[[bytes, random.Random], bytes]) -> Damage:
        def damage(folder: Path, chance: random.Random) -> None:
            path = pick(folder, chance)
            path.write_bytes(how(path.read_bytes(), chance))

        return damage

    def cut_lines(content: bytes, chance: random.Random) -> bytes:
        parts = content.splitlines(keepends=True)
        return b"".join(parts[: chance.randrange(len(parts))])

    def without_one(content: bytes, chance: random.Random) -> bytes:
        parts = content.splitlines(keepends=True)
        del parts[chance.randrange(len(parts))]
        return b"".join(parts)

    def twice(content: bytes, chance: random.Random) -> bytes:
        parts = content.splitlines(keepends=True)
        at = chance.randrange(len(parts))
        return b"".join([*parts[: at + 1], *parts[at:]])

    def shuffled(content: bytes, chance: random.Random) -> bytes:
        parts = content.splitlines(keepends=True)
        chance.shuffle(parts)
        return b"".join(parts)

    def zeros(content: bytes, chance: random.Random) -> bytes:
        start = chance.randrange(len(content))
        length = min(chance.choice((16, 512, 4096)), len(content) - start)
        return content[:start] + bytes(length) + content[start + length :]

    def flip_anywhere(content: bytes, chance: random.Random) -> bytes:
        return flipped(content, chance.randrange(len(content)), chance.randrange(8))

    def flip_line(which: int) -> Callable[[bytes, random.Random], bytes]:
        def how(content: bytes, chance: random.Random) -> bytes:
            parts = content.splitlines(keepends=True)
            parts[which] = flip_anywhere(parts[which], chance)
            return b"".join(parts)

        return how

    def swap_files(folder: Path, chance: random.Random) -> None:
        one, two = chance.sample(segments(folder), 2)
        content = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(content)

    def copy_file(folder: Path, chance: random.Random) -> None:
        path = any_of(folder, chance)
        number, driver = chance.randrange(1, 400), chance.randrange(5)
        shutil.copy(path, path.with_name(f"{number:09d}-{driver:04d}.jsonl" if driver else f"{number:09d}.jsonl"))

    def rename(folder: Path, chance: random.Random) -> None:
        path = any_of(folder, chance)
        name = chance.choice(
            (f"{path.name}.bak", f"{path.stem} copy.jsonl", f"{int(path.stem[:9]) + 1:09d}-0002.jsonl")
        )
        path.rename(path.with_name(name))

    def of_other_sweep(folder: Path, chance: random.Random) -> None:
        path = any_of(folder, chance)
        same = sweep.other / "ledger" / path.name
        shutil.copy(same if same.is_file() else chance.choice(segments(sweep.other)), path)

    def delete(folder: Path, chance: random.Random) -> None:
        for path in chance.sample(segments(folder), chance.choice((1, 1, 2))):
            path.unlink()

    def delete_last(folder: Path, chance: random.Random) -> None:
        for path in segments(folder)[-chance.choice((1, 1, 2, 3)) :]:
            path.unlink()

    def partly_restored(folder: Path, chance: random.Random) -> None:
        """Some files are those of an earlier day."""
        for path in segments(folder):
            if path.name not in {old.name for old in segments(sweep.earlier)} and chance.random() < 0.6:
                path.unlink()
        if chance.random() < 0.5:
            shutil.copy(sweep.earlier / HEAD, folder / HEAD)

    def restored(folder: Path, chance: random.Random) -> None:
        """The whole ledger is that of an earlier day; trials and tables are not."""
        shutil.rmtree(folder / "ledger")
        shutil.copytree(sweep.earlier / "ledger", folder / "ledger")

    def note(folder: Path, chance: random.Random) -> None:
        """The note of how far the ledger reaches is damaged."""
        path = folder / HEAD
        chance.choice(
            (path.unlink, lambda: path.write_bytes(b""), lambda: flip(path, 0, path.stat().st_size, chance))
        )()

    garbage = (b'{"n":', bytes(range(256)), b"\n\n", b"\xff\xfe", b"null\n", b"{}\n")
    return {
        "a file deleted": delete,
        "the last files deleted": delete_last,
        "a file emptied": change(any_of, lambda content, chance: b""),
        "a file cut at the end of a line": change(any_of, cut_lines),
        "the last file cut at the end of a line": change(at_end, cut_lines),
        "a file cut anywhere": change(any_of, lambda content, chance: content[: chance.randrange(len(content))]),
        "a bit flipped anywhere": change(any_of, flip_anywhere),
        "a bit of the last record flipped": change(at_end, flip_line(-1)),
        "a bit of the first record of a file flipped": change(any_of, flip_line(0)),
        "a record removed": change(any_of, without_one),
        "a record twice": change(any_of, twice),
        "records in another order": change(any_of, shuffled),
        "two files swapped": swap_files,
        "a file copied under another name": copy_file,
        "a file renamed": rename,
        "a file of another sweep": of_other_sweep,
        "garbage appended": change(any_of, lambda content, chance: content + chance.choice(garbage)),
        "zeros in a file": change(any_of, zeros),
        "line ends or encoding converted": change(
            any_of,
            lambda content, chance: chance.choice(
                (content.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + content, content.decode().encode("utf-16"))
            ),
        ),
        "partly or wholly restored from an older copy": lambda folder, chance: chance.choice(
            (partly_restored, restored)
        )(folder, chance),
        "the note of its length damaged": note,
    }


@contextmanager
def said() -> Iterator[list[str]]:
    """What is said while the ledger is read, beside errors."""
    texts: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(record.getMessage())

    listener, logger = Listener(), logging.getLogger(ledger_module.__name__)
    say_once.cache_clear()
    logger.addHandler(listener)
    logger.propagate = False
    try:
        yield texts
    finally:
        logger.removeHandler(listener)
        logger.propagate = True


def drill(sweep: Sweep, kind: str, seed: int, scratch: Path) -> str:
    """One damage: `same` tables, `said` what is wrong, or `silent`.

    Every second sweep has tables, made before the damage.
    """
    folder = scratch / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sweep.folder, folder)
    if seed % 2:
        write_tables(folder)
    kinds(sweep)[kind](folder, random.Random(f"{kind} {seed}"))
    with said() as texts:
        try:
            same = tables_of(folder) == sweep.tables
        except InputError as error:
            texts.append(str(error))
            same = False
        try:
            Ledger(folder, texts.append).close()
        except InputError as error:
            texts.append(str(error))
    return "same" if same else "said" if texts else "silent"


def main() -> None:
    """Run the drills."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=26, help="drills per kind")
    options = parser.parse_args()
    total: Counter[str] = Counter()
    patches: dict[str, Any] = {"SEGMENT_BYTES": 8000}
    vars(ledger_module).update(patches)
    with tempfile.TemporaryDirectory() as folder:
        sweep = make(Path(folder))
        for kind in kinds(sweep):
            counts = Counter(drill(sweep, kind, seed, Path(folder)) for seed in range(options.seeds))
            total += counts
            print(f"{kind:50} {dict(counts)}", flush=True)
    print(f"{total.total()} drills: {dict(total)}")
    sys.exit(1 if total["silent"] else 0)


if __name__ == "__main__":
    main()
