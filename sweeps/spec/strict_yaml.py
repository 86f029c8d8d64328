"""YAML as it is written: the one reader of every YAML file and value that a user hands in, and the one writer.

A plain value is read as the core schema of YAML 1.2 says. Where YAML 1.1, which most Python programs read, makes
another value of it that is a number or true or false (`010`, `1:30`, `1_000`, `yes`), nobody can know which one was
meant: the value is refused, and the message says what to write. Source of both schemas:
https://yaml.org/spec/1.2.2/#103-core-schema and https://yaml.org/type/.
"""

import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kdtrain.errors import InputError
from kdtrain.local_path import given_path

MOST_BYTES = 16 * 2**20
"""The largest file that is read."""
MOST_VALUES = 200_000
"""The most values of a file, those that aliases repeat included."""
_LARGEST = 2**63
_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE, _FALSE = re.compile(r"true|True|TRUE"), re.compile(r"false|False|FALSE")
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DIGEST = re.compile(r"(?=.{16}$)[0-9]+e[0-9]+")
"""A digest of 16 digits that earlier versions wrote without quotes."""
_COLOR = r"#[0-9a-fA-F]{6}(?=[\s:,}\]]|\0|$)"
_LOST_COLOR = re.compile(rf"(?:\s|#[^\n]*\n)*?{_COLOR}")
"""A color without quotes, which YAML takes for a comment, behind white space and other comments."""
_COLOR_REMEDY = 'a color needs quotes, as in "#000000", because # starts a comment'
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_OTHER_IN_1_1 = {
    re.compile(r"yes|Yes|YES|on|On|ON"): "write true, or {quoted} in quotes for the text",
    re.compile(r"no|No|NO|off|Off|OFF"): "write false, or {quoted} in quotes for the text",
    re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"): (
        "write the number of seconds or minutes itself, or {quoted} in quotes for the text"
    ),
    re.compile(r"[-+]?0o[0-7_]+|[-+]?0b[01_]+|[-+]0x[0-9a-fA-F_]+"): (
        "write the number in decimal digits, or {quoted} in quotes for the text"
    ),
    re.compile(
        r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|[-+]?\.[0-9][0-9_]*([eE][-+]?[0-9]+)?|0x[0-9a-fA-F_]+"
    ): ("write the number without leading zeros and underscores, or {quoted} in quotes for the text"),
}
"""Plain values of which YAML 1.1 and YAML 1.2 make different things, and what to write instead."""


def read_mapping(path: Path | str, what: str = "", holds: str = "a mapping") -> dict[str, Any]:
    """The content of a YAML file that holds a mapping.

    Args:
        path: The file.
        what: What the file is, for the errors: `spec`.
        holds: What the file must hold, for the errors.

    Raises:
        InputError: In one sentence with file and line, if the file cannot be read as it is written.
    """
    path, at = given_path(path), f"{what}: {path}" if what else str(path)
    try:
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise InputError(f"{at} is larger than {MOST_BYTES // 2**20} MiB, so it is not a YAML file of this program")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{at} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    value = parse_yaml(_decoded(content, at), at)
    if value is None:
        raise InputError(f"{at} is empty, but must hold {holds}")
    if not isinstance(value, dict):
        raise InputError(f"{at} must hold {holds}, got {_kind(value)}")
    return value


