"""Estimators: intervals, contrasts, multiple comparisons."""
