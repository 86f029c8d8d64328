"""Every training of the sweep, to look around in."""

from analysis.report.explorer import ShownRuns, details, explorer, shown_runs
from analysis.report.findings import Findings


def section(findings: Findings) -> str:
    """The table of all runs, their searched parameters side by side, and details on a click."""
    tables, shown = findings.tables, shown_runs(findings.tables)
    metrics = findings.rows("metrics", "trial_id", list(shown["trial_id"]))
    pictured = findings.checkpoints.values() if (findings.folder / "predictions" / "index.json").is_file() else ()
    runs = ShownRuns(tables, shown, len(tables["trials"]) - len(shown), findings.palette)
    return explorer(runs, details(tables, shown, metrics, pictured=set(pictured)))
