"""What a report is made from: the short tables of a sweep, rows of the long ones, and what was computed from them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NoReturn

import pandas as pd

from analysis.ablation.effects import ablate
from analysis.figures.canvas import Colors, colors
from analysis.report.verdict import Verdict, verdict
from analysis.report.wording import wording_of
from analysis.search.history import drawn_values, learning_curves, responses
from analysis.selection.compare import compare, per_class
from analysis.selection.final_seeds import selection_ended
from analysis.selection.finalists import finalists, trials_of
from analysis.stats.image_bootstrap import ClassCounts, counts, evaluation_of
from analysis.tables.files import Tables, read_tables
from analysis.tables.fixed import FixedTables
from analysis.tables.json_columns import score_in_words
from analysis.tables.schemas import SCHEMAS
from analysis.tables.scores import METRIC

LONG = ("metrics", "confusion")
"""Tables with many rows per trial. A report never holds one of them whole."""

ReadRows = Callable[[str, str, Collection[str]], pd.DataFrame]
"""The rows of a long table in which a column of text has one of some values: ``(table, column, values) -> rows``."""


class ShortTables(FixedTables):
    """Every table of a sweep except the long ones, each with all of its rows.

    Asking for a long table is an error, so that nothing is computed from a part of it by mistake.
    """

    def __missing__(self, name: str) -> NoReturn:
        raise KeyError(
            f"{name}: a report holds the short tables alone; read rows of this one with Findings.rows"
            if name in LONG
            else f"table: one of {', '.join(self)} is allowed, got {name}"
        )


@dataclass(frozen=True)
class Findings:
    """What the sections of a report are made from.

    Attributes:
        folder: The sweep ``D``.
        tables: The short tables, whole.
        rows: Reads the rows of a long table that a section names.
        comparison: From ``analysis.selection.compare.compare``.
        ranked: From ``analysis.selection.finalists.finalists``.
        ablation: From ``analysis.ablation.effects.ablate``.
        palette: The color of every study.
    """

    folder: Path
    tables: ShortTables
    rows: ReadRows
    comparison: pd.DataFrame
    ranked: pd.DataFrame
    ablation: pd.DataFrame
    palette: Colors

    @property
    def score(self) -> str:
        """What a score is, in words."""
        return score_in_words(self.tables)

    @property
    def about_scores(self) -> str:
        """The same as a sentence."""
        return f"The score is {self.score}, in points."

    @cached_property
    def curves(self) -> pd.DataFrame:
        """The mIoU of every trial at every evaluated epoch, see ``analysis.search.history.learning_curves``."""
        return learning_curves({**self.tables, "metrics": self.rows("metrics", "name", [METRIC])})

    @cached_property
    def representatives(self) -> dict[str, str]:
        """By study one training of its best config: the trial with the smallest seed."""
        trials = {str(row["study"]): trials_of(self.tables, row) for _, row in self.comparison.iterrows()}
        return {study: str(group["trial_id"].iloc[0]) for study, group in trials.items() if len(group)}

    @cached_property
    def checkpoints(self) -> dict[str, str]:
        """One trial of the chosen config (``best``) and of the baseline (``baseline``), of one seed if they share one.

        They are what is looked at image by image.
        """
        rows = {"best": self.chosen(), "baseline": self.baseline()}
        trials = {name: trials_of(self.tables, row) for name, row in rows.items() if row is not None}
        seeds = [set(group["seed"]) for group in trials.values() if len(group)]
        common = set.intersection(*seeds) if seeds else set()
        chosen = {}
        for name, group in trials.items():
            shared = group[group["seed"].isin(common)] if common else group
            if len(shared):
                chosen[name] = str(shared["trial_id"].iloc[0])
        return chosen

    @cached_property
    def checkpoint_confusion(self) -> pd.DataFrame:
        """The rows of the table ``confusion`` that belong to the trials of ``checkpoints``, on all roles."""
        evaluations = self.tables["evaluations"]
        looked_at = evaluations["trial_id"].isin(list(self.checkpoints.values()))
        return self.rows("confusion", "eval_id", list(evaluations.loc[looked_at, "eval_id"]))

    @cached_property
    def checkpoint_counts(self) -> dict[str, ClassCounts]:
        """Pixels by image and class of the trials of ``checkpoints`` on role ``select``, where they were stored."""
        tables = {**self.tables, "confusion": self.checkpoint_confusion}
        evaluations = {name: evaluation_of(tables, trial_id) for name, trial_id in self.checkpoints.items()}
        return {name: counts(tables, eval_id) for name, eval_id in evaluations.items() if eval_id is not None}

    @cached_property
    def classes(self) -> pd.DataFrame:
        """IoU per class, see ``analysis.selection.compare.per_class``."""
        return per_class(self.tables, self.comparison)

    @cached_property
    def drawn_values(self) -> pd.DataFrame:
        """What search trials drew beside their scores, see ``analysis.search.history.drawn_values``."""
        return drawn_values(self.tables)

    @cached_property
    def responses(self) -> pd.DataFrame:
        """Scores beside the values of parameters, see ``analysis.search.history.responses``."""
        return responses(self.tables)

    @property
    def confirmed(self) -> bool:
        """Whether there are scores on fresh seeds."""
        return bool(self.ranked["confirmed"].any())

    @property
    def is_ablation(self) -> bool:
        """Whether the cells of a design are compared with a reference, and no config is chosen."""
        return bool(self.tables["sweeps"]["purpose"].iloc[0] == "ablation")

    @property
    def finished(self) -> bool:
        """Whether the selection has come to its end, see ``analysis.selection.final_seeds.selection_ended``."""
        return selection_ended(self.tables)

    def chosen(self) -> pd.Series | None:
        """The row of the comparison that holds the chosen config; None without a complete trial."""
        rows = self.comparison[self.comparison["chosen"]]
        return rows.iloc[0] if len(rows) else None

    def baseline(self) -> pd.Series | None:
        """The baseline's row of the comparison; None if it has no score."""
        rows = self.comparison[self.comparison["is_baseline"] & (self.comparison["n"] > 0)]
        return rows.iloc[0] if len(rows) else None

    @property
    def tie_set(self) -> pd.DataFrame:
        """The finalists that the seeds cannot tell from the best; empty where nothing is confirmed."""
        decided = self.confirmed and "tie" in self.ranked
        return self.ranked[self.ranked["tie"].eq(True)] if decided else self.ranked.iloc[:0]

    def tied(self) -> set[str]:
        """The studies with a config in the tie set."""
        return set(self.tie_set["study"])

    @cached_property
    def verdict(self) -> Verdict:
        """The result in words."""
        return verdict(self.tables, self.comparison, self.ablation, self.ranked)

    def bold(self) -> set[str]:
        """The studies whose rows are set in bold: those of the tie set that beat the baseline, where seeds decide."""
        if self.verdict.mark:
            return set()
        rows = self.comparison[self.comparison["study"].isin(self.tied())]
        claims = {str(row["study"]): wording_of(row) for _, row in rows.iterrows()}
        return {study for study, said in claims.items() if said is not None and said.better and not said.few}


