"""Where the teacher of a sweep lies, without a look at it."""

from sweeps.spec.spec import SweepSpec
from sweeps.store.store import Store

FITTED = "teacher"
"""Where a sweep keeps the teacher that it fitted."""


def teacher_store(spec: SweepSpec, sweep: Store) -> Store | None:
    """Where the teacher of a sweep lies; none for a sweep without one."""
    if spec.teacher is None:
        return None
    return Store(spec.teacher.path) if spec.teacher.path is not None else sweep.below(FITTED)
