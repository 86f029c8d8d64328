"""The one rule for names that become parts of paths, columns and commands: of sweeps, studies, methods and terms."""

import re

LONGEST = 200
"""Characters: file systems take 255 bytes, and a name of a folder gets an ending."""
_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def check_name(name: str) -> str:
    """The name, if it may be part of a path on every file system.

    Raises:
        ValueError: If it is empty, too long, or holds other characters.
    """
    if len(name) > LONGEST:
        raise ValueError(f"a name has at most {LONGEST} characters, got {len(name)}: {name[:30]!a}...")
    if not _FORM.fullmatch(name):
        raise ValueError(
            f"a name begins with a letter or digit and holds letters, digits and _ . + - of ASCII alone, got {name!a}"
        )
    return name
