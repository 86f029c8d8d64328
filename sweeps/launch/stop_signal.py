"""How the driver tells all running trials at once to save themselves and stop, on whatever node they are.

The signal is sent when an actor of its name exists: so it costs nothing until it is needed, and a look for it is one
look into the cluster's directory.
"""

import time
import uuid
from collections.abc import Callable

import ray

_LOOK_EVERY_S = 1.0


@ray.remote(num_cpus=0)
class _StopSignal:
    """Has nothing to do: that it exists is the message."""


def new_name() -> str:
    """A name for a signal that no other run on the cluster has."""
    return f"kdsweep-stop-{uuid.uuid4().hex[:12]}"


def send(name: str) -> object:
    """Send the signal; it lasts as long as what is returned is kept."""
    return _StopSignal.options(name=name).remote()  # type: ignore[attr-defined]


def listener(name: str) -> Callable[[], bool]:
    """A function that says whether the signal was sent; it looks no more than once a second."""
    is_sent, looked = False, time.monotonic()

    def look() -> bool:
        nonlocal is_sent, looked
        now = time.monotonic()
        if not is_sent and now - looked >= _LOOK_EVERY_S:
            looked = now
            try:
                ray.get_actor(name)
                is_sent = True
            except ValueError:
                pass
        return is_sent

    return look
