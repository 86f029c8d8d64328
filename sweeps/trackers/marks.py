"""What a tracker holds, in files beside it: for trackers that cannot be asked."""

from pathlib import Path

from kdtrain.runtime.atomic_files import write_atomically
from sweeps.trackers.tracked_run import Held

SUFFIX = ".held.json"


def read_marks(folder: Path) -> dict[str, Held]:
    """What is held, by the id of the run, of all marks in or below a folder, which need not exist."""
    return dict(Held.from_json(path.read_bytes()) for path in folder.rglob(f"*{SUFFIX}"))


def write_mark(folder: Path, run_id: str, held: Held) -> None:
    """Note what is held of a run; call this after the tracker has taken it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{run_id}{SUFFIX}", held.to_json(run_id).encode())
