"""Paths as a user writes them: the one place that makes paths of this machine out of them."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from kdtrain.errors import InputError

_FILE = re.compile(r"file:(?://(?P<host>[^/]*))?(?P<path>/.*)?", re.DOTALL)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def given_path(text: Path | str) -> Path:
    """A path as it is written, with `~` or `~user` at its start, or `file://`, replaced; variables are not.

    Raises:
        InputError: If it is empty, of a user who is not known, or a URI of another kind.
    """
    text = os.fspath(text)
    if not text:
        raise InputError("a path must not be empty; write . for the current folder")
    if text.startswith("file:") and (uri := _FILE.fullmatch(text)):
        if uri["host"] not in (None, "", "localhost") or not uri["path"]:
            raise InputError(f"must be a path, or a URI with three slashes as in file:///folder, got {text}")
        return Path(unquote(uri["path"]))
    if is_remote(text):
        raise InputError(f"must be a path of this machine, got the URI {text}")
    expanded = os.path.expanduser(text)  # noqa: PTH111 - Path takes ./~ for ~
    if text.startswith("~") and expanded == text:
        raise InputError(f"{text}: the home folder is not known; write the whole path, or ./ before the ~")
    return Path(expanded)


def is_remote(text: str) -> bool:
    """Whether a text has the form of a URI of something else than a file."""
    return _URI.match(text) is not None and not text.startswith("file:")


def local_path(text: Path | str) -> Path:
    """The absolute path of a path as it is written, relative to the current folder.

    Raises:
        InputError: As `given_path`.
    """
    return given_path(text).absolute()
