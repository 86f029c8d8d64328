"""A file that is there whole or not at all, so that nobody ever reads half of one."""

import os
import secrets
from pathlib import Path


def write_atomically(target: Path, content: bytes) -> Path:
    """Write a file on a disk in one step; its folder is made if it is missing.

    Returns:
        ``target``.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with scratch.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    return target
