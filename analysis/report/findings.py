"""All that a report draws from, computed once from the tables."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from analysis.ablation.effects import ablate
from analysis.figures import results as plots
from analysis.search.history import learning_curves, responses
from analysis.selection.compare import compare, per_class
from analysis.selection.finalists import finalists


@dataclass(frozen=True)
class Findings:
    """The tables of a sweep (with the metric mIoU at least) and what was computed from them."""

    tables: dict[str, pd.DataFrame]
    comparison: pd.DataFrame
    ranked: pd.DataFrame
    ablation: pd.DataFrame
    palette: plots.Colors

    @cached_property
    def classes(self) -> pd.DataFrame:
        """See ``compare.per_class``."""
        return per_class(self.tables, self.comparison)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """See ``tuning.learning_curves``."""
        return learning_curves(self.tables)

    @cached_property
    def responses(self) -> pd.DataFrame:
        """See ``tuning.responses``."""
        return responses(self.tables)

    @property
    def confirmed(self) -> bool:
        """Whether there are scores on fresh seeds."""
        return bool(self.ranked["confirmed"].any())

    @property
    def finished(self) -> bool:
        """Whether the sweep has run to its end."""
        return bool(self.tables["sweeps"]["finished"].all())

    def chosen(self) -> pd.Series | None:
        """The row of the comparison which won, None without a complete trial."""
        rows = self.comparison[self.comparison["chosen"]]
        return rows.iloc[0] if len(rows) else None

    def baseline(self) -> pd.Series | None:
        """The baseline's row of the comparison, None if it has no score."""
        rows = self.comparison[self.comparison["is_baseline"] & (self.comparison["n"] > 0)]
        return rows.iloc[0] if len(rows) else None

    @property
    def tie_set(self) -> pd.DataFrame:
        """The finalists that the seeds cannot tell from the best; empty where there is none to tell."""
        known = self.confirmed and "tie" in self.ranked
        return self.ranked[self.ranked["tie"].eq(True)] if known else self.ranked.iloc[:0]

    def tied(self) -> set[str]:
        """The studies with a config in the tie set."""
        return set(self.tie_set["study"])


def findings(tables: dict[str, pd.DataFrame]) -> Findings:
    """Compute what the report shows."""
    palette = plots.colors(tables["studies"])
    return Findings(tables, compare(tables), finalists(tables), ablate(tables), palette)
