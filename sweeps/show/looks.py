"""The looks at a sweep in words, for every display: what was read before, what was said last, and why it stopped."""

from analysis.formats import interval, plural, signed
from analysis.selection.said import Said
from analysis.stats.looks import sentence
from analysis.stats.words import ENOUGH_SEEDS, WORDS
from sweeps.ledger.looks import before
from sweeps.ledger.state import SweepState
from sweeps.ledger.sweep_events import Looked
from sweeps.spec.spec import SweepSpec


def earlier_looks(state: SweepState) -> str:
    """A sentence about the looks before the present or the next one; empty if there was none."""
    now = state.look_now()
    return sentence(before(state.looks, now), now.seeds if state.finished else None)


def last_look(spec: SweepSpec, state: SweepState) -> str:
    """What was decided at the last planned look, and how it goes on; empty before it, and where none is planned."""
    if state.last_look is None or not spec.confirm.most:
        return ""
    look = state.last_look.look
    then = "more seeds are trained" if look.goes_on else "no more seeds are trained"
    return f"look {number(spec, look)} at {plural(look.seeds, 'fresh seed')}: {look.reason}; {then}"


def words(state: SweepState) -> list[str]:
    """What was said of every study at the last planned look; none before it."""
    if state.last_look is None:
        return []
    return [_words(Said.from_json(content)) for content in state.last_look.look.words]


def number(spec: SweepSpec, look: Looked) -> str:
    """Which of the planned looks it is, as in `2 of at most 4`; its number alone is not known under another plan."""
    planned = spec.confirm.looks
    place = planned.index(look.seeds) + 1 if look.seeds in planned else sum(seeds <= look.seeds for seeds in planned)
    return f"{place} of at most {len(planned)}"


def _words(said: Said) -> str:
    to = "to" if said.word == WORDS[2] else "from"
    seeds = plural(said.n, "seed") + (" alone" if said.n < ENOUGH_SEEDS else "")
    limits = interval(said.low, said.high)
    return f"{said.study}: {said.word} {to} the reference, {signed(said.difference)} points {limits} on {seeds}"
