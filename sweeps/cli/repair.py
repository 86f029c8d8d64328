"""The command `kdsweep repair`."""

from kdtrain.errors import InputError
from sweeps.cli.options import SweepDir, console


def repair(sweep: SweepDir) -> None:
    """Cut a damaged ledger back to its last intact record, from which the same `kdsweep run` resumes.

    Example: [bold]kdsweep repair runs/camvid[/]
    """
    from analysis.tables.folder import FOLDER as TABLES
    from sweeps.ledger.ledger import SET_ASIDE
    from sweeps.ledger.ledger import repair as cut_back
    from sweeps.store.generations import LEDGER
    from sweeps.store.store import Store

    if not any(Store(sweep).names(folder) for folder in (LEDGER, SET_ASIDE, TABLES)):
        raise InputError(f"no sweep in {sweep} (looked for ledger/*.jsonl); give the --dir of its `kdsweep run`")
    done = cut_back(sweep)
    if done.why is None:
        console.print(f"the ledger is whole: {done.records} records")
        return
    console.print(f"repaired: {done.why}")
    aside = f"; set aside in {sweep}/{SET_ASIDE}: {', '.join(done.aside)}" if done.aside else ""
    console.print(f"{done.records} records are left{aside}")
    console.print("run the sweep's command again: trials of the lost records are proposed again")
