"""An MPS daemon for the time of a sweep whose students share GPUs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kdtrain.runtime.mps import in_environment, mps_daemon
from sweeps.spec.settings import Resources


@contextmanager
def sharing_gpus(resources: Resources, is_here: bool, notice: Callable[[str], None]) -> Iterator[None]:
    """Let students compute on one GPU at the same time, with `resources: {gpu: auto}` on this machine.

    Processes that are started in the block find the daemon, so a cluster must be started in it.

    Args:
        resources: Of a trial.
        is_here: Whether trials run on this machine; on others nothing is started.
        notice: Prints a sentence for the user.
    """
    if not resources.is_measured:
        yield
        return
    if not is_here:
        notice(
            "students take turns on a GPU of a cluster that runs already, unless its nodes run an MPS daemon: "
            "nvidia-cuda-mps-control -d"
        )
        yield
        return
    with mps_daemon(notice) as variables, in_environment(variables):
        yield
