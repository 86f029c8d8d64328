"""What earlier sweeps say about a new one: around which values of its parameters good ones are expected.

Only values are taken over, never scores: another sweep may have other data, another student or fewer epochs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdtrain.errors import InputError
from kdtrain.space import Choice, Confidence, Domain, Scalar, contains
from sweeps.driver.samplers.beliefs import SPREAD
from sweeps.ledger.event_base import Content
from sweeps.ledger.read_state import read_state
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_state import Phase
from sweeps.spec.paths import drawn, share_of
from sweeps.spec.settings import TakenOver, WarmStart
from sweeps.spec.spec import SweepSpec, parse_spec
from sweeps.spec.study import Study
from sweeps.store.store import open_store

_TOP = 3
"""One in so many of a study's complete trials is looked at: the best ones."""
_DOUBT = 2
"""Further trials that are believed to lie a middle spread away, so that few trials make no sure prior."""
_RECIPE = "terms."
"""What does not start with this is the student's recipe, about which all studies ask the same."""


@dataclass(frozen=True)
class _Good:
    """A good value of a parameter, and how much it counts."""

    value: Scalar
    weight: float


def warm_started(spec: SweepSpec) -> SweepSpec:
    """The spec with the priors that the sweeps of its `warm_start` give.

    Raises:
        InputError: If one of them holds no sweep, or is damaged.
    """
    if spec.warm_start is None or spec.warm_start.priors is not None:
        return spec
    states = [_state(place) for place in spec.warm_start.sweeps]
    return _taken_over(spec, WarmStart(sweeps=spec.warm_start.sweeps, priors={}), _searched(spec), states)


def warm_started_further(spec: SweepSpec, recorded: WarmStart, begun_with: Content) -> SweepSpec:
    """The spec of a begun sweep with its recorded warm start, and with one for what it searches only now.

    The earlier sweeps are read for the latter alone; if one cannot be read any more, `left_out` says so.

    Args:
        spec: The spec of now.
        recorded: The warm start that the sweep has recorded.
        begun_with: The spec that the sweep has recorded.
    """
    known = _with_prior(recorded)
    new = [
        (study, path)
        for study, path in newly_searched(spec, begun_with)
        if (study, path) not in known and not any(_is_about(line, study, path) for line in recorded.left_out)
    ]
    states = []
    for place in recorded.sweeps if new else ():
        try:
            states.append(_state(place))
        except InputError:
            lines = (_line(study, path, f"{place} cannot be read any more") for study, path in new)
            further = recorded.model_copy(update={"left_out": (*recorded.left_out, *lines)})
            return spec.model_copy(update={"warm_start": further})
    return _taken_over(spec, recorded, new, states)


def newly_searched(spec: SweepSpec, begun_with: Content) -> list[tuple[str, str]]:
    """The studies and paths that a spec searches and the recorded one did not."""
    try:
        before = _searched(parse_spec(begun_with))
    except InputError:  # recorded by an earlier version
        return []
    return [pair for pair in _searched(spec) if pair not in before]


def without(warm_start: WarmStart, pairs: Sequence[tuple[str, str]]) -> WarmStart:
    """A warm start without what it says about some studies and paths."""
    priors = {
        study: {path: prior for path, prior in of_study.items() if (study, path) not in pairs}
        for study, of_study in (warm_start.priors or {}).items()
    }
    left_out = tuple(line for line in warm_start.left_out if not any(_is_about(line, *pair) for pair in pairs))
    kept = {study: of_study for study, of_study in priors.items() if of_study}
    return warm_start.model_copy(update={"priors": kept, "left_out": left_out})


def is_part_of(given: WarmStart, recorded: WarmStart) -> bool:
    """Whether a spec asks for the warm start that a sweep has recorded, or for the one it had before it grew."""
    taken = recorded.priors or {}
    return given.sweeps == recorded.sweeps and (
        given.priors is None
        or (
            {*given.left_out} <= {*recorded.left_out}
            and all(
                taken.get(study, {}).get(path) == prior
                for study, priors in given.priors.items()
                for path, prior in priors.items()
            )
        )
    )


def _searched(spec: SweepSpec) -> list[tuple[str, str]]:
    return [(study.name, path) for study in spec.studies for path in spec.space_of(study)]


def _with_prior(warm_start: WarmStart) -> list[tuple[str, str]]:
    return [(study, path) for study, priors in (warm_start.priors or {}).items() for path in priors]


