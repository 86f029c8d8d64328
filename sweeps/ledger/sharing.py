"""Contents that are alike in most of their parts, with the equal parts in memory once."""

import marshal

from sweeps.ledger.event_base import Content

_WITHOUT_REFERENCES = 2
"""The version of marshal's format in which equal values of equal types are equal bytes."""


class Shared:
    """Contents of one kind, such as the configs of a study, each with the parts of the first one that it equals."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[bytes, object]] = {}

    def __call__(self, content: Content) -> Content:
        """A content, of the same value to the last digit and type."""
        return {key: self._part(key, value) for key, value in content.items()}

    def _part(self, key: str, value: object) -> object:
        if not isinstance(value, dict | list | tuple):
            return value
        exact = marshal.dumps(value, _WITHOUT_REFERENCES)
        known, first = self._first.setdefault(key, (exact, value))
        return first if known == exact else value
