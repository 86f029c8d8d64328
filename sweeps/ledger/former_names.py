"""Names in the ledgers of former versions, and the names that stand for them today."""

from collections.abc import Mapping
from typing import Any

KINDS = {"report_read": "test_read"}
PHASES = {"report": "final"}
ROLES = {"report": "test"}
CONFIRM_KEYS = {"report_seeds": "final_seeds"}


def renamed_spec(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """A spec with today's names, and with the units and ranges that former versions had where it states none."""
    spec = {"units": "weight", "ranges": "narrow", **spec}
    confirm = spec.get("confirm")
    if not isinstance(confirm, Mapping) or not CONFIRM_KEYS.keys() & confirm.keys():
        return spec
    return {**spec, "confirm": {CONFIRM_KEYS.get(key, key): value for key, value in confirm.items()}}
