"""All that a training needs, built from its config before the first step."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from kdtrain.config import AUX, Machine, TrainConfig
from kdtrain.data import Images, TrainBatches, open_roles, open_unlabelled
from kdtrain.errors import InputError
from kdtrain.loop.batches import LiveBatches
from kdtrain.loop.compiled import compile_losses
from kdtrain.loop.device import find_device, keep_freed_memory, mixed_precision
from kdtrain.loop.frozen_teacher import FrozenTeacher
from kdtrain.loop.graphs import StepGraphs, open_graphs
from kdtrain.loop.moving_average import MovingAverage
from kdtrain.loop.optimizer import build_optimizer
from kdtrain.loop.replayed import open_batches
from kdtrain.loop.schedules import Schedules
from kdtrain.methods import TERMS, Term
from kdtrain.methods.modules.base import TermModule
from kdtrain.models import TappedNetwork, build_network, check_classes, layer_channels
from kdtrain.models.dilated import quicken_dilated
from kdtrain.runtime.checkpoints import StateDict
from kdtrain.runtime.process_group import ProcessGroup
from kdtrain.runtime.random_streams import derive


class _Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object: ...


@dataclass(frozen=True)
class Run:
    """A training that is ready for its first step, in one of its processes.

    Attributes:
        config: All that decides the result.
        group: The processes of the training.
        device: Where this process computes.
        autocast: Makes the context of mixed precision.
        scaler: Scales the loss under mixed precision.
        student: The network that is trained.
        term_modules: The modules of the active terms, in the order of `schedules.terms`; some have trained layers.
        trained: The student and the modules of the terms.
        parameters: All trained weights.
        optimizer: The optimizer of `parameters`.
        average: The moving average of the student; none if the student is evaluated and saved as it is.
        teacher: None if no term needs one.
        source: The source of the batches.
        schedules: Learning rate, term weights and teacher requests of every step.
        select_images: The role on which the student is evaluated.
        classes: Names of the classes.
        ignore_index: Label of the pixels that do not count.
        graphs: The captured steps; None if steps are not captured.
    """

    config: TrainConfig
    group: ProcessGroup
    device: torch.device
    autocast: Callable[[], AbstractContextManager[object]]
    scaler: torch.amp.GradScaler
    student: TappedNetwork
    term_modules: nn.ModuleList
    trained: nn.ModuleList
    parameters: tuple[nn.Parameter, ...]
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None
    teacher: FrozenTeacher | None
    source: LiveBatches
    schedules: Schedules
    select_images: Images
    classes: tuple[str, ...]
    ignore_index: int
    graphs: StepGraphs | None = None

    @property
    def num_classes(self) -> int:
        """The number of classes in the data."""
        return len(self.classes)

    @property
    def rounds_teacher(self) -> bool:
        """Whether the teacher's maps are rounded to a smaller type."""
        return self.config.teacher_rounding != "none"

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return self.schedules.steps_per_epoch

    @property
    def term_names(self) -> list[str]:
        """The terms that are computed."""
        return [term.name for term in self.schedules.terms]

    def module_of(self, term: Term) -> nn.Module:
        """The module that computes a term."""
        return self.term_modules[self.term_names.index(term.name)]

    def averaged(self) -> AbstractContextManager[None]:
        """In the block the student has its averaged weights, if they are averaged."""
        return nullcontext() if self.average is None else self.average.applied()

    def state_dict(self) -> StateDict:
        """The state of everything that changes in a step."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`.

        Raises:
            KeyError: If the state belongs to another training; likewise `RuntimeError`, `ValueError`, `TypeError`.
        """
        for name, part in self._parts.items():
            part.load_state_dict(state[name])

    @property
    def _parts(self) -> Mapping[str, _Stateful]:
        return {
            "student": self.student,
            "modules": self.term_modules,
            "optimizer": self.optimizer,
            "scaler": self.scaler,
            **({} if self.average is None else {"average": self.average}),
        }


