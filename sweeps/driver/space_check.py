"""How much of a study's space makes valid configs: its corners and random draws are tried, nothing is trained."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from kdtrain.config import TrainConfig
from kdtrain.errors import InputError, MissingError, StorageError
from kdtrain.explain import first_line, kind_and_line
from kdtrain.runtime.random_streams import numpy_rng
from kdtrain.space import Choice, Scalar
from sweeps.spec.paths import Space, config_at, drawn, extremes, size
from sweeps.spec.spec import SweepSpec
from sweeps.spec.study import Study

CORNERS, DRAWS, NETWORKS = 64, 200, 16
"""Configs that are tried at most; few of each where every one is another network."""
STUDENTS = 64
"""Students of a space that are all built."""
FIRST_DRAWS = 32
"""Random configs after which no more are tried, if all of them and all corners are valid."""
CheckConfig = Callable[[TrainConfig], object]
"""Raises an InputError for a config that the data, the teacher or the networks do not allow."""
_NUMBER = re.compile(r"\d[\d.e+-]*")


@dataclass(frozen=True)
class SpaceCheck:
    """What became of the tried configs of a study: `refused` has the number of refused ones by reason."""

    study: str
    corners: int
    draws: int
    refused_corners: int
    refused: Counter[str]
    students: int = 0
    """The students of the space, where all were built."""
    refused_students: tuple[str, ...] = ()
    """Why, of those that cannot be built."""

    def sentence(self) -> str | None:
        """What the reader of a plan must know; none if every config is valid."""
        if self.refused_students:
            return (
                f"{self.study}: {len(self.refused_students)} of {self.students} students of its space cannot be built; "
                f"the search refuses such proposals at no cost. The first: {self.refused_students[0]}"
            )
        if not self.refused:
            return None
        kinds: dict[str, list[str]] = {}
        for reason in self.refused.elements():
            kinds.setdefault(_NUMBER.sub("#", reason), []).append(reason)
        (reason, *rest) = max(kinds.values(), key=len)
        of_draws = self.refused.total() - self.refused_corners
        more = f" (other reasons: {len(kinds) - 1})" if len(kinds) > 1 else ""
        return (
            f"{self.study}: {of_draws} of {self.draws} random configs of its space and {self.refused_corners} of "
            f"{self.corners} corners are not valid; the search draws such proposals anew at no cost. Of these "
            f"{1 + len(rest)} as in: {reason}{more}"
        )


class RefusedError(InputError):
    """Parameters make no valid config; the message says why, in one line."""


def checked_config(make: Callable[[], TrainConfig], check_config: CheckConfig) -> TrainConfig:
    """A config of searched parameters, made once and checked.

    Third-party code that checks a config may raise anything. Only a lack of memory and the errors of a disk are not the
    config's fault, and pass.

    Args:
        make: Returns the config, see `SweepSpec.config_for`.
        check_config: Checks it.

    Raises:
        RefusedError: If the parameters make no valid config.
    """
    try:
        config = make()
        check_config(config)
    except (MemoryError, OSError, StorageError, MissingError):
        raise
    except InputError as error:
        raise RefusedError(first_line(error)) from error
    except Exception as error:
        raise RefusedError(kind_and_line(error)) from error
    return config


def refusal(spec: SweepSpec, study: Study, params: dict[str, Scalar], check_config: CheckConfig) -> str | None:
    """Why parameters make no valid config of a study, in one line; none if they do."""
    try:
        checked_config(lambda: spec.config_for(study, params), check_config)
    except RefusedError as error:
        return str(error)
    return None


def check_space(spec: SweepSpec, study: Study, check_config: CheckConfig) -> SpaceCheck:
    """Try the corners of a study's space and random configs of it, the same ones at every call."""
    space = spec.space_of(study)
    rng = numpy_rng(spec.seed, "plan", study.name)
    builds = any(path.startswith("student.") for path in space)
    most_draws, most_corners = (NETWORKS, NETWORKS) if builds else (DRAWS, CORNERS)
    corners = list(_corners(space, most_corners, rng))
    at_corners = [refusal(spec, study, params, check_config) for params in corners]
    at_draws: list[str | None] = []
    while len(at_draws) < most_draws and (len(at_draws) < FIRST_DRAWS or any((*at_corners, *at_draws))):
        at_draws.append(refusal(spec, study, drawn(space, rng.random(len(space)).tolist()), check_config))
    students = list(_students(space, spec.typical(study))) if builds else []
    refusals = [(params, refusal(spec, study, params, check_config)) for params in students]
    refused = Counter(reason for reason in (*at_corners, *at_draws) if reason is not None)
    at_corner = sum(reason is not None for reason in at_corners)
    unbuilt = tuple(f"{_student_in_words(params)}: {reason}" for params, reason in refusals if reason is not None)
    return SpaceCheck(study.name, len(corners), len(at_draws), at_corner, refused, len(students), unbuilt)


def _students(space: Space, others: Mapping[str, Scalar]) -> Iterator[dict[str, Scalar]]:
    """Configs with every student of a space beside some values of its other parameters; none where there are many."""
    of_student = {path: domain for path, domain in space.items() if path.startswith("student.")}
    if (count := size(of_student)) <= STUDENTS:
        yield from ({**others, **config_at(of_student, index)} for index in range(int(count)))


def _student_in_words(params: Mapping[str, Scalar]) -> str:
    return ", ".join(f"{path}={value}" for path, value in params.items() if path.startswith("student."))


def _corners(space: Space, most: int, rng: np.random.Generator) -> Iterator[dict[str, Scalar]]:
    """All combinations of the ends of ranges and of choices, or some of them where they are many."""
    ends = [extremes(domain) for domain in space.values()]
    if math.prod(map(len, ends)) <= most:
        return (dict(zip(space, values, strict=True)) for values in itertools.product(*ends))
    choices: Space = {path: Choice(choices=values) for path, values in zip(space, ends, strict=True)}
    places = [[0.0] * len(ends), [1.0] * len(ends), *rng.random((most - 2, len(ends))).tolist()]
    return (drawn(choices, place) for place in places)
