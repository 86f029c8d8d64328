"""What all kinds of events have in common: the names of the fields are the keys of a record's `data`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from kdtrain.loop.reports import EpochReport

Content = Mapping[str, Any]
"""A JSON object as it stands in a record; what is in it is checked where it is used."""
Environment = Mapping[str, object]
"""The software and hardware of a process: a row of the table of environments, and its node."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Fields that a record has by their names.

    Attributes:
        later: Fields that earlier versions do not know, left out where they have their default.
    """

    later: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_json(cls, data: Content) -> Self:
        """The object that a record's data describe."""
        return cls(**data)

    def to_json(self) -> dict[str, object]:
        """Its data in a record."""
        values = ((each, getattr(self, each.name)) for each in fields(self))
        return {
            each.name: _plain(value) for each, value in values if each.name not in self.later or value != each.default
        }

    @classmethod
    def field_names(cls) -> Iterator[str]:
        """The keys of its data in a record, in order."""
        return (each.name for each in fields(cls))


@dataclass(frozen=True, slots=True)
class EventBase(Fields):
    """A record of the ledger.

    Attributes:
        kind: Its kind in the ledger.
    """

    kind: ClassVar[str]


def _plain(value: Any) -> object:
    """A field as JSON has it."""
    if isinstance(value, EpochReport):
        return value.to_dict()
    if isinstance(value, Fields):
        return value.to_json()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
