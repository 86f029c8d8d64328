"""Whether the tables of a sweep say less, or something else, than its ledger."""

import shlex

from sweeps.ledger.extent import read_head
from sweeps.ledger.scan import noted_in_tables
from sweeps.store.store import Store


def stale_tables(sweep: Store) -> str | None:
    """A sentence for a reader of the tables, if they were not made from all records of the ledger.

    Args:
        sweep: The sweep; only what the ledger's driver and the tables have noted is read.
    """
    made, head = noted_in_tables(sweep), read_head(sweep)
    if made is None or head is None or made == head.extent:
        return None
    command = f"`kdsweep tables {shlex.quote(str(sweep))}`"
    if made.records < head.extent.records:
        return (
            f"the tables were made from {made.records} of the {head.extent.records} records of the ledger; "
            f"{command} makes them anew"
        )
    return f"the tables were made from {made.records} records, not all of which the ledger has: {command} says more"
