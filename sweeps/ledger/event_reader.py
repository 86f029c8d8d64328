"""From a record of the ledger to its event; a record that a later version wrote is refused in one sentence."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import get_args

from kdtrain.errors import InputError
from kdtrain.explain import kind_and_line
from sweeps.ledger import former_names
from sweeps.ledger.event_base import Content
from sweeps.ledger.events import Event

_BY_KIND: dict[str, type[Event]] = {event.kind: event for event in get_args(Event)}
_LATER = "which a later version of kdsweep wrote; install that version (`pip install --upgrade kdsweep`)"


def parse_event(number: int, kind: str, data: Content) -> Event:
    """The event that a record describes.

    Args:
        number: The record's number, for messages.
        kind: The record's kind.
        data: The record's content.

    Raises:
        InputError: If a later version wrote the record, or a field is missing or has a value that is not allowed.
    """
    if not isinstance(kind, str) or not isinstance(data, Mapping):
        raise InputError(f"ledger: record {number} is not of a kind with named fields; put back the ledger from a copy")
    event = _BY_KIND.get(former_names.KINDS.get(kind, kind))
    if event is None:
        raise InputError(f"ledger: record {number} has the kind {kind!r}, {_LATER}")
    try:
        return event.from_json(data)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"ledger: record {number} of kind {kind} {_complaint(event, data, error)}") from None


def _complaint(event: type[Event], data: Content, error: Exception) -> str:
    names = list(event.field_names())
    if unknown := [key for key in data if key not in names]:
        return f"has the field {unknown[0]!r}, {_LATER}"
    required = [each.name for each in fields(event) if each.default is each.default_factory is MISSING]
    if missing := [name for name in required if name not in data]:
        return f"has no field {missing[0]!r}; put back the ledger from a copy"
    why = kind_and_line(error)
    return f"does not read ({why}); install the later version that wrote it, or put back the ledger from a copy"
