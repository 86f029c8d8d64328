"""Skips what needs a newer torch than the oldest that is allowed."""

import pytest
import torch

from kdtrain.torch_version import release


def needs_torch(*least: int) -> None:
    """Skip the test that calls this where torch is older than `least`, its major and minor number."""
    if release(torch.__version__) < least:
        pytest.skip(f"needs torch {'.'.join(map(str, least))} or newer, this is {torch.__version__}")
