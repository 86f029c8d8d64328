"""What a sweep's tables say: comparison, selection, ablation, report. Knows neither Ray nor torch."""

from analysis.errors import AnalysisError
from analysis.tables.files import read_tables

InputError = AnalysisError
"""The earlier name of `AnalysisError`."""

__all__ = ["AnalysisError", "InputError", "read_tables"]
