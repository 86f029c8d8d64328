"""The chosen config with its evidence, the verdict first: what `best.yaml` holds."""

from typing import Any

import pandas as pd

from analysis.ablation.effects import ablate
from analysis.report.cautions import WARNINGS
from analysis.report.front_lines import limit_name
from analysis.report.verdict import DISAGREEMENT, Verdict, verdict
from analysis.search.front import finalists_below, front
from analysis.selection.compare import compare
from analysis.selection.select import best
from analysis.tables.files import Tables
from analysis.tables.fixed import FixedTables, fixed
from analysis.tables.json_columns import read_limits

_NOT_OF_LIMIT = "final seeds and role test are for the config of the largest limit, by `kdsweep best D --freeze`"


def best_evidence(tables: Tables, limit: float | None = None) -> dict[str, Any]:
    """The chosen config of a sweep and what speaks for it, in plain values that YAML can hold.

    Args:
        tables: The tables of a sweep.
        limit: One of several limits of cost, below which the config is chosen; None for the largest.

    Returns:
        As ``analysis.selection.select.best``; the evidence begins with ``verdict``: the headline of the report, what it
        rests on (an ``analysis.selection.stage.Stage``), its word with the numbers, as fractions 0..1, and the
        warnings of the whole sweep. In a sweep with several limits it has ``front``, a mapping for each limit, and
        below a smaller limit than the largest ``limit``; all of it then is about the configs within that limit.

    Raises:
        AnalysisError: No trial is complete, so there is nothing to choose from.
    """
    limits = read_limits(tables)
    if limits is None or limit is None or limit >= limits.values[-1]:
        return _evidence(fixed(tables))
    not_frozen = {**tables, "sweeps": tables["sweeps"].assign(frozen_json=None)}
    chosen = _evidence(fixed(not_frozen), finalists_below(tables, limit))
    evidence, verdict = chosen["evidence"], chosen["evidence"]["verdict"]
    headline = f"Below {limit_name(limits, limit)}: {verdict['headline']}"
    first = {"verdict": {**verdict, "headline": headline}, "limit": limit, "test": _NOT_OF_LIMIT}
    return {**chosen, "evidence": {**first, **{key: evidence[key] for key in evidence if key not in first}}}


def _evidence(tables: FixedTables, ranked: pd.DataFrame | None = None) -> dict[str, Any]:
    """The first of some finalists, as of ``best_evidence``; without them, of all."""
    comparison = compare(tables, ranked)
    chosen = best(tables, comparison, ranked)
    evidence = dict(chosen["evidence"])
    baseline = evidence["baseline"]
    words = verdict(tables, comparison, ablate(tables, ranked), ranked)
    first: dict[str, object] = {
        "verdict": _plain(words, baseline is not None and baseline["study"] == evidence["study"])
    }
    if isinstance(evidence["test"], dict):
        first["test"] = evidence.pop("test")
    if len(rows := front(tables)):
        first["front"] = [_row(row) for _, row in rows.iterrows()]
    return {**chosen, "evidence": {**first, **evidence}}


def _row(row: pd.Series) -> dict[str, object]:
    """A row of the front in plain values, without what is missing."""
    content = {str(name): value for name, value in row.items() if not pd.isna(value)}
    return {name: value.item() if hasattr(value, "item") else value for name, value in content.items()}


def _plain(words: Verdict, is_baseline: bool) -> dict[str, object]:
    """The verdict in plain values; a word about another config than the chosen one is in the headline alone."""
    said = None if is_baseline else words.said
    numbers: dict[str, object] = {}
    if said is not None:
        ends = {"difference": said.difference, "low": said.low, "high": said.high}
        numbers = {"word": said.word, **{name: float(end) for name, end in ends.items()}, "seeds": int(said.seeds)}
    disagreement = [line.text for line in words.lines if line.label == DISAGREEMENT]
    doubts = [line.text for line in words.lines if line.label == WARNINGS and line.mark]
    return {
        "headline": words.headline,
        "rests_on": words.stage.value,
        **numbers,
        **({"decide": words.decide} if words.decide else {}),
        **({"disagreement": disagreement[0]} if disagreement else {}),
        **({"warnings": doubts[0]} if doubts else {}),
    }