def parse_yaml(text: str, at: str) -> Any:
    """The value of a YAML text: mappings, lists, texts, numbers, true, false and null; null for an empty text.

    Args:
        text: One document.
        at: Where the text stands, for the errors.

    Raises:
        InputError: In one sentence with the line, if the text is not YAML, or not all of it would be read as written.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise InputError(f"{at} is not YAML{_line(error)}: {_problem(error)}{_color_hint(error, text)}") from None
    except yaml.reader.ReaderError as error:
        raise InputError(
            f"{at} is not YAML: the character {chr(error.character)!a} at position {error.position} is not "
            "printable; write it as an escape in double quotes"
        ) from None
    except RecursionError:
        raise InputError(f"{at} is nested too deeply") from None
    except ValueError as error:  # PyYAML lets int() and chr() fail on escapes and directives
        raise InputError(f"{at} is not YAML: {error}") from None
    return None if node is None else _Reader(at, "\n" in text.strip(), loader.tagged).value(node)


def parse_value(text: str, at: str) -> Any:
    """One value that a user gives on the command line.

    Raises:
        InputError: As `parse_yaml`; also if the text is empty, or a part of it would be read as a comment.
    """
    if not text.strip():
        raise InputError(f"{at}: the value is empty; write null for no value, or '\"\"' for an empty text")
    value = parse_yaml(text, at)
    node = yaml.compose(text, yaml.SafeLoader)
    if node is None or text[node.end_mark.index :].strip():
        raise InputError(f"{at}: YAML reads {text!r} only up to the #; put the value into double quotes within it")
    return value


def dump_yaml(content: Mapping[str, Any]) -> str:
    """Plain content as YAML that every reader, of YAML 1.1 or 1.2, reads as the same values."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that any reader could take for something else, and writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.yaml_implicit_resolvers = {first: list(each) for first, each in yaml.SafeDumper.yaml_implicit_resolvers.items()}
_Dumper.add_implicit_resolver(f"{_TAG}float", re.compile(f"({_FLOAT.pattern}|[-+]?0o[0-7_]+)$"), list("-+.0123456789"))


