"""The states of a trial and the phases of a sweep."""

from enum import StrEnum


class TrialState(StrEnum):
    """How far a trial has come."""

    PLANNED = "planned"
    """Still to be started, or to be started again."""
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    """Stopped early, because others of its study were better at the same epoch. With `scheduler.mode: pause` it may go
    on later."""
    DIVERGED = "diverged"
    """A loss was not finite."""
    FAILED = "failed"
    """An error ended its last attempt."""

    @property
    def is_unfinished(self) -> bool:
        """Whether more epochs of the trial are to come."""
        return self is TrialState.PLANNED or self is TrialState.RUNNING

    @property
    def is_over(self) -> bool:
        """Whether the trial has ended, however it did."""
        return not self.is_unfinished


class Phase(StrEnum):
    """What a trial is for."""

    SEARCH = "search"
    """Tries a config."""
    CONFIRM = "confirm"
    """Trains one of the best configs of a study on a fresh seed."""
    FINAL = "final"
    """Trains the frozen config, or that of the baseline, on a seed that no other trial has."""
    LEFT_OUT = "left_out"
    """Was a trial of a search, before the space of its study was corrected."""
    AUDIT = "audit"
    """Trains a stopped trial of a search to the end, to see what was lost; see `sweeps.driver.audit`."""

    @property
    def is_searched(self) -> bool:
        """Whether a search has proposed its trials."""
        return self in (Phase.SEARCH, Phase.LEFT_OUT)

    @property
    def is_fresh(self) -> bool:
        """Whether its trials train on fresh or final seeds."""
        return self in (Phase.CONFIRM, Phase.FINAL)
