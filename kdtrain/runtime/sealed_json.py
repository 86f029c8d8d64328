"""JSON files that are written for later runs, not for editing: with a checksum, so that a change is noticed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SUM = "sha256"
"""The key of the checksum, beside the keys of the content."""


class AlteredError(ValueError):
    """A file that was edited, or is damaged."""


def to_bytes(content: Mapping[str, Any], indent: int | None = None) -> bytes:
    """A JSON object with its checksum."""
    plain = json.loads(json.dumps(content))
    return json.dumps({**plain, SUM: checksum(plain)}, indent=indent).encode()


def parse(content: bytes, required: bool = False) -> tuple[Any, bool]:
    """Read what `to_bytes` wrote, or JSON of a version that wrote no checksum.

    Args:
        content: The file.
        required: Whether there must be a checksum.

    Returns:
        The content without its checksum, and whether it had one.

    Raises:
        AlteredError: If the checksum does not match, or is missing although there must be one.
        ValueError: If it is not JSON.
    """
    plain = json.loads(content)
    if not isinstance(plain, dict) or SUM not in plain:
        if required:
            raise AlteredError("it has no checksum")
        return plain, False
    found = plain.pop(SUM)
    if found != checksum(plain):
        raise AlteredError("its checksum does not match")
    return plain, True


def checksum(content: object) -> str:
    """The checksum of JSON values, whatever the order of keys and the white space."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
