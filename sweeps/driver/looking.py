"""When a sweep with `confirm.until: decided` looks at its words, and on how many fresh seeds it trains until then."""

from collections.abc import Callable
from dataclasses import dataclass

from analysis.selection.said import Decision
from sweeps.ledger.state import SweepState
from sweeps.ledger.sweep_events import Looked
from sweeps.spec.spec import SweepSpec

Judge = Callable[[SweepSpec, SweepState], Decision]
"""Reads the words of a sweep now, and decides whether more seeds are trained."""


def to_the_end(spec: SweepSpec, state: SweepState) -> Decision:
    """A judge that says nothing, so that all planned seeds are trained."""
    return Decision(True, "no words were read")


@dataclass(frozen=True)
class _Last:
    """The last look, and whether it still stands."""

    look: Looked
    is_of_this_plan: bool
    shows_all: bool


def seeds_now(spec: SweepSpec, state: SweepState) -> int | None:
    """Fresh seeds at the next look, or at the last if no more are trained; None where no looks are planned.

    A look that ended the seeds binds the plan under which it was taken: whoever raises `confirm.seeds` goes on.
    """
    planned = spec.confirm.looks
    if not planned:
        return None
    last = _last(spec, state)
    if last is None:
        return planned[0]
    later = [seeds for seeds in planned if seeds > last.look.seeds]
    goes_on = last.look.goes_on or not last.is_of_this_plan
    return later[0] if later and goes_on else max(last.look.seeds, planned[0])


def look_is_due(spec: SweepSpec, state: SweepState) -> bool:
    """Whether the words have to be read, once nothing is left to train on the seeds of now.

    They are also read again once a failed training has run again. That is no further look: nothing was said of a config
    that lacked a seed.
    """
    seeds = seeds_now(spec, state)
    if seeds is None or state.frozen is not None or not state.look_now().data:
        return False
    last = _last(spec, state)
    return last is None or seeds > last.look.seeds or not last.shows_all


def look(spec: SweepSpec, state: SweepState, judge: Judge) -> Looked:
    """Take the look that is due; at the most seeds nothing goes on, whatever the judge says."""
    seeds, decision = seeds_now(spec, state), judge(spec, state)
    assert seeds is not None
    goes_on = decision.goes_on and seeds < spec.confirm.most
    reason = decision.reason
    if decision.goes_on and not goes_on:
        reason = f"{reason}; {spec.confirm.most} seeds are the most that were planned"
    return Looked(seeds, spec.confirm.most, goes_on, reason, [said.to_json() for said in decision.said])


def _last(spec: SweepSpec, state: SweepState) -> _Last | None:
    if state.last_look is None:
        return None
    look, data, failed = state.last_look.look, state.last_look.data, state.last_look.failed
    shows_all = data == state.look_now().data and failed <= state.failed_fresh
    return _Last(look, look.most == spec.confirm.most, shows_all)
