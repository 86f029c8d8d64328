"""The words of a sweep at a planned look, and whether more fresh seeds are trained after it."""

from analysis.ablation.decided import decide_ablation
from analysis.selection.decided import decide
from analysis.selection.said import Decision
from sweeps.ledger.state import SweepState
from sweeps.outcome.tabulate import short_frames
from sweeps.spec.spec import SweepSpec


def read_words(spec: SweepSpec, state: SweepState) -> Decision:
    """What the report would say now, by the same inference, and what follows."""
    tables = short_frames(state, spec)
    return decide_ablation(tables) if spec.purpose == "ablation" else decide(tables)
