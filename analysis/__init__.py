"""What a sweep's tables say: comparison, selection, ablation, report. Knows neither Ray nor torch.

The names are imported when they are first used, so that `import analysis.x` does not import pandas without need.
"""

from typing import TYPE_CHECKING

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    from analysis.tables.files import read_tables

InputError = AnalysisError
"""The earlier name of `AnalysisError`."""

__all__ = ["AnalysisError", "InputError", "read_tables"]


def __getattr__(name: str) -> object:
    if name != "read_tables":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from analysis.tables.files import read_tables

    return read_tables


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
