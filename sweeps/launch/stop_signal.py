"""How the driver asks all running trials at once to save themselves and leave, on whatever node they are.

The bell has rung when an actor of its name exists: so it costs nothing until it is needed, and asking is one look into
the cluster's directory.
"""

import time
from collections.abc import Callable

import ray

_LOOK_EVERY_S = 1.0


@ray.remote(num_cpus=0)
class _StopSignal:
    """Has nothing to do: that it exists is the message."""


def ring(name: str) -> object:
    """Ring; the bell sounds as long as what is returned is kept."""
    return _StopSignal.options(name=name).remote()  # type: ignore[attr-defined]


def listener(name: str) -> Callable[[], bool]:
    """What tells whether the bell has rung; it looks no more than once a second."""
    state = {"rung": False, "looked": time.monotonic()}

    def rung() -> bool:
        now = time.monotonic()
        if not state["rung"] and now - state["looked"] >= _LOOK_EVERY_S:
            state["looked"] = now
            try:
                ray.get_actor(name)
                state["rung"] = True
            except ValueError:
                pass
        return bool(state["rung"])

    return rung
