"""Text of unknown origin, such as a name of a file, as text that every terminal, file and table takes."""

import os
import unicodedata
from pathlib import Path

_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories of control characters, of bytes that are not UTF-8, and of ends of lines."""
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that make a terminal show the text after them in another order."""


def printable(text: Path | str, keep: str = "") -> str:
    """The text with control characters, and bytes that are not UTF-8, written as escapes.

    Args:
        text: Any text; of a path, the text as the system has it.
        keep: Control characters that stay, such as the end of a line.
    """
    text = str(text)
    return (
        text
        if text.isascii() and text.isprintable()
        else "".join(character if character in keep else _escaped(character) for character in text)
    )


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte, as Python holds one that is not UTF-8
        return f"\\x{os.fsencode(character).hex()}"
    if unicodedata.category(character) in _NO_TEXT or character in _REORDERING:
        return character.encode("unicode_escape").decode()
    return character
