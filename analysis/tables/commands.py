"""What the command of a sweep says that other commands about it must say, too: its data, its weights and its trust."""

import posixpath
import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from analysis.tables.files import Tables

_FOLDERS = ("--data", "--weights")
_TRUST = "--trust"
_VARIABLE = re.compile(r"[A-Z_]+=", re.ASCII)


class Shared(NamedTuple):
    """Parts of a line for a shell, quoted.

    Attributes:
        before: Variables of the environment, each followed by a space.
        options: Options, each after a space.
    """

    before: str = ""
    options: str = ""

    def by_name(self) -> dict[str, str | bool]:
        """The options by name, without dashes; those without a value are true."""
        words = shlex.split(self.options)
        pairs = zip(words, [*words[1:], ""], strict=False)  # no word at all has none that follows
        return {word[2:]: value if word in _FOLDERS else True for word, value in pairs if word in (*_FOLDERS, _TRUST)}


def shared_by_commands(tables: "Tables") -> Shared:
    """What a command that trains with the data of a sweep shares with the command that began it."""
    line = tables["sweeps"].iloc[0].get("grow_command")
    return shared(line) if isinstance(line, str) else Shared()


def shared(line: str) -> Shared:
    """The same, with absolute folders, from ``cd FOLDER && VARIABLE=VALUE kdsweep run SPEC --data FOLDER ...``."""
    words, folder = shlex.split(line), ""
    if words[:1] == ["cd"] and words[2:3] == ["&&"]:
        folder, words = words[1], words[3:]
    start = next((place for place, word in enumerate(words) if not _VARIABLE.match(word)), len(words))
    variables = (word.partition("=") for word in words[:start])
    before = "".join(f"{name}={shlex.quote(value)} " for name, _, value in variables)
    return Shared(before, "".join(f" {shlex.quote(word)}" for word in carried_options(words[start:], folder)))


def carried_options(
    words: Sequence[str], folder: str, values: Collection[str] = (), flags: Collection[str] = (_TRUST,)
) -> Iterator[str]:
    """The options of a command that another command is to have, too.

    Args:
        words: The command.
        folder: Where it ran: the folders of its data and weights become absolute.
        values: Further options with a value.
        flags: Options without one.
    """
    end = words.index("--") if "--" in words else len(words)
    for word, following in zip(words[:end], [*words[1:end], ""], strict=False):
        name, joined, value = word.partition("=")
        value = value if joined else following
        if name in _FOLDERS:
            yield from (name, posixpath.join(folder, value))
        elif name in values:
            yield from (name, value)
        elif word in flags:
            yield word
