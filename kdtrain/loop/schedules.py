"""What a step of a training depends on beside its batch: pure functions of the moment at which it is taken."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kdtrain.config import TrainConfig
from kdtrain.loop.gradients import looks_at_gradients
from kdtrain.loop.teacher_request import TeacherRequest
from kdtrain.methods import Term
from kdtrain.methods.modules.base import TeacherKernel


class Clock(NamedTuple):
    """A moment of a training."""

    epoch: int
    """Finished epochs."""
    step: int
    """Finished steps of the current epoch."""


@dataclass(frozen=True)
class Schedules:
    """The learning rate, the weights of the terms and what is needed of the teacher, over the steps of a training.

    Attributes:
        config: Of the training.
        terms: The terms that are computed, that of the auxiliary head included.
        kernels: By term name, the kernel that the term needs in place of the teacher's map.
        steps_per_epoch: Batches in an epoch.
    """

    config: TrainConfig
    terms: tuple[Term, ...]
    kernels: Mapping[str, TeacherKernel]
    steps_per_epoch: int

    def learning_rate(self, clock: Clock) -> float:
        """The learning rate of a step."""
        factor = self.config.schedule.factor(*self._progress(clock), self.steps_per_epoch)
        return self.config.optimizer.lr * factor

    def average_decay(self, clock: Clock) -> float:
        """The share that the moving average of the student keeps in a step."""
        return self.config.ema.decay(self._progress(clock)[0], self.steps_per_epoch)

    def term_weights(self, clock: Clock) -> dict[str, float]:
        """The weight of every term in a step, by its name; a term of weight 0 is not computed."""
        progress, stages = self._progress(clock), self.config.used_stages
        return {
            term.name: term.weight * term.schedule.factor(*progress) * stages.factor(term.compares_features, *progress)
            for term in self.terms
        }

    def active_terms(self, weights: Mapping[str, float]) -> list[Term]:
        """The terms that are computed under these weights."""
        return [term for term in self.terms if weights[term.name] > 0]

    def teacher_request(self, weights: Mapping[str, float]) -> TeacherRequest:
        """What the terms need of the teacher under these weights."""
        active = self.active_terms(weights)
        layers = {layer for term in active if term.name not in self.kernels for layer in term.teacher_layers}
        kernels = {term.name: self.kernels[term.name] for term in active if term.name in self.kernels}
        return TeacherRequest(frozenset(layers), kernels, self.config.seed)

    def measures_gradients(self, clock: Clock) -> bool:
        """Whether the gradient of every term is measured in a step: the middle one of some epochs."""
        middle = clock.step == self.steps_per_epoch // 2
        return middle and looks_at_gradients(clock.epoch + 1, self.config.epochs)

    def _progress(self, clock: Clock) -> tuple[int, int]:
        """Finished steps of the training, and all its steps."""
        return clock.epoch * self.steps_per_epoch + clock.step, self.config.epochs * self.steps_per_epoch
