"""How far a long reading of files is: as a bar on a terminal, and as a line now and then in a log."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kdtrain import Machine
from kdtrain.data import DataSet, open_data
from kdtrain.data.census import Seen, check_presence, count_labels

_LINE_EVERY_S = 10.0


@contextlib.contextmanager
def counter(console: Console, what: str, in_bytes: bool = False) -> Iterator[Callable[[int, int | None], None]]:
    """A function that is told how many files or bytes are done, and of how many where that is known."""
    if console.is_terminal:
        amount = DownloadColumn() if in_bytes else MofNCompleteColumn()
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), amount, TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(what, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)
        return
    last = time.monotonic()

    def line(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            sizes = [f"{count / 1e6:.0f} MB" if in_bytes else str(count) for count in (done, total) if count]
            console.print(f"{what}: {' of '.join(sizes)}")

    yield line


@contextlib.contextmanager
def class_counter(console: Console) -> Iterator[Seen]:
    """The `seen` of `count_labels`: one counter per role; none where all counts are remembered."""
    with contextlib.ExitStack() as shown:
        counters: dict[str, Callable[[int, int | None], None]] = {}

        def seen(role: str, done: int, total: int) -> None:
            if role not in counters:
                shown.close()
                counters[role] = shown.enter_context(counter(console, f"counting the classes of role {role}"))
            counters[role](done, total)

        yield seen


def check_classes(data: DataSet, machine: Machine, console: Console) -> None:
    """Count the classes of the data of a single training; print what is one-sided.

    Raises:
        InputError: As `kdtrain.data.census.check_presence`.
    """
    with class_counter(console) as seen:
        counts = count_labels(open_data(data, machine.data_root), ("train", "select"), machine.cache, seen)
    for sentence in check_presence(data, counts):
        console.print(f"warning: {sentence}")
