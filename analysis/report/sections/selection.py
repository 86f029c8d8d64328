"""From the search to the chosen config, and the config itself."""

import pandas as pd
import yaml

from analysis.figures import results as plots
from analysis.formats import count, missing, plural, points
from analysis.report import html as page
from analysis.report.findings import Findings
from analysis.report.html import TableCell, number
from analysis.report.sections.finalists import MANY_FINALISTS, seed_counts
from analysis.tables.json_columns import read_config


def section(findings: Findings) -> str:
    """From the search to the chosen config, and the config itself."""
    chosen = findings.chosen()
    if chosen is None:
        return ""
    content = _funnel(findings)
    rose = findings.ranked[findings.ranked["confirmed"] & findings.ranked["screen_score"].notna()]
    if len(rose):
        shown = rose.head(MANY_FINALISTS)
        partly = (
            f"{len(shown)} of {len(rose)} finalists drawn" if len(shown) < len(rose) else plural(len(rose), "config")
        )
        fell = int((rose["optimism"] > 0).sum())
        content += page.figure(
            page.keys(findings.palette) + plots.slopes(shown, findings.palette).draw(),
            f"{fell} of {len(rose)} finalists scored lower on fresh seeds than in the search that chose them.",
            f"{partly}. Left: the score in the search, on one seed; right: the mean over {seed_counts(rose)}. A fall "
            f"is the optimism of picking a maximum, not a fault of the config.",
        )
    row = findings.ranked[findings.ranked["config_id"] == chosen["config_id"]].iloc[0]
    config = yaml.safe_dump(read_config(row["config_json"]).content, sort_keys=False, allow_unicode=True)
    name = row["trial_id"] if isinstance(row["trial_id"], str) else row["config_id"]
    shown_config = f"<pre><code>{page.escape(config)}</code></pre>"
    return f"{content}<details><summary>The chosen config {page.escape(name)} as YAML</summary>{shown_config}</details>"


def _funnel(findings: Findings) -> str:
    rows = []
    for _, row in findings.comparison.iterrows():
        mine = findings.ranked[findings.ranked["study"] == row["study"]]
        fresh = int(mine.loc[mine["confirmed"], "n"].sum())
        best = "" if missing(row["screen_score"]) else points(row["screen_score"])
        rows.append(
            [
                TableCell(html=page.key(row["study"], findings.palette[row["study"]])),
                number(count(row["search_trials"]), row["search_trials"], f"best {best}" if best else ""),
                number(str(int(mine["confirmed"].sum())), mine["confirmed"].sum()),
                number(str(fresh), fresh, f"{plural(row['n'], 'seed')} of the best" if row["confirmed"] else ""),
                number(points(row["mean"]) if row["confirmed"] else "", row["mean"] if row["confirmed"] else None),
                TableCell("chosen" if row["chosen"] else "", small=_unstable(mine)),
            ]
        )
    return page.table(["Study", "Searched", "Finalists", "Fresh trainings", "Mean of the best", ""], rows)


def _unstable(finalists: pd.DataFrame) -> str:
    """How many of a study's finalists had a fresh seed that failed."""
    unstable = int((finalists["failed_seeds"].map(len) > 0).sum())
    return f"unstable: {unstable} of {plural(len(finalists), 'finalist')}" if unstable else ""
