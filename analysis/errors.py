"""Errors of the user, each in one sentence."""


class AnalysisError(ValueError):
    """Wrong input: a folder without tables, a study that does not exist, a table that cannot be read."""
