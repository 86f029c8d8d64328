"""What a user got wrong, said in one sentence."""


class InputError(ValueError):
    """Wrong input: a folder without tables, a study that is not there, a table that does not read."""