def _taken_over(
    spec: SweepSpec, warm_start: WarmStart, pairs: Sequence[tuple[str, str]], states: Sequence[SweepState]
) -> SweepSpec:
    """The spec with a warm start, to which is added what earlier sweeps say about some studies and paths."""
    priors = {study: dict(of_study) for study, of_study in (warm_start.priors or {}).items()}
    left_out = [*warm_start.left_out]
    for name, path in pairs:
        study = spec.study(name)
        domain = spec.space_of(study)[path]
        values = [good for state in states for good in _good_values(state, study, path)]
        inside = [good for good in values if contains(domain, good.value)]
        if inside:
            priors.setdefault(name, {})[path] = _prior(domain, inside)
        else:
            why = "good values lie outside of the range" if values else "no complete trial of this method has it"
            left_out.append(_line(name, path, why))
    update = {"priors": priors, "left_out": tuple(left_out)}
    return spec.model_copy(update={"warm_start": warm_start.model_copy(update=update)})


def _line(study: str, path: str, why: str) -> str:
    """What `left_out` says about a parameter."""
    return f"{study}: {path} ({why})"


def _is_about(line: str, study: str, path: str) -> bool:
    return line.startswith(_line(study, path, "").removesuffix(")"))


def lines_about(spec: SweepSpec) -> list[str]:
    """What is taken over from earlier sweeps, and what is not, for a plan."""
    warm_start = spec.warm_start
    if warm_start is None or warm_start.priors is None:
        return []
    return [f"warm start from {', '.join(warm_start.sweeps)}:", *(f"  {line}" for line in _lines(warm_start))]


def changes_of(before: WarmStart, after: WarmStart) -> list[str]:
    """What a warm start says about parameters that are searched only now, in words."""
    further = without(after, _with_prior(before))
    said = _lines(before)
    return [f"warm_start: {line}" for line in _lines(further) if line not in said]


def _lines(warm_start: WarmStart) -> list[str]:
    lines = []
    for study, priors in (warm_start.priors or {}).items():
        told = (f"{path} {_shown(prior.value)} ({prior.confidence} confidence)" for path, prior in priors.items())
        lines.append(f"{study}: {', '.join(told)}")
    return [*lines, *(f"not taken over: {each}" for each in warm_start.left_out)]


def _state(place: str) -> SweepState:
    try:
        state = read_state(open_store(place)).state
    except InputError as error:
        raise InputError(f"warm_start: {error}") from None
    if state.begun is None:
        raise InputError(f"warm_start: {place} holds no sweep; give the folder of an earlier sweep, such as runs/a")
    return state


def _good_values(state: SweepState, study: Study, path: str) -> Iterator[_Good]:
    """The values that a parameter has in the best trials of the studies that ask the same."""
    before: Sequence[Mapping[str, object]] = state.sweep.spec["studies"]
    alike = [
        each["name"]
        for each in before
        if (each.get("method") == study.method if study.method else each["name"] == study.name)
    ]
    of_alike = [good for name in alike for good in _best_values(state, str(name), path)]
    if of_alike or path.startswith(_RECIPE):
        yield from of_alike
    else:
        yield from (good for each in before for good in _best_values(state, str(each["name"]), path))


def _best_values(state: SweepState, study: str, path: str) -> list[_Good]:
    scored = [(trial.score, trial) for trial in state.of_study(study, Phase.SEARCH) if trial.score is not None]
    ranked = [trial for _, trial in sorted(scored, key=lambda pair: -pair[0])]
    best = ranked[: max(1, len(ranked) // _TOP)]
    return [
        _Good(trial.params[path], (len(best) - rank) / len(best))
        for rank, trial in enumerate(best)
        if path in trial.params
    ]


def _prior(domain: Domain, values: Sequence[_Good]) -> TakenOver:
    """The mean of good values on the domain's own scale, the better ones weighing more; of choices the most frequent.

    How sure it is follows from their spread.
    """
    weights = np.array([good.weight for good in values])
    if isinstance(domain, Choice):
        shares = [
            sum(good.weight for good in values if contains(Choice(choices=(choice,)), good.value)) / weights.sum()
            for choice in domain.choices
        ]
        most = int(np.argmax(shares))
        return TakenOver(value=domain.choices[most], confidence=_sure((1 / max(shares[most], 0.5) - 1) / 2))
    places = np.array([share_of(domain, good.value) for good in values])
    center = float(np.average(places, weights=weights))
    squares = float(np.average((places - center) ** 2, weights=weights)) * len(values)
    spread = (squares + _DOUBT * SPREAD["medium"] ** 2) / (len(values) + _DOUBT)
    return TakenOver(value=drawn({"": domain}, [center])[""], confidence=_sure(spread**0.5))


def _sure(spread: float) -> Confidence:
    """The confidence whose spread is nearest, by ratio."""
    return min(SPREAD, key=lambda confidence: abs(np.log(SPREAD[confidence] / max(spread, 1e-9))))


def _shown(value: Scalar) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
