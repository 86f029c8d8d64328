"""The chosen config with its evidence, the verdict first: what `best.yaml` holds."""

from typing import Any

from analysis.ablation.effects import ablate
from analysis.report.cautions import WARNINGS
from analysis.report.verdict import DISAGREEMENT, Verdict, verdict
from analysis.selection.compare import compare
from analysis.selection.finalists import finalists
from analysis.selection.select import best
from analysis.tables.files import Tables


def best_evidence(tables: Tables) -> dict[str, Any]:
    """The chosen config of a sweep and what speaks for it, in plain values that YAML can hold.

    Returns:
        As ``analysis.selection.select.best``; the evidence begins with ``verdict``: the headline of the report, what it
        rests on (an ``analysis.selection.stage.Stage``), its word with the numbers, as fractions 0..1, and the
        warnings of the whole sweep.

    Raises:
        AnalysisError: No trial is complete, so there is nothing to choose from.
    """
    ranked = finalists(tables)
    comparison = compare(tables, ranked)
    chosen = best(tables, comparison, ranked)
    evidence = dict(chosen["evidence"])
    baseline = evidence["baseline"]
    words = verdict(tables, comparison, ablate(tables, ranked), ranked)
    first = {"verdict": _plain(words, baseline is not None and baseline["study"] == evidence["study"])}
    if isinstance(evidence["test"], dict):
        first["test"] = evidence.pop("test")
    return {**chosen, "evidence": {**first, **evidence}}


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
