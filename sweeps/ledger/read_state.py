"""The state of a sweep from its ledger, in one pass: no record is kept once the state has taken it in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sweeps.ledger.ledger import read_whole
from sweeps.ledger.scan import Scan
from sweeps.ledger.state import SweepState
from sweeps.store.store import Store


@dataclass(frozen=True)
class ReadState:
    """What was read.

    Attributes:
        state: The state.
        found: The records that it follows from.
    """

    state: SweepState
    found: Scan


def read_state(sweep: Store | Path | str, notice: Callable[[str], None] = lambda text: None) -> ReadState:
    """The state of a sweep, also while a driver writes.

    Args:
        sweep: The sweep `D`.
        notice: Takes sentences that a reader should know.

    Raises:
        InputError: If a record is damaged or lost, or a later version wrote it.
    """
    state = SweepState()
    return ReadState(state, read_whole(sweep, notice, state.apply))
