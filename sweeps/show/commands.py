"""Commands that are printed, as they can be pasted into a shell: the one place that composes them."""

import os
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from typer._click.core import ParameterSource
from typer._click.globals import get_current_context

PROGRAM = "kdsweep"
_FOLDERS = {"data": "KDSWEEP_DATA", "weights": "KDSWEEP_WEIGHTS"}
"""Options that a variable of the environment can stand for."""
_CARRIED = frozenset({"data", "weights", "device", "threads", "workers", "trust", "address", "inline"})
"""Options that say the same of every command that has them."""
_VARIABLES = ("KDSWEEP_CACHE", "KDSWEEP_TRUST")
"""Variables without such an option, or that say more than it."""


def this_command() -> str:
    """The command that runs, with every option that the user gave, and the folders that the environment gives."""
    context = get_current_context(silent=True)
    if context is None:
        return shlex.join([PROGRAM, *sys.argv[1:]])
    arguments = [
        str(word)
        for param in context.command.params
        if param.param_type_name == "argument"
        for word in _several(context.params[param.name])
    ]
    words = context.command_path.split(" ")[1:]
    params = context.command.params
    return _composed(words, arguments, list(_given(context, params, {param.name for param in params})))


def next_command(words: str, *arguments: Path | str, **options: Path | str | bool | Sequence[str]) -> str:
    """Another command, with those options of the command that runs that it has too, such as `--data` and `--trust`.

    Args:
        words: The words that call it: `train`, `teacher fit`.
        arguments: Its arguments.
        options: Further options of it by name, of several values each on its own; they go before those of the command
            that runs.
    """
    given = [(f"--{name}", each) for name, value in options.items() for each in _several(value)]
    own = [word for name, value in given for word in _option(name, value)]
    context = get_current_context(silent=True)
    if context is None:
        return _composed(words.split(), [str(each) for each in arguments], own)
    command: Any = context.find_root().command
    for word in words.split():
        command = command.commands[word]
    shared = _CARRIED & {param.name for param in command.params} - options.keys()
    own += _given(context, [param for param in context.command.params if param.name in shared], shared)
    return _composed(words.split(), [str(each) for each in arguments], own)


def _given(context: Any, params: Sequence[Any], names: Collection[str]) -> Iterator[str]:
    """The options that the user gave, and those of some names that variables of the environment stand for."""
    given = set()
    for param in params:
        if param.param_type_name != "option" or context.get_parameter_source(param.name) != ParameterSource.COMMANDLINE:
            continue
        given.add(param.name)
        value = context.params[param.name]
        if isinstance(value, bool):
            yield param.opts[0] if value else param.secondary_opts[0]
        else:
            for each in _several(value):
                yield from _option(param.opts[0], each)
    for name, variable in _FOLDERS.items():
        folder = os.environ.get(variable)
        if folder and name in names and name not in given:
            yield from _option(f"--{name}", folder)


def _option(name: str, value: object) -> list[str]:
    """An option and its value; a value that looks like an option is joined to it."""
    if value is True:
        return [name]
    text = str(value)
    return [f"{name}={text}"] if text.startswith("-") else [name, text]


def _several(value: object) -> list[object]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _composed(words: Sequence[str], arguments: Sequence[str], options: Sequence[str]) -> str:
    """One line for a shell; arguments that look like options come at the end, after `--`."""
    dashed = any(argument.startswith("-") for argument in arguments)
    tail = [*options, "--", *arguments] if dashed else [*arguments, *options]
    variables: Mapping[str, str] = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
    before = "".join(f"{name}={shlex.quote(value)} " for name, value in variables.items())
    return before + shlex.join([PROGRAM, *words, *tail])
