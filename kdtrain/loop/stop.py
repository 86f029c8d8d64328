"""The ways in which a training ends before it is complete: it is stopped, interrupted, or it diverges.

Stopped: the caller answers "stop" to the report of an epoch. Interrupted: the caller's `interrupt` answers True; the
training can be resumed from where it was. Diverged: a loss or a weight is not finite; there is nothing to resume.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdtrain.loop.reports import EpochReport, OnEpoch
from kdtrain.runtime.process_group import ProcessGroup

Interrupt = Callable[[], bool]
"""Whether to interrupt the training now, so that it can be resumed later."""


class InterruptedTrainingError(Exception):
    """Ends a training that can be resumed."""


class DivergedTrainingError(Exception):
    """Ends a training whose losses or weights are not finite."""


class StopRequests:
    """What the caller of a training asks of it while it runs; all processes of the training follow the first one.

    Args:
        group: The processes.
        on_epoch: Takes the report of every epoch; None in all processes but the first, or if nobody listens.
        interrupt: Whether to interrupt; None likewise.
    """

    def __init__(self, group: ProcessGroup, on_epoch: OnEpoch | None, interrupt: Interrupt | None) -> None:
        self._group, self._on_epoch, self._interrupt = group, on_epoch, interrupt

    def stops_after(self, report: EpochReport) -> bool:
        """Tell the caller of an epoch; whether the training stops after it. The last epoch leaves nothing to stop."""
        answer = self._on_epoch(report) if self._on_epoch is not None else None
        return self._group.broadcast_object(answer == "stop") and report.epoch < report.epochs

    def interrupted(self) -> bool:
        """Whether the caller interrupts the training now; for the other processes to know, broadcast it."""
        return self._interrupt is not None and self._interrupt()

    def raise_if_interrupted(self) -> None:
        """End the training if the caller interrupts it; called by all processes at the same point.

        Raises:
            InterruptedTrainingError: In all processes.
        """
        if self._group.broadcast_object(self.interrupted()):
            raise InterruptedTrainingError

    def raise_if_interrupted_alone(self) -> None:
        """Like `raise_if_interrupted`, where processes come by at different times: there, several are not interrupted.

        Raises:
            InterruptedTrainingError: If there is one process.
        """
        if self._group.size == 1 and self.interrupted():
            raise InterruptedTrainingError


def what_diverged(broken_term: str | None, trained: nn.Module) -> str | None:
    """What is not finite: the loss of `broken_term`, if there is one, or the weights of a module; None if all is."""
    if broken_term:
        return f"the loss of {broken_term} was"
    state = [value for value in trained.state_dict().values() if isinstance(value, Tensor)]
    floats = [value for value in state if value.is_floating_point()]
    finite = torch.stack([value.isfinite().all() for value in floats]).all()
    return None if finite else "the weights were"
