"""The watchers that a spec names: built-in or third-party.

A third-party watcher is made by a function, which a spec names in `watchers`:

    def make(spec: SweepSpec, sweep: Store, **options) -> Watcher:
        def watch(event: Event, state: SweepState) -> None:
            ...
        return watch
"""

import inspect
from collections.abc import Callable, Mapping
from typing import cast

from kdtrain.errors import InputError
from kdtrain.explain import kind_and_line
from kdtrain.foreign import WATCHERS, find_object
from sweeps.driver.watchers import Watcher
from sweeps.spec.spec import SweepSpec
from sweeps.store.store import Store

Make = Callable[..., Watcher]
"""Makes a watcher from the spec, the sweep and the options that the spec gives."""


def _live_page(spec: SweepSpec, sweep: Store, every: float = 10.0) -> Watcher:
    from sweeps.show.live_page import LivePage  # slow to import, and few sweeps have it

    return LivePage(spec, sweep, every)


OURS: Mapping[str, Make] = {"live_page": _live_page}


def find_watchers(spec: SweepSpec) -> tuple[Make, ...]:
    """The functions that make the watchers of a spec; their modules are imported, and nothing is made yet.

    Raises:
        InputError: If there is no such watcher, or it cannot be imported.
    """
    return tuple(_find(source.name, source.options) for source in spec.watchers)


def make_watchers(spec: SweepSpec, sweep: Store) -> tuple[Watcher, ...]:
    """The watchers of a spec.

    Raises:
        InputError: If there is no such watcher, or it refuses its options.
    """
    made = []
    for source, make in zip(spec.watchers, find_watchers(spec), strict=True):
        try:
            watcher = make(spec, sweep, **source.options)
        except Exception as error:
            raise InputError(f"watchers: {source.name} fails ({kind_and_line(error)}); it must be {_MAKER}") from error
        if not callable(watcher):
            raise InputError(
                f"watchers: {source.name} must return a function of event and state, got {type(watcher).__name__}"
            )
        made.append(watcher)
    return tuple(made)


_MAKER = "a function make(spec, sweep, **options) that returns a function of (event, state)"


def _find(name: str, options: Mapping[str, object]) -> Make:
    make = find_object(name, OURS, WATCHERS, "watcher")
    if not callable(make):
        raise InputError(f"watchers: {name} must be {_MAKER}, got {type(make).__name__}")
    try:
        inspect.signature(make).bind(None, None, **options)
    except TypeError as error:
        raise InputError(
            f"watchers: {name} does not take the options {dict(options)} ({error}); it must be {_MAKER}"
        ) from None
    except ValueError:  # Python knows no signature of it
        pass
    return cast(Make, make)
