"""Features that need a newer torch than the rest of the package."""

import torch

from kdtrain.errors import InputError


def require_torch(least: tuple[int, int], use: str) -> None:
    """Check that torch is new enough for a feature.

    Args:
        least: Major and minor number of the oldest torch that has what the feature needs.
        use: The feature, as the subject of a sentence: "an export to ONNX".

    Raises:
        InputError: If torch is older.
    """
    if release(torch.__version__) < least:
        needed = ".".join(map(str, least))
        raise InputError(
            f"{use} needs torch {needed} or newer, this is {torch.__version__}: pip install 'torch>={needed}'"
        )


def release(version: str) -> tuple[int, int]:
    """Major and minor number of a version such as `2.4.0+cu121`."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