def build(config: TrainConfig, machine: Machine, group: ProcessGroup) -> Run:
    """Build the training in one process, without waiting for the other processes.

    Raises:
        InputError: If the config, data or teacher is invalid.
    """
    if machine.threads:
        torch.set_num_threads(machine.threads)
    device = find_device(machine, group.rank)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        keep_freed_memory()
    autocast, scaler = mixed_precision(machine, device)

    train_images, select_images = open_roles(config.data, ("train", "select"), machine.data_root, machine.cache)
    batches = _build_batches(config, machine, group, train_images)
    student = build_network(config.student, len(train_images.classes), config.seed, machine.weights).place(device)
    teacher = _open_teacher(config, machine, train_images, device, autocast)
    source = open_batches(batches, machine, teacher, device)

    terms, term_modules = _build_terms(config, student, teacher, source, batches.size, len(train_images.classes))
    if device.type == "cpu":
        quicken_dilated(student)
    term_modules.to(device).to(memory_format=torch.channels_last)
    if machine.compile_losses:
        compile_losses(term_modules, device)
    kernels = {
        term.name: module.kernel
        for term, module in zip(terms, term_modules, strict=True)
        if isinstance(module, TermModule) and module.kernel is not None
    }
    if not any(parameter.requires_grad for parameter in student.parameters()):
        raise InputError(
            f"student: {config.student.title} must have parameters that require a gradient, got none; set "
            "requires_grad to True on what is to be trained"
        )
    trained = nn.ModuleList([student, term_modules])
    parameters = tuple(parameter for parameter in trained.parameters() if parameter.requires_grad)
    return Run(
        config=config,
        group=group,
        device=device,
        autocast=autocast,
        scaler=scaler,
        student=student,
        term_modules=term_modules,
        trained=trained,
        parameters=parameters,
        optimizer=build_optimizer(config.optimizer, parameters),
        average=MovingAverage(student) if config.ema.half_life > 0 else None,
        teacher=teacher,
        source=source,
        schedules=Schedules(config, tuple(terms), kernels, len(batches)),
        select_images=select_images,
        classes=train_images.classes,
        ignore_index=train_images.ignore_index,
        graphs=open_graphs(machine, device, scaler.is_enabled(), terms, term_modules),
    )


def _build_batches(config: TrainConfig, machine: Machine, group: ProcessGroup, images: Images) -> TrainBatches:
    unlabelled = None
    if config.unlabelled is not None:
        unlabelled = open_unlabelled(config.unlabelled, machine.data_root, machine.cache, config.data)
    return TrainBatches(
        images,
        config.augment,
        config.batch_size,
        config.sample_seed,
        machine.workers,
        group.share,
        unlabelled,
        config.images_per_step - config.batch_size,
        config.views,
    )


def _open_teacher(
    config: TrainConfig,
    machine: Machine,
    images: Images,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[object]],
) -> FrozenTeacher | None:
    if not config.uses_teacher or config.teacher is None:
        return None
    rounded = None if config.teacher_rounding == "none" else getattr(torch, config.teacher_rounding)
    return FrozenTeacher(machine.teacher, config.teacher, images, config.active_terms, device, autocast, rounded)


def _build_terms(
    config: TrainConfig,
    student: TappedNetwork,
    teacher: FrozenTeacher | None,
    source: LiveBatches,
    size: tuple[int, int],
    num_classes: int,
) -> tuple[list[Term], nn.ModuleList]:
    """The terms that are computed, with their modules; the student is tapped at their layers."""
    terms = list(config.active_terms)
    student_shapes = layer_channels(student, [layer for term in terms for layer in term.student_layers], size)
    check_classes(config.student, student_shapes, num_classes)
    if AUX in student_shapes and config.aux_weight > 0:
        aux = {"name": AUX, "student_layer": AUX, "weight": config.aux_weight}
        terms.append(TERMS["cross_entropy"].model_validate(aux))
    teacher_shapes: dict[str, tuple[int, ...]] = {}
    if teacher is not None:
        specs = source.map_specs(teacher, sorted({layer for term in terms for layer in term.teacher_layers}))
        teacher_shapes = {layer: spec.shape for layer, spec in specs.items()}
    modules = nn.ModuleList()
    for term in terms:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(config.seed, "term", term.name))
            modules.append(term.build(student_shapes, teacher_shapes, num_classes))
    return terms, modules
