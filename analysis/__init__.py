"""What a sweep's tables say: comparison, selection, ablation, report. Knows neither Ray nor torch."""

from analysis.errors import InputError
from analysis.tables.files import read_tables

__all__ = ["InputError", "read_tables"]
