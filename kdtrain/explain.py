"""Errors in one sentence: the field, what is allowed, what it got, and which key is most like an unknown one."""

import difflib
import re
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

_PLAIN_WORDS = {"a valid tuple": "a list", "a valid dictionary": "a mapping", "a valid list": "a list"}
"""What YAML calls the types of Python."""
_PYTHON_ONLY = re.compile(
    r" or (an )?instance of \w+| or object to extract fields from"
    r"|, unable to (parse|interpret) .*| after validation, not \d+"
)
"""What pydantic adds for readers of Python code."""

_FEW = 6
"""Fields of a section that a sentence names."""

_ROOT = Path(__file__).resolve().parents[1]
_FOLDERS = (
    *(_ROOT / package for package in ("kdtrain", "sweeps", "analysis")),
    *(Path(sysconfig.get_paths()[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
)
"""Folders of this project, of Python and of installed packages."""


def sentence(error: "ValidationError", model: "type[BaseModel]", prefix: str = "") -> str:
    """The first mistake that pydantic found.

    Args:
        error: What pydantic raised.
        model: The class that was validated: its fields are the allowed keys.
        prefix: The dotted path of the validated object inside its file.
    """
    where, text = _first_mistake(error, model)
    path = _dotted(prefix, *where)
    return f"{path}: {text}" if path else text


def explained(error: "ValidationError", model: "type[BaseModel]") -> "ValidationError":
    """The first mistake in the words of `sentence`, for a validator of a field to raise whose type is not `model`."""
    from pydantic import ValidationError
    from pydantic_core import InitErrorDetails, PydanticCustomError

    where, text = _first_mistake(error, model)
    mistake = PydanticCustomError("value_error", "{text}", {"text": text})
    return ValidationError.from_exception_data(model.__name__, [InitErrorDetails(type=mistake, loc=where, input=None)])


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the kind of the error if it has none, and its place in a user's file."""
    return f"{(str(error) or type(error).__name__).splitlines()[0]}{place_of(error)}"


def kind_and_line(error: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    kind, text = type(error).__name__, first_line(error)
    return text if not str(error) else f"{kind}: {text}"


def place_of(error: BaseException) -> str:
    """` at my_network.py:12` for an error that was raised in or below a file of the user's; else nothing.

    Files of Python, of installed packages and of this project are none of the user's.
    """
    frames = [(Path(frame.f_code.co_filename), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    for file, line in reversed(frames):
        if file.is_absolute() and not any(folder in file.parents for folder in _FOLDERS):
            return f" at {file.name}:{line}"
    return ""


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the most similar allowed name, or else the first 20 of them."""
    names = sorted(allowed)
    similar = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if similar:
        return f"; did you mean {similar[0]}?"
    return f"; known: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}" if names else ""


def _first_mistake(error: "ValidationError", model: "type[BaseModel]") -> tuple[tuple[int | str, ...], str]:
    """The place of the first mistake, as the user wrote it, and what is wrong there."""
    mistakes = error.errors(include_url=False)
    first = mistakes[0]
    if first["type"] == "missing":  # a key that is misspelt: the user's own key tells more than the one that is missing
        beside = (mistake for mistake in mistakes if mistake["loc"][:-1] == first["loc"][:-1])
        first = next((mistake for mistake in beside if mistake["type"] == "extra_forbidden"), first)
    loc = tuple(first["loc"])
    if first["type"] == "extra_forbidden":
        keys, path = _walk(model, loc[:-1])
        return (*path, loc[-1]), f"unknown key{did_you_mean(str(loc[-1]), keys)}"
    text = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "missing":
        text = "is required"
    elif first["type"] not in ("value_error", "assertion_error"):
        text = _PYTHON_ONLY.sub("", text)
        text = f"{text[0].lower()}{text[1:]}, got {short(first['input'])}"
        for python, plain in _PLAIN_WORDS.items():
            text = text.replace(python, plain, 1)
        if first["type"] in ("too_short", "too_long"):
            text = re.sub(r"^\w+ should", "should", text)
        if first["input"] is None:
            text += _instead_of_null(model, loc)
    if loc and loc[-1] == "[key]":
        loc, text = loc[:-1], re.sub("^input should", "the key should", text)
    return tuple(_walk(model, loc)[1]), text


def _instead_of_null(model: "type[BaseModel]", loc: Sequence[Any]) -> str:
    """The end of a sentence: what to write in place of null; empty where nothing can be said."""
    keys, path = _walk(model, loc)
    ways = [] if _is_required(model, path) else ["leave it out to take its default"]
    if off := _off(_at(model, path)):
        ways.append(f"write {off}")
    if keys:
        ways.append(f"give some of its fields ({', '.join(keys[:_FEW])}{', ...' * (len(keys) > _FEW)})")
    return f"; {', or '.join(ways)}" if ways else ""


def _off(annotation: Any) -> str:
    """What a section of this type is written as to turn it off, from its class attribute `OFF`; empty without one."""
    if _is_model(annotation):
        return str(getattr(annotation, "OFF", ""))
    return next(filter(None, map(_off, get_args(annotation))), "")


def _is_required(model: "type[BaseModel]", path: Sequence[Any]) -> bool:
    """Whether a place must have a value: a field without default, or an item of a list or mapping."""
    holder = _at(model, path[:-1])
    field = holder.model_fields.get(str(path[-1])) if path and _is_model(holder) else None
    return field is None or field.is_required()


def _at(annotation: Any, path: Sequence[Any]) -> Any:
    """The type of a place in a config, as far as its fields lead to one; else None."""
    if get_origin(annotation) is Annotated:
        return _at(get_args(annotation)[0], path)
    if not path:
        return annotation
    field = annotation.model_fields.get(str(path[0])) if _is_model(annotation) else None
    return None if field is None else _at(field.annotation, path[1:])


def _dotted(*parts: Any) -> str:
    return ".".join(str(part) for part in parts if part != "")


def short(value: Any) -> str:
    """A value as YAML writes it, cut off where it is long."""
    text = str(value).lower() if isinstance(value, bool) else "null" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _walk(annotation: Any, loc: Sequence[Any]) -> tuple[list[str], list[Any]]:
    """The keys allowed at `loc`, and `loc` as the user wrote it, without pydantic's tags of unions."""
    if _is_model(annotation):
        if not loc:
            return list(annotation.model_fields), []
        field = annotation.model_fields.get(str(loc[0]))
        keys, path = _walk(field.annotation, loc[1:]) if field else ([], list(loc[1:]))
        return keys, [loc[0], *path]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _walk(arguments[0], loc)
    if origin in (Union, UnionType):
        return _walk_union(arguments, loc)
    if arguments and loc and origin in (tuple, list, dict):
        keys, path = _walk(arguments[1] if origin is dict else arguments[0], loc[1:])
        return keys, [loc[0], *path]
    return [], list(loc)


def _walk_union(members: Sequence[Any], loc: Sequence[Any]) -> tuple[list[str], list[Any]]:
    for member in members:
        if _is_model(member) and loc and loc[0] in _tags(member):
            return _walk(member, loc[1:])
    walks = [_walk(member, loc) for member in members if member is not type(None)]
    return max(walks, key=lambda pair: len(pair[0]), default=([], list(loc)))


def _is_model(annotation: object) -> "TypeGuard[type[BaseModel]]":
    from pydantic import BaseModel

    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _tags(model: "type[BaseModel]") -> set[Any]:
    literals = [field.annotation for field in model.model_fields.values() if get_origin(field.annotation) is Literal]
    return {value for literal in literals for value in get_args(literal)} | {model.__name__}
