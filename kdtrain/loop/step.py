"""One training step: a batch goes through teacher and student, the losses are weighted, the weights are updated."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdtrain.loop.batches import DistillBatch
from kdtrain.loop.compiled import explained
from kdtrain.loop.gradients import gradient_norms
from kdtrain.loop.placebo import in_order
from kdtrain.loop.reports import Part
from kdtrain.loop.schedules import Clock
from kdtrain.loop.setup import Run
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.loop.teacher_request import TeacherRequest
from kdtrain.methods import Term
from kdtrain.methods.modules.base import TermInput
from kdtrain.runtime.random_streams import generator, seed_torch

Maps = Mapping[str, Tensor]
"""Maps `(N, C, H, W)` by layer."""


@dataclass(frozen=True)
class StepResult:
    """What a step computed; all tensors are scalars without gradient.

    Attributes:
        loss: The sum of the weighted terms.
        raw: The value before its weight of every term that was computed, by the term's name.
        weights: The weight of every term; 0 for a term that was not computed.
        gradients: The norm of the gradient of every computed term, in steps that measure gradients; else empty.
    """

    loss: Tensor
    raw: Mapping[str, Tensor]
    weights: Mapping[str, float]
    gradients: Mapping[str, float]


class TrainStep:
    """Takes the steps of a training.

    Args:
        run: The training, whose networks and optimizer are changed.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def __call__(self, batch: DistillBatch, clock: Clock, stopwatch: Stopwatch) -> StepResult:
        """Take one step.

        Args:
            batch: This process's share of a batch, on the device.
            clock: The epoch and the step.
            stopwatch: Counts the seconds of the step's parts.
        """
        run = self._run
        seed_torch(run.device, run.config.seed, "dropout", *clock, run.group.rank)
        self._set_learning_rate(clock)
        weights = run.schedules.term_weights(clock)
        active_terms = run.schedules.active_terms(weights)
        request = run.schedules.teacher_request(weights)

        teacher_maps = self._teacher_maps(batch, request, clock, stopwatch)
        if run.graphs is not None and not run.schedules.measures_gradients(clock):
            with stopwatch(Part.STUDENT):
                kernels = self._kernels(batch, request, teacher_maps)
                return self._captured(batch, active_terms, teacher_maps, kernels, weights, clock)
        with stopwatch(Part.STUDENT):
            student_maps = self._student_maps(batch.images, active_terms)
        with stopwatch(Part.LOSSES):
            kernels = self._kernels(batch, request, teacher_maps)
            raw = self._term_values(batch.labels, active_terms, student_maps, teacher_maps, kernels, clock)
            weighted = {name: weights[name] * value for name, value in raw.items()}
            loss = torch.stack(list(weighted.values())).sum()

        gradients: Mapping[str, float] = {}
        if run.schedules.measures_gradients(clock):
            with stopwatch(Part.GRADIENTS):
                gradients = gradient_norms(weighted, run.student, run.scaler, run.group)
        with stopwatch(Part.BACKWARD):
            self._backward(loss)
        with stopwatch(Part.OPTIMIZER):
            self._update()
            self._average(clock)
        return StepResult(loss.detach(), {name: value.detach() for name, value in raw.items()}, weights, gradients)

    def _captured(
        self,
        batch: DistillBatch,
        active_terms: list[Term],
        teacher_maps: Maps,
        kernels: Maps,
        weights: Mapping[str, float],
        clock: Clock,
    ) -> StepResult:
        """Take a step by a graph: from student to update, all that a device does by itself."""
        run = self._run
        assert run.graphs is not None
        numbers = {f"weight of {term.name}": weights[term.name] for term in active_terms}
        numbers["rate"] = run.schedules.learning_rate(clock)
        inputs = {
            "images": batch.images,
            "labels": batch.labels,
            **{f"map of {layer}": values for layer, values in teacher_maps.items()},
            **{f"kernel of {term}": values for term, values in kernels.items()},
            **{name: torch.full((), number, device=run.device) for name, number in numbers.items()},
        }
        layers, terms = list(teacher_maps), list(kernels)

        def work(given: Maps) -> Tensor:
            for parameter_group in run.optimizer.param_groups:
                parameter_group["lr"] = given["rate"]
            student_maps = self._student_maps(given["images"], active_terms)
            raw = self._term_values(
                given["labels"],
                active_terms,
                student_maps,
                {layer: given[f"map of {layer}"] for layer in layers},
                {term: given[f"kernel of {term}"] for term in terms},
                None,
            )
            loss = torch.stack([given[f"weight of {name}"] * value for name, value in raw.items()]).sum()
            self._backward(loss)
            self._update()
            return torch.stack([loss, *raw.values()]).detach()

        names = [term.name for term in active_terms]
        loss, *raw = run.graphs(tuple(names), inputs, work).unbind()
        self._average(clock)
        return StepResult(loss, dict(zip(names, raw, strict=True)), weights, {})

    def lengths(self, batch: DistillBatch, clock: Clock) -> dict[str, float]:
        """The length of the gradient of every term under its weight, with respect to all weights of the student.

        No weight changes. One term is computed after the other, so that memory holds the graph of one.

        Args:
            batch: As in a step.
            clock: The epoch and the step.
        """
        run, stopwatch = self._run, Stopwatch()
        seed_torch(run.device, run.config.seed, "dropout", *clock, run.group.rank)
        weights = run.schedules.term_weights(clock)
        active_terms = run.schedules.active_terms(weights)
        request = run.schedules.teacher_request(weights)
        teacher_maps = self._teacher_maps(batch, request, clock, stopwatch)
        student_maps = self._student_maps(batch.images, active_terms)
        kernels = self._kernels(batch, request, teacher_maps)
        lengths: dict[str, float] = {}
        for term in active_terms:
            raw = self._term_values(batch.labels, [term], student_maps, teacher_maps, kernels, clock)
            weighted = {name: weights[name] * value for name, value in raw.items()}
            lengths |= gradient_norms(weighted, run.student, run.scaler, run.group)
        return lengths

    def _set_learning_rate(self, clock: Clock) -> None:
        for parameter_group in self._run.optimizer.param_groups:
            parameter_group["lr"] = self._run.schedules.learning_rate(clock)
            if "capturable" in parameter_group:
                parameter_group["capturable"] = self._run.graphs is not None

    def _teacher_maps(self, batch: DistillBatch, request: TeacherRequest, clock: Clock, stopwatch: Stopwatch) -> Maps:
        """The teacher's maps of the whole batch: stored maps, and maps that are computed now."""
        run = self._run
        layers = request.maps_without(batch.kernels.keys())
        maps = batch.maps
        if run.teacher is not None and (batch.maps or batch.kernels):
            run.teacher.note_replayed(len(batch.images))
        if run.teacher is not None and (missing := layers - maps.keys()):
            with stopwatch(Part.TEACHER):
                maps = maps | run.teacher.ask(batch.images, missing)
        widened = {layer: maps[layer].float() if run.rounds_teacher else maps[layer] for layer in sorted(layers)}
        gathered = {layer: run.group.gather(values) for layer, values in widened.items()}
        return in_order(run.config.teacher_order, gathered, run.config.seed, *clock)

    def _student_maps(self, images: Tensor, active_terms: list[Term]) -> Maps:
        """The student's maps of the whole batch; only the maps of this process's share have a gradient."""
        run = self._run
        with run.autocast(), run.group.whole_batch_norm():
            maps = run.student(images)
            layers = dict.fromkeys(layer for term in active_terms for layer in term.student_layers)
            return {layer: run.group.gather(maps[layer]) for layer in layers}

    def _kernels(self, batch: DistillBatch, request: TeacherRequest, teacher_maps: Maps) -> Mapping[str, Tensor]:
        """The kernel of the whole batch by term: stored, or computed from the teacher's maps."""
        missing = sorted(request.kernels.keys() - batch.kernels.keys())
        return batch.kernels | {term: request.rows(term, teacher_maps, batch.view, batch.number) for term in missing}

    def _term_values(
        self,
        labels: Tensor,
        active_terms: list[Term],
        student_maps: Maps,
        teacher_maps: Maps,
        kernels: Mapping[str, Tensor],
        clock: Clock | None,
    ) -> dict[str, Tensor]:
        """The value of every active term before its weight, with gradient; without a clock no term may draw."""
        run = self._run
        labels = run.group.gather(labels)
        values = {}
        for term in active_terms:
            kernel = kernels.get(term.name)
            term_input = TermInput(
                students=tuple(student_maps[layer] for layer in term.student_layers),
                teachers=tuple(teacher_maps[layer] for layer in term.teacher_layers) if kernel is None else (),
                labels=labels,
                num_classes=run.num_classes,
                ignore_index=run.ignore_index,
                generator=None if clock is None else generator(run.config.seed, "term", term.name, *clock),
                broadcast_=run.group.broadcast_,
                kernel=kernel,
            )
            with explained(term.name):
                values[term.name] = run.module_of(term)(term_input)
        return values

    def _backward(self, loss: Tensor) -> None:
        run = self._run
        run.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(run.scaler.scale(loss))
        run.group.sum_gradients(run.student.parameters(), run.term_modules.parameters())

    def _update(self) -> None:
        run = self._run
        if run.config.clip_norm is not None:
            run.scaler.unscale_(run.optimizer)
            nn.utils.clip_grad_norm_(run.parameters, run.config.clip_norm)
        run.scaler.step(run.optimizer)
        run.scaler.update()

    def _average(self, clock: Clock) -> None:
        run = self._run
        if run.average is not None:
            run.average.update(run.schedules.average_decay(clock))
