"""At which paths two plain values differ, and what is there, in words."""

from collections.abc import Mapping, Sequence

_LONGEST = 100
"""Characters of a value in a message."""
_MOST = 6
"""Changes in an error."""


def differences(
    before: object, after: object, path: tuple[str, ...] = (), skip: tuple[str, ...] = ()
) -> list[tuple[str, str, str]]:
    """The dotted paths at which two plain values differ, with both values there, shortened."""
    if ".".join(path) in skip or before == after:
        return []
    pairs: list[tuple[str, object, object]] = []
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        pairs = [(str(key), before.get(key), after.get(key)) for key in {**before, **after}]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = [(_label(was, index), was, now) for index, (was, now) in enumerate(zip(before, after, strict=True))]
    if not pairs:
        return [(".".join(path), _shown(before), _shown(after))]
    return [each for label, was, now in pairs for each in differences(was, now, (*path, label), skip)]


def listed(changes: Sequence[str]) -> str:
    """The first changes on one line, and how many more there are."""
    more = len(changes) - _MOST
    return ", ".join(changes[:_MOST]) + (f" and {more} more" if more > 0 else "")


def _shown(value: object) -> str:
    """A plain value as YAML has it, on one line, shortened."""
    text = repr(value) if isinstance(value, str) else _as_yaml(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _as_yaml(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Mapping():
            return f"{{{', '.join(f'{key}: {_as_yaml(each)}' for key, each in value.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(_as_yaml, value))}]"
    return str(value)


def _label(item: object, index: int) -> str:
    return str(item["name"]) if isinstance(item, Mapping) and "name" in item else str(index)
