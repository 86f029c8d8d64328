"""What earlier sweeps say about a new one: around which values of its parameters good ones are expected.

Only values are taken over, never scores: another sweep may have other data, another student or fewer epochs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdtrain.errors import InputError
from kdtrain.space import Choice, Confidence, Domain, Scalar, contains
from sweeps.driver.samplers.beliefs import SPREAD
from sweeps.ledger.ledger import read
from sweeps.ledger.state import SweepState
from sweeps.ledger.trial_state import Phase
from sweeps.spec.paths import drawn, share_of
from sweeps.spec.settings import TakenOver, WarmStart
from sweeps.spec.spec import SweepSpec
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
    states = {place: _state(place) for place in spec.warm_start.sweeps}
    priors: dict[str, dict[str, TakenOver]] = {}
    left_out = []
    for study in spec.studies:
        for path, domain in spec.space_of(study).items():
            values = [good for state in states.values() for good in _good_values(state, study, path)]
            inside = [good for good in values if contains(domain, good.value)]
            if inside:
                priors.setdefault(study.name, {})[path] = _prior(domain, inside)
            else:
                why = "good values lie outside of the range" if values else "no complete trial of this method has it"
                left_out.append(f"{study.name}: {path} ({why})")
    warm_start = WarmStart(sweeps=spec.warm_start.sweeps, priors=priors, left_out=tuple(left_out))
    return spec.model_copy(update={"warm_start": warm_start})


def lines_about(spec: SweepSpec) -> list[str]:
    """What is taken over from earlier sweeps, and what is not, for a plan."""
    warm_start = spec.warm_start
    if warm_start is None or warm_start.priors is None:
        return []
    lines = [f"warm start from {', '.join(warm_start.sweeps)}:"]
    for study, priors in warm_start.priors.items():
        told = (f"{path} {_shown(prior.value)} ({prior.confidence} confidence)" for path, prior in priors.items())
        lines.append(f"  {study}: {', '.join(told)}")
    return [*lines, *(f"  not taken over: {each}" for each in warm_start.left_out)]


def _state(place: str) -> SweepState:
    try:
        state = SweepState.of(read(open_store(place)))
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
