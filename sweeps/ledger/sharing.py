"""Contents that are alike in most of their parts, with the equal parts in memory once."""

import json

from sweeps.ledger.event_base import Content


class Shared:
    """Contents of one kind, such as the configs of a study, each with the parts of the first one that it equals."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, object]] = {}

    def __call__(self, content: Content) -> Content:
        """A content, of the same value to the last digit and type."""
        return {key: self._part(key, value) for key, value in content.items()}

    def _part(self, key: str, value: object) -> object:
        if not isinstance(value, dict | list | tuple):
            return value
        text = json.dumps(value)
        known, first = self._first.setdefault(key, (text, value))
        return first if known == text else value
