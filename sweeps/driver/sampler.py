"""What a search tries next: a pure function of its trials so far.

A sampler keeps nothing between two proposals: it gets all trials of the search and a seed that belongs to the proposal
alone. So a sweep that was resumed proposes exactly what an uninterrupted one would.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np

from kdtrain.errors import InputError
from kdtrain.explain import did_you_mean, first_line, kind_and_line
from kdtrain.foreign import SAMPLERS, find_object
from kdtrain.runtime.random_streams import derive, numpy_rng
from kdtrain.space import Scalar
from sweeps.driver.proposals import Proposals, is_inside
from sweeps.driver.samplers.by_optuna import RandomSampler, TPESampler
from sweeps.driver.samplers.cma_es import CmaEsSampler
from sweeps.driver.samplers.gp import GPSampler
from sweeps.driver.samplers.grid import GridSampler
from sweeps.driver.samplers.prior import PriorSampler
from sweeps.driver.samplers.sobol import SobolSampler
from sweeps.driver.searched import Search, SearchedTrial
from sweeps.spec.paths import STUDENT, Space, config_at, drawn, size
from sweeps.spec.settings import Sampler

Allows = Callable[[Mapping[str, Scalar]], bool]
_REDRAWS = 10
_STUDENTS = 1000
"""Students that are drawn at most for one that is allowed."""
_GRID_LIMIT = 10_000


class OutsideError(InputError):
    """A sampler has proposed what the space does not hold."""


class ConfigSampler(Protocol):
    """Proposes configs; `sampler: {name: my_package.my_module:MySampler, options: {...}}` in a spec names its class.

    The class is called with the options of the spec.

    A sampler may have two more things. `for_search(search: Search) -> ConfigSampler` gives the sampler of one search,
    called before every proposal, to which the seed and the length of the search are known. `why_none: str` says why it
    proposes nothing any more.
    """

    def propose(
        self, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int
    ) -> Mapping[str, Scalar] | None:
        """Parameters that a study may try next.

        The first trial of a search has the published parameters, where they lie in the space, and no sampler is called
        for it. A config that the search has already tried is not tried again; the sampler is called again, with
        another seed. A study with several searches calls the sampler for each of them, with seeds of its own.

        Args:
            study: The name of the study.
            space: By dotted path, the domains that are searched.
            trials: The trials of the search so far, the running ones included, and the proposals that made no valid
                config (`is_valid` is false, they have failed).
            seed: From 0 to 2**63 - 1. The same study, space, trials and seed must give the same parameters.

        Returns:
            A value for every path of the space; none if there is nothing to try any more.
        """


OURS: Mapping[str, Callable[..., ConfigSampler]] = {
    "tpe": TPESampler,
    "random": RandomSampler,
    "gp": GPSampler,
    "cmaes": CmaEsSampler,
    "grid": GridSampler,
    "sobol": SobolSampler,
    "prior": PriorSampler,
}
STARTUP = "startup"


def has_startup(name: str) -> bool:
    """Whether a sampler of this name is one of ours that looks at `startup`."""
    return name in OURS and STARTUP in inspect.signature(OURS[name]).parameters


def uses_priors(name: str) -> bool:
    """Whether a sampler of this name is one of ours that looks at the priors of domains."""
    return name in OURS and getattr(OURS[name], "uses_priors", False)


def make_sampler(settings: Sampler) -> ConfigSampler:
    """The sampler that a spec names.

    Raises:
        InputError: If there is no such sampler, it cannot be imported, or it refuses its options.
    """
    make = find_object(settings.name, OURS, SAMPLERS, "sampler")
    if not callable(make):
        raise InputError(f"sampler.name: {settings.name} must be a class of samplers, got {type(make).__name__}")
    startup = {STARTUP: settings.startup} if has_startup(settings.name) else {}
    if settings.name in OURS:
        _check_options(settings, [name for name in inspect.signature(make).parameters if name != STARTUP])
    try:
        sampler = make(**startup, **settings.options)
    except Exception as error:
        given = f"with the options {dict(settings.options)}" if settings.options else "here"
        raise InputError(f"sampler: {settings.name} cannot be made {given}: {first_line(error)}") from error
    if not callable(getattr(sampler, "propose", None)):
        raise InputError(f"sampler.name: {settings.name} must have a method propose, got {type(sampler).__name__}")
    return cast(ConfigSampler, sampler)


def _check_options(settings: Sampler, allowed: Sequence[str]) -> None:
    for option in settings.options:
        if option not in allowed:
            where = "; startup is a field of sampler, not an option" * (option == STARTUP)
            raise InputError(
                f"sampler.options.{option}: {settings.name} cannot be made with the options {dict(settings.options)}; "
                f"its options are {', '.join(allowed) or 'none'}{did_you_mean(option, allowed)}{where}"
            )


def propose(
    study: str,
    space: Space,
    sampler: ConfigSampler,
    seed: int,
    trials: Sequence[SearchedTrial] | Proposals,
    default: Mapping[str, Scalar] | None,
    search: str | None = None,
    length: int | None = None,
    allows: Allows | None = None,
) -> dict[str, Scalar] | None:
    """The next parameters of a search.

    Args:
        study: The name of its study.
        space: What it searches.
        sampler: How.
        seed: The sweep's seed.
        trials: Its trials so far, the running ones and the proposals that made no valid config included; those
            outside of the space count for the seed of the draw alone. `Proposals` are cheaper in a long search.
        default: The published parameters, tried first; none where they lie outside of the space or were tried.
        search: Its name, which decides its random numbers; that of the study where none is given.
        length: How many trials it has if none is stopped early; none where that is not known.
        allows: Whether a config may be proposed now, the default excepted; none where every config may.

    Returns:
        Parameters by dotted path, never the same twice; none when every config of a finite space has been proposed, or
        the sampler has nothing to propose, or nothing that is allowed now is left.

    Raises:
        InputError: If the sampler fails.
        OutsideError: If it proposes what the space does not hold.
    """
    stream = search or study
    tried = trials if isinstance(trials, Proposals) else Proposals(space, trials)
    if default is not None and default not in tried:
        return dict(default)
    whole = Search(derive(seed, "search", stream, "whole"), length, tried.others, tried, allows)
    sampler = _of_search(sampler, whole)
    for draw in range(_REDRAWS):
        params = _draw(sampler, study, space, tried.inside, derive(seed, "search", stream, tried.number, draw))
        if params is None or _is_new(params, tried, allows):
            return params
    if allows is not None and (other := _with_allowed_student(params, stream, tried, seed, allows)) is not None:
        return other
    return _untried(stream, tried, seed, allows)


def exhausted(tried: Proposals, sampler: ConfigSampler | None = None) -> str:
    """Why a search has nothing more to propose, in words."""
    if not tried.are_all:
        why = getattr(sampler, "why_none", None)
        return "the sampler has nothing more to propose" + (f": {why}" if why else "")
    invalid = tried.inside.not_valid
    return "every config of its space was tried" + (f", {invalid} of them are not valid" if invalid else "")


def _is_new(params: Mapping[str, Scalar], tried: Proposals, allows: Allows | None) -> bool:
    """Whether a config was not tried yet and may be proposed now."""
    return params not in tried and (allows is None or allows(params))


def _with_allowed_student(
    params: Mapping[str, Scalar] | None, stream: str, tried: Proposals, seed: int, allows: Allows
) -> dict[str, Scalar] | None:
    """What a sampler has proposed, with another student that is allowed now; none if none is drawn."""
    students = {path: domain for path, domain in tried.space.items() if path.startswith(STUDENT)}
    rng = numpy_rng(seed, "search", stream, tried.number, "student")
    draws = (drawn(students, rng.random(len(students)).tolist()) for _ in range(_STUDENTS))
    changed = ({**(params or {}), **student} for student in draws)
    return next((each for each in changed if _is_new(each, tried, allows)), None)


def _untried(stream: str, tried: Proposals, seed: int, allows: Allows | None) -> dict[str, Scalar] | None:
    """A config that was not tried yet, for a sampler that repeats itself; none if there are no others."""
    space, number = tried.space, tried.number
    count = size(space)
    if tried.are_all:
        return None
    if count <= _GRID_LIMIT:
        configs = (config_at(space, index) for index in range(int(count)))
        untried = [params for params in configs if _is_new(params, tried, allows)]
        if not untried:
            return None
        return untried[int(numpy_rng(seed, "search", stream, number, "grid").integers(len(untried)))]
    if math.isinf(count):
        rng = numpy_rng(seed, "search", stream, number, "continuous")
        draws = (drawn(space, rng.random(len(space)).tolist()) for _ in range(_GRID_LIMIT))
        return next((params for params in draws if _is_new(params, tried, allows)), None)
    start = derive(seed, "search", stream, number, "finite")
    steps = tried.configs + (1 if allows is None else _GRID_LIMIT)
    following = (config_at(space, (start + step) % int(count)) for step in range(steps))
    return next((params for params in following if _is_new(params, tried, allows)), None)


def _of_search(sampler: ConfigSampler, search: Search) -> ConfigSampler:
    """The sampler that knows of the search, where it wants to know."""
    for_search = getattr(sampler, "for_search", None)
    if for_search is None:
        return sampler
    try:
        return cast(ConfigSampler, for_search(search))
    except Exception as error:
        raise _failed(sampler, error) from error


def _failed(sampler: ConfigSampler, error: Exception, study: str = "") -> InputError:
    where = f" for the study {study}" if study else ""
    return InputError(
        f"sampler: {type(sampler).__name__} failed{where} ({kind_and_line(error)}); correct the cause and run the "
        "same command again, nothing is lost"
    )


def _draw(
    sampler: ConfigSampler, study: str, space: Space, trials: Sequence[SearchedTrial], seed: int
) -> dict[str, Scalar] | None:
    """A proposal of a sampler, checked."""
    name = type(sampler).__name__
    try:
        proposal = sampler.propose(study, space, trials, seed)
    except Exception as error:
        raise _failed(sampler, error, study) from error
    if proposal is None:
        return None
    if not isinstance(proposal, Mapping) or set(proposal) != set(space):
        raise OutsideError(f"sampler: {name} must propose a value for each of {', '.join(space)}, got {proposal!r}")
    proposal = {path: _plain(value) for path, value in proposal.items()}
    for path, domain in space.items():
        value = proposal[path]
        if not is_inside(domain, value):
            raise OutsideError(
                f"sampler: {name} must propose for {path} a value of {domain.model_dump(exclude_defaults=True)}, got "
                f"{value!r}"
            )
    return {path: proposal[path] for path in space}


def _plain(value: Any) -> Any:
    """A number of numpy as a number of Python."""
    return value.item() if isinstance(value, np.generic) else value