def read_findings(sweep: str | Path) -> Findings:
    """Compute what a report shows of the sweep ``D``, a folder or a URI; rows of long tables are read when needed.

    Raises:
        AnalysisError: There are no tables, or they do not read.
    """

    def rows(name: str, column: str, values: Collection[str]) -> pd.DataFrame:
        return read_tables(sweep, [name], {name: (column, values)})[name]

    tables = read_tables(sweep, [name for name in SCHEMAS if name not in LONG])
    return _computed(tables, rows, Path(sweep))


def findings_of(tables: Tables, folder: Path = Path()) -> Findings:
    """Compute what a report shows from tables in memory, which must all be there and whole."""
    return _computed(tables, partial(_matching, tables), folder)


def _matching(tables: Tables, name: str, column: str, values: Collection[str]) -> pd.DataFrame:
    return tables[name][tables[name][column].isin(list(values))]


def _computed(tables: Tables, rows: ReadRows, folder: Path) -> Findings:
    short = ShortTables({name: frame for name, frame in tables.items() if name not in LONG})
    ranked = finalists(short)
    return Findings(
        folder=folder,
        tables=short,
        rows=rows,
        comparison=compare(short),
        ranked=ranked,
        ablation=ablate(short, ranked),
        palette=colors(short["studies"]),
    )
