"""One real step and one real evaluation of a training: whatever would fail in the training fails here first."""

import contextlib
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from kdtrain.config import Machine, TrainConfig
from kdtrain.data import Images, open_role
from kdtrain.data.source import Pixels
from kdtrain.errors import InputError
from kdtrain.explain import kind_and_line
from kdtrain.loop.batches import DistillBatch, moved
from kdtrain.loop.cost import count_macs
from kdtrain.loop.evaluate import evaluate
from kdtrain.loop.map_costs import measure_map_costs
from kdtrain.loop.rehearsal_checks import (
    Seen,
    check_built,
    check_logits,
    check_saved,
    check_step,
    check_student,
    check_teacher,
    watched,
)
from kdtrain.loop.schedules import Clock
from kdtrain.loop.setup import Run, build
from kdtrain.loop.step import StepResult, TrainStep
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.methods.schedule import WeightSchedule
from kdtrain.methods.stages import Stages
from kdtrain.models.padding import size_remedy
from kdtrain.models.scaling import scaled_size
from kdtrain.replay.costs import MapCosts
from kdtrain.runtime.process_group import ProcessGroup
from kdtrain.runtime.processes import spawn

TIMED_STEPS = 2
"""Further steps that are timed."""
_TIMED_S = 1.0
"""Seconds of timed steps after which no further one begins."""
_MAP_COSTS: dict[tuple[object, ...], tuple[MapCosts, MapCosts]] = {}
"""What was measured in this process, by teacher, layers and machine."""
_SIZES = 6
"""Sizes of images that are evaluated, where a role has more."""


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal learned.

    Attributes:
        step_s: Seconds of the step.
        evaluation_s: Seconds of a batch of the evaluation; None if it was left out.
        peak_memory_bytes: The most memory of a GPU that was used; None on a CPU.
        notes: What the user should know, though nothing fails.
        ask_s: Seconds per image in which the teacher computes its maps; None without a teacher.
        read_s: By layer, seconds per image to read the teacher's map from the system's memory, and from the disk;
            without layers of which a kernel is recorded in place of the map.
        steady_s: Median seconds of the steps behind the first one, with their batches; None if none was timed.
    """

    step_s: float
    evaluation_s: float | None
    peak_memory_bytes: int | None
    notes: tuple[str, ...] = ()
    ask_s: float | None = None
    read_s: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    steady_s: float | None = None


def rehearse(
    config: TrainConfig, machine: Machine, evaluates: bool = True, tests: bool = False, timed: bool = True
) -> Rehearsal:
    """Take one step of a training, evaluate its student on some images, save and load it.

    All terms are computed, whatever their schedules say, and their gradients are measured, as in some steps of a
    training. Nothing is recorded in the replay store.

    Args:
        config: The training.
        machine: Where it will run.
        evaluates: Whether the student is also evaluated, saved and loaded.
        tests: Whether it is then also evaluated on blank images of the sizes of the role test.
        timed: Whether further steps are timed: `TIMED_STEPS`, and no second one if the first takes a second.

    Raises:
        InputError: In one sentence, if a training of this config would fail, or if a network is not what it seems: it
            has no gradient where it predicts, gives probabilities, or cannot be saved.
    """
    config, machine = _shortened(config), machine.model_copy(update={"replay": None, "workers": 0})
    work = partial(_rehearse, config, machine, evaluates, tests, TIMED_STEPS if timed else 0)
    with spawn(machine.processes, work) as group:
        return work(group)


def _shortened(config: TrainConfig) -> TrainConfig:
    """The config with one epoch and one stage: every active term has its whole weight from the first step on."""
    terms = tuple(term.model_copy(update={"schedule": WeightSchedule()}) for term in config.active_terms)
    return config.model_copy(update={"epochs": 1, "terms": terms, "stages": Stages()})


def _rehearse(
    config: TrainConfig, machine: Machine, evaluates: bool, tests: bool, timed: int, group: ProcessGroup
) -> Rehearsal:
    with _explained("the training cannot be set up"):
        run = build(config, machine, group)
        group.join(run.device)
        group.align(run.trained)
        notes = list(check_built(run)) if evaluates else []
    height, width = run.source.size
    per_batch = config.images_per_step
    with _explained(f"a step with {per_batch} image{'s' * (per_batch > 1)} of {height} x {width} fails"):
        step_s, images, more = _step(run)
        steady_s = _steady(run, timed)
    notes += more
    ask_s, read_s = _map_costs(run, images, machine)
    evaluation_s = None
    if evaluates:
        evaluation_s = _evaluate(run, run.select_images)
        if tests:
            blank = _Blank(open_role(config.data, "test", machine.data_root, machine.cache))
            _evaluate(run, blank)
        _count(run)
        if group.rank == 0:
            with _explained("the student cannot be saved and loaded"):
                notes += check_saved(run, images, machine.cache)
    memory = torch.cuda.max_memory_reserved(run.device) if run.device.type == "cuda" else None
    return Rehearsal(step_s, evaluation_s, memory, tuple(notes), ask_s, read_s, steady_s)


@contextlib.contextmanager
def _batches_of(run: Run, count: int) -> Iterator[Iterator[DistillBatch]]:
    """The first batches of a training, on the device; those of further epochs where the first one has fewer."""
    raw = itertools.islice(itertools.chain.from_iterable(map(run.source.epoch, itertools.count())), count)
    with contextlib.closing(moved(raw, run.device)) as batches:
        yield batches


def _step(run: Run) -> tuple[float, torch.Tensor, list[str]]:
    """The seconds of a step, the images of its batch, and notes."""
    run.trained.train()
    with _batches_of(run, 1) as batches:
        batch = next(batches)
    clock = Clock(0, run.steps_per_epoch // 2)  # where the gradients of the terms are measured, too
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        student = stack.enter_context(watched(run.student))
        teacher = Seen() if run.teacher is None else stack.enter_context(watched(run.teacher.network))
        result: StepResult = TrainStep(run)(batch, clock, Stopwatch())
    if run.device.type == "cuda":
        torch.cuda.synchronize(run.device)
    seconds = time.perf_counter() - start
    layers = {layer for term in run.schedules.terms for layer in term.teacher_layers}
    notes = list(check_teacher(teacher, layers))
    check_step(result, run, student, teacher)
    check_logits(run, batch.images, student)
    return seconds, batch.images, [*notes, *check_student(run, batch.images, student)]


def _steady(run: Run, count: int) -> float | None:
    """The median seconds of some steps with their batches, of which none begins after `_TIMED_S`; None for no steps."""
    run.trained.train()
    step, seconds = TrainStep(run), list[float]()
    with _batches_of(run, count) as batches:
        start = time.perf_counter()
        for number, batch in enumerate(batches):
            step(batch, Clock(0, number % run.steps_per_epoch), Stopwatch())
            if run.device.type == "cuda":
                torch.cuda.synchronize(run.device)
            now = time.perf_counter()
            seconds, start = [*seconds, now - start], now
            if run.group.broadcast_object(sum(seconds) > _TIMED_S):
                break
    return float(np.median(seconds)) if seconds else None


def _map_costs(
    run: Run, images: torch.Tensor, machine: Machine
) -> tuple[float | None, Mapping[str, tuple[float, float]]]:
    """`ask_s` and `read_s` of a `Rehearsal`; none where they cannot be measured."""
    request = run.schedules.teacher_request(run.schedules.term_weights(Clock(0, 0)))
    if run.teacher is None or not request.layers:
        return None, {}
    layers = tuple(sorted(request.layers))
    facts = (run.teacher.digest, layers, tuple(images.shape), str(run.device), run.config.teacher_rounding)
    machine_facts = (machine.amp, torch.get_num_threads(), machine.cache)
    if (measured := _MAP_COSTS.get((*facts, *machine_facts))) is None:
        try:
            measured = measure_map_costs(run.teacher, images, layers, machine.cache)
        except OSError:
            return None, {}
        _MAP_COSTS[*facts, *machine_facts] = measured
    memory, disk = measured
    return memory.ask_s, {layer: (memory.read_s[layer], disk.read_s[layer]) for layer in layers}


def _evaluate(run: Run, images: "Images | _Blank") -> float:
    """The seconds of an evaluation of the largest batch of a role, and of one image of other sizes."""
    run.student.eval()
    start = time.perf_counter()
    for indices in _batches(images.sizes, run.config.images_per_evaluation):
        height, width = images.sizes[indices[0]]
        what = f"an evaluation of {len(indices)} image{'s' * (len(indices) > 1)} of {height} x {width} fails"
        with _explained(what), run.averaged(), run.autocast():
            some, scale = _Some(images, indices), run.config.eval_scale
            evaluate(run.student.logits, some, images.role, len(indices), scale, run.device, run.group)
    return time.perf_counter() - start


def _count(run: Run) -> None:
    """Count the operations of the student, as is done at the end of a training."""
    height, width = scaled_size(run.select_images.sizes[0], run.config.eval_scale)
    with _explained("the operations of the student cannot be counted"):
        image = torch.zeros(1, 3, height, width, device=run.device).contiguous(memory_format=torch.channels_last)
        count_macs(run.student, image)


def _batches(sizes: Sequence[tuple[int, int]], batch_size: int) -> list[list[int]]:
    """A batch of the largest images, and one image of other sizes."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for index, size in enumerate(sizes):
        by_size.setdefault(size, []).append(index)
    largest, *others = sorted(by_size, key=lambda size: (-size[0] * size[1], size))
    step = max(1, -(-len(others) // (_SIZES - 1)))
    return [by_size[largest][:batch_size], *([by_size[size][0]] for size in others[::-1][::step])]


class _Some:
    """Some of the images of a role."""

    def __init__(self, images: "Images | _Blank", indices: list[int]) -> None:
        self._images, self._indices = images, indices
        self.ids = tuple(images.ids[index] for index in indices)
        self.groups = tuple(images.groups[index] for index in indices)
        self.classes, self.digest = images.classes, images.digest

    def __len__(self) -> int:
        return len(self._indices)

    def get(self, index: int) -> tuple[Pixels, Pixels]:
        return self._images.get(self._indices[index])


class _Blank:
    """Black images, without labels, in place of those of a role: their content is not read."""

    def __init__(self, images: Images) -> None:
        self.ids, self.groups, self.classes, self.digest = images.ids, images.groups, images.classes, images.digest
        self.sizes, self.role, self._ignored = images.sizes, images.role, images.ignore_index

    def get(self, index: int) -> tuple[Pixels, Pixels]:
        height, width = self.sizes[index]
        return np.zeros((height, width, 3), np.uint8), np.full((height, width), self._ignored, np.uint8)


_REMEDIES = {
    "Expected more than 1 spatial element": "instance norm needs more than one pixel: raise train.augment.crop",
    "does not require grad": "the logits must depend on parameters of the student that require a gradient",
    "Expected more than 1 value per channel": "batch norm needs more than one value per channel: raise "
    "train.batch_size (each process needs 2 images), or train.augment.crop",
    "view size is not compatible": "use reshape in place of view, or give the network the attribute "
    "channels_last = False",
    "modified by an inplace operation": "use operations that are not in place behind the layers that are distilled",
    "Expected all tensors to be on the same device": "register tensors of the network as buffers, so that they move "
    "to the device with it",
}


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Make errors of networks and losses in the block errors of one sentence.

    Raises:
        InputError: For every error.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        text = kind_and_line(error)
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
            raise InputError(
                f"{what}: memory is too small; lower train.batch_size, train.eval_batch_size or train.augment.crop"
            ) from error
        remedy = next((f"; {remedy}" for sign, remedy in _REMEDIES.items() if sign in str(error)), "")
        remedy = remedy or size_remedy(error)
        raise InputError(f"{what}: {text}{remedy}") from error
