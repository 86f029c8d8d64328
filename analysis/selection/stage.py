"""How far a sweep is, which decides how much may be said of it: what a headline and the figures beside it rest on."""

from enum import StrEnum


class Stage(StrEnum):
    """What a headline or a score rests on; in ``best.yaml`` the field ``rests_on``."""

    SEARCH = "one seed of the search"
    RUNNING = "an unfinished sweep"
    PROVISIONAL = "fresh seeds that also chose the config"
    HELD_OUT = "final seeds"
