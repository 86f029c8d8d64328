"""The trackers that a spec or the environment names: built-in or third-party."""

import inspect
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from analysis.extras import EXTRAS, MissingExtraError, require
from kdtrain.errors import InputError
from kdtrain.foreign import TRACKERS, find_object, references, require_trust
from sweeps.spec.consistency import TRACKERS_SETTING
from sweeps.spec.settings import TrackerSource
from sweeps.spec.spec import SweepSpec
from sweeps.spec.strict_yaml import parse_yaml
from sweeps.store.store import Store
from sweeps.trackers.feed import Feed
from sweeps.trackers.mlflow import MLflow
from sweeps.trackers.optuna import OptunaStorage
from sweeps.trackers.tensorboard import TensorBoard
from sweeps.trackers.tracker import Tracker
from sweeps.trackers.trackio import Trackio
from sweeps.trackers.wandb import WeightsAndBiases

Make = Callable[..., Tracker]
"""Makes a tracker from a `TrackedSweep` and the options that the spec gives."""
OURS: Mapping[str, Any] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
    "optuna": OptunaStorage,
}
FOLDER = "trackers"
"""Where trackers keep files in a sweep's folder."""
_MAKER = "a class or function of (sweep, **options) that makes a tracker, see sweeps.trackers.tracker"


def trackers_of(spec: SweepSpec) -> tuple[TrackerSource, ...]:
    """The trackers of a spec, and those of the environment variable KDSWEEP_TRACKERS that the spec does not name.

    Raises:
        InputError: If the variable is not a list of trackers as a spec has it, or names code that is not trusted.
    """
    named = {tracker.name for tracker in spec.trackers}
    return (*spec.trackers, *(tracker for tracker in _of_environment() if tracker.name not in named))


def find_trackers(spec: SweepSpec) -> tuple[Make, ...]:
    """The classes or functions that make the trackers; their modules are imported, and nothing is opened yet.

    Raises:
        InputError: If there is no such tracker, its library is not installed, or it does not take its options.
    """
    return tuple(_find(tracker.name, tracker.options) for tracker in trackers_of(spec))


def make_feeds(spec: SweepSpec, sweep: Store, notice: Callable[[str], None]) -> tuple[Feed, ...]:
    """A watcher for each tracker, to be closed at the end.

    Args:
        spec: The spec.
        sweep: The sweep.
        notice: Takes a sentence about a tracker that fails.

    Raises:
        InputError: As `find_trackers`.
    """
    folder = None if sweep.local is None else sweep.local / FOLDER
    return tuple(
        Feed(source.name, partial(make, **source.options), spec, folder, notice)
        for source, make in zip(trackers_of(spec), find_trackers(spec), strict=True)
    )


def _of_environment() -> tuple[TrackerSource, ...]:
    text = os.environ.get(TRACKERS_SETTING, "").strip()
    if not text:
        return ()
    content = parse_yaml(text if text.startswith(("[", "{")) else f"[{text}]", TRACKERS_SETTING)
    require_trust(references({FOLDER: content}), f"{TRACKERS_SETTING} ")
    several = content if isinstance(content, list) else [content]
    try:
        return TypeAdapter(tuple[TrackerSource, ...]).validate_python(several)
    except ValidationError:
        raise InputError(
            f"{TRACKERS_SETTING}: must be a list as in a spec, such as tensorboard, or "
            "[tensorboard, {mlflow: {uri: http://host:5000}}]"
        ) from None


def _find(name: str, options: Mapping[str, object]) -> Make:
    make = find_object(name, OURS, TRACKERS, "tracker")
    if not callable(make):
        raise InputError(f"trackers: {name} must be {_MAKER}, got {type(make).__name__}")
    if name in OURS and name in EXTRAS:
        try:
            require(name, f"trackers: {name}")
        except MissingExtraError as error:
            raise InputError(str(error)) from None
    try:
        inspect.signature(make).bind(None, **options)
    except TypeError as error:
        raise InputError(f"trackers: {name} does not take these options ({error}); it must be {_MAKER}") from None
    except ValueError:  # Python knows no signature of it
        pass
    return cast(Make, make)
