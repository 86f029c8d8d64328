"""A line of the ledger: one record, with a checksum of its own and a seal over all records up to it."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import NamedTuple

from pydantic_core import from_json

from sweeps.ledger.event_base import Content
from sweeps.ledger.event_reader import parse_event
from sweeps.ledger.events import Event
from sweeps.ledger.line_sum import checked, checksum

START = ""
"""The seal before the first record."""
_SEAL = re.compile(rb',"seal":"([0-9a-f]{16})"}')
_SEAL_LENGTH = len(',"seal":"0123456789abcdef"}')


@dataclass(frozen=True)
class Record:
    """One line: its running number, when (UTC, ISO 8601), what kind of event, and the event's content."""

    n: int
    at: str
    kind: str
    data: Content

    @property
    def event(self) -> Event:
        """What happened.

        Raises:
            InputError: If a later version wrote the record.
        """
        return parse_event(self.n, self.kind, self.data)

    def line(self) -> bytes:
        """The line as versions without seals wrote it."""
        body = self._body()
        return body[:-1] + checksum(body) + b"\n"

    def sealed(self, before: str) -> tuple[bytes, str]:
        """The line as written, and its seal.

        Args:
            before: The seal of the record before.
        """
        body = self._body()
        seal = _seal(before, body)
        body = b'%s,"seal":"%s"}' % (body[:-1], seal.encode())
        return body[:-1] + checksum(body) + b"\n", seal

    def _body(self) -> bytes:
        content = {"n": self.n, "at": self.at, "kind": self.kind, "data": self.data}
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def parse(cls, line: bytes) -> "Record":
        """Read a line, whatever is before it.

        Raises:
            ValueError: If it is torn or altered.
        """
        return _record(checked(line))


class Line(NamedTuple):
    """A line that was read behind another one.

    Attributes:
        record: What it says.
        seal: Its seal, computed from the line and the seal before.
        is_sealed: Whether it has a seal; versions without seals wrote lines without.
        follows: Whether the seal that it has is the computed one, so that it was written behind this other line.
    """

    record: Record
    seal: str
    is_sealed: bool
    follows: bool

    @classmethod
    def parse(cls, line: bytes, before: str) -> "Line":
        """Read a line.

        Args:
            line: The line.
            before: The seal of the line before.

        Raises:
            ValueError: If the line is torn or altered.
        """
        body = checked(line)
        match = _SEAL.fullmatch(body[-_SEAL_LENGTH:])
        seal = _seal(before, body if match is None else body[:-_SEAL_LENGTH] + b"}")
        return cls(_record(body), seal, match is not None, match is None or match[1] == seal.encode())


def _record(body: bytes) -> Record:
    try:
        content = from_json(body, cache_strings="keys")
    except ValueError:  # a text with half of a character, as the name of a file may have
        content = json.loads(body)
    return Record(content["n"], content["at"], content["kind"], content["data"])


def _seal(before: str, body: bytes) -> str:
    return hashlib.sha256(before.encode() + body).hexdigest()[:16]
