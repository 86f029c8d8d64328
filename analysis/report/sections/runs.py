"""Every training of the sweep, to look around in."""

from analysis.report.explorer import ShownRuns, explorer, shown_runs
from analysis.report.findings import Findings


def section(findings: Findings) -> str:
    """The table of all runs, their searched parameters side by side, and details on a click."""
    shown = list(shown_runs(findings.tables)["trial_id"])
    metrics = findings.rows("metrics", "trial_id", shown)
    pictured = findings.checkpoints.values() if (findings.folder / "predictions" / "index.json").is_file() else ()
    return explorer(ShownRuns(findings.tables, metrics, findings.palette, pictured=set(pictured)))