class _Loader(yaml.SafeLoader):
    """Remembers which values have a tag in the text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.tagged: set[Node] = set()

    def compose_scalar_node(self, anchor: Any) -> ScalarNode:
        tag = self.peek_event().tag  # type: ignore[no-untyped-call]
        node: ScalarNode = super().compose_scalar_node(anchor)
        if tag is not None:
            self.tagged.add(node)
        return node


class _Reader:
    """Values from the nodes of one document.

    Args:
        at: Where the document stands, for the errors.
        has_lines: Whether the errors name the line.
        tagged: The values that have a tag in the text, such as `!!str`.
    """

    def __init__(self, at: str, has_lines: bool, tagged: Collection[Node]) -> None:
        self._at, self._has_lines, self._tagged = at, has_lines, tagged
        self._count = 0
        self._open: list[Node] = []
        self._path: list[str] = []

    def value(self, node: Node) -> Any:
        """The value of a node."""
        self._count += 1
        if self._count > MOST_VALUES:
            raise self._error(node, f"it holds more than {MOST_VALUES} values, with what its aliases repeat")
        if _holds_lost_color(node):
            raise self._error(node, f"{_COLOR_REMEDY}; write null, {{}} or [] where nothing is meant")
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if any(node is each for each in self._open):
            raise self._error(node, "an alias stands inside of what it repeats")
        if len(self._open) > 100:
            raise self._error(node, "it is nested too deeply")
        self._open.append(node)
        try:
            if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
                return [self._below(str(index), item) for index, item in enumerate(node.value)]
            if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
                return self._mapping(node)
        finally:
            self._open.pop()
        raise self._error(node, f"the tag {_short_tag(node)} is not known; leave it out")

    def _mapping(self, node: MappingNode) -> dict[Any, Any]:
        merged: dict[Any, Any] = {}
        own: dict[Any, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            is_merge = key_node.tag == f"{_TAG}merge" and key_node.style is None
            key = "<<" if is_merge else self._key(key_node)
            name, line = str(key), key_node.start_mark.line + 1
            if name in lines:
                raise self._error(key_node, f"the key {name!r} stands twice, first in line {lines[name]}; give it once")
            lines[name] = line
            if is_merge:
                merged = self._merged(value_node)
            else:
                own[key] = self._below(name, value_node)
        return {**merged, **own}

    def _below(self, step: str, node: Node) -> Any:
        """The value of a node that stands under a key or an index."""
        self._path.append(step)
        value = self.value(node)
        self._path.pop()
        return value

    def _merged(self, node: Node) -> dict[Any, Any]:
        """What `<<` merges: of several mappings the first has priority."""
        value = self.value(node)
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            raise self._error(node, "<< merges a mapping, or a list of mappings, into the one that it stands in")
        return {key: item for part in reversed(parts) for key, item in part.items()}

    def _key(self, node: Node) -> str | int:
        key = self.value(node) if isinstance(node, ScalarNode) else None
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise self._error(node, "a key is a text or a whole number; put it into quotes")
        return key

    def _scalar(self, node: ScalarNode) -> str | int | float | bool | None:
        text = str(node.value)
        if "\0" in text or not _is_unicode(text):
            raise self._error(node, f"the text {_cut(text)!a} holds a character that no file can hold")
        plain = node.style is None
        kind = node.tag.removeprefix(_TAG)
        if not plain and kind == "str":
            return text
        if node.tag not in _KNOWN_TAGS:
            raise self._error(node, f"the tag {_short_tag(node)} is not known; leave it out")
        if kind == "str" and node in self._tagged:
            return text
        if _NULL.fullmatch(text):
            return None
        if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
            return bool(_TRUE.fullmatch(text))
        if _DECIMAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
            return self._integer(node, text)
        if _NOT_FINITE.fullmatch(text):
            return float(text.replace(".", "", 1))
        if _FLOAT.fullmatch(text):
            if plain and _DIGEST.fullmatch(text):
                return text
            number = float(text)
            if not math.isfinite(number) or (number == 0 and re.match(r"[-+.0]*[1-9]", text)):
                raise self._error(node, f"the number {_cut(text)} is too large or too small to be held")
            return number
        for pattern, remedy in _OTHER_IN_1_1.items():
            if pattern.fullmatch(text):
                quoted = remedy.format(quoted=f'"{_cut(text)}"')
                raise self._error(node, f"YAML 1.1 and YAML 1.2 read {_cut(text)} differently; {quoted}")
        if kind in ("null", "bool", "int", "float"):
            raise self._error(node, f"{_cut(text)} is not of the kind {kind}; put it into quotes for the text")
        return text

    def _integer(self, node: ScalarNode, text: str) -> int:
        digits = text.lstrip("+-")
        number = int(text, 16) if digits.startswith("0x") else (int(text) if len(digits) < 25 else _LARGEST)
        if not -_LARGEST <= number < _LARGEST:
            raise self._error(node, f"a whole number lies between -2^63 and 2^63 - 1, got {_cut(text)}")
        return number

    def _error(self, node: Node, problem: str) -> InputError:
        line = f", line {node.start_mark.line + 1}" if self._has_lines else ""
        path = f"{'.'.join(self._path)}: " if self._path else ""
        return InputError(f"{self._at}{line}: {path}{problem}")


_KNOWN_TAGS = {f"{_TAG}{kind}" for kind in ("null", "bool", "int", "float", "str", "timestamp", "value", "merge")}


def _is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: an escape can name half a character, a surrogate."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _decoded(content: bytes, at: str) -> str:
    for mark, name in ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")):
        if content.startswith(mark):
            raise InputError(f"{at} is not YAML in UTF-8, it is {name}; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{at} is not YAML in UTF-8: line {line} holds the byte 0x{content[error.start]:02x}; save it as UTF-8"
        ) from None


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = " ".join(f"{error.problem or error.context or 'it does not parse'}".split())
    if "\\t" in problem:
        return "a tab cannot indent; use spaces"
    if "but found another document" in problem:
        return "it holds several documents, but must hold one; leave out the --- between them"
    return f"{problem} ({error.context.strip()})" if error.problem and error.context else problem


def _color_hint(error: yaml.MarkedYAMLError, text: str) -> str:
    """The end of a sentence about a text that is not YAML, perhaps because of a color without quotes."""
    mark = error.problem_mark or error.context_mark
    before = "\n".join(text.split("\n")[: mark.line + 1]) if mark is not None else ""
    return f"; {_COLOR_REMEDY}" if re.search(rf"[{{\[,:]\s*{_COLOR}", before) else ""


def _holds_lost_color(node: Node) -> bool:
    """Whether a value that YAML takes for empty is followed by, or holds, a color without quotes."""
    mark = node.start_mark
    is_empty = not node.value and (not isinstance(node, ScalarNode) or node.style is None)
    if not is_empty or mark.buffer is None:
        return False
    begin = mark.pointer if isinstance(node, ScalarNode) else mark.pointer + 1  # after the { or [
    return _LOST_COLOR.match(mark.buffer, begin) is not None


def _line(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""


def _short_tag(node: Node) -> str:
    return f"!!{node.tag.removeprefix(_TAG)}" if node.tag.startswith(_TAG) else str(node.tag)


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else f"the single value {_cut(repr(value))}"
