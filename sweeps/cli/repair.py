"""The command `kdsweep repair`."""

from kdtrain import InputError
from sweeps.cli.options import SweepDir, console


def repair(sweep: SweepDir) -> None:
    """Cut a damaged ledger back to its last intact record, from which the same `kdsweep run` resumes.

    Example: [bold]kdsweep repair runs/camvid[/]
    """
    from sweeps.ledger.ledger import FOLDER, SET_ASIDE
    from sweeps.ledger.ledger import repair as cut_back
    from sweeps.store.store import Store

    if not (Store(sweep).names(FOLDER) or Store(sweep).names(SET_ASIDE)):
        raise InputError(f"no sweep in {sweep} (looked for ledger/*.jsonl); give the --dir of its `kdsweep run`")
    left, aside = cut_back(sweep)
    if not aside:
        console.print(f"the ledger is whole: {left} records")
        return
    console.print(f"{left} records are left; set aside in {sweep}/{SET_ASIDE}: {', '.join(aside)}")
    console.print("run the sweep's command again: trials of the lost records are proposed again")
