"""What a user got wrong, said in one sentence."""


class InputError(ValueError):
    """Wrong input: a config, a data folder, a teacher, a checkpoint.

    The message is one sentence that names the field or file, what is allowed and what came.
    """
