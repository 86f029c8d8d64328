"""One training of one student, from config to result. Read it from top to bottom."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdtrain.config import AUX, Machine, Optimizer, TrainConfig
from kdtrain.data import TrainBatches, open_role, open_unlabelled
from kdtrain.errors import DamagedError, InputError
from kdtrain.loop.batches import LiveBatches, moved, open_batches
from kdtrain.loop.cost import measure_cost
from kdtrain.loop.device import find_device, keep_freed_memory, mixed_precision
from kdtrain.loop.evaluate import Evaluation, evaluate
from kdtrain.loop.frozen_teacher import FrozenTeacher
from kdtrain.loop.gradients import gradient_norms, looks_at_gradients
from kdtrain.loop.placebo import in_order
from kdtrain.loop.reports import EpochReport, EpochSoFar, Report, State, Stopwatch, TrainResult
from kdtrain.loop.run_folder import RunFolder
from kdtrain.loop.teacher_request import TeacherRequest
from kdtrain.methods import TERMS, Term
from kdtrain.methods.base import TermInput, TermModule
from kdtrain.models import TappedNetwork, build_network, check_classes, layer_channels
from kdtrain.models.dilated import quicken_dilated
from kdtrain.runtime.process_group import ProcessGroup
from kdtrain.runtime.processes import together
from kdtrain.runtime.random_streams import derive, generator, seed_torch

FINITE_CHECK_EVERY = 16
"""Steps between looks at the losses on a GPU, where every look waits for it; on a CPU each step is looked at."""

Interrupt = Callable[[], bool]
"""Whether to leave off now, to go on later."""


class InterruptedTrainingError(Exception):
    """Leaves a training in the middle of an epoch."""


def train(
    config: TrainConfig,
    machine: Machine | None = None,
    report: Report | None = None,
    workdir: Path | str | None = None,
    interrupt: Interrupt | None = None,
) -> TrainResult:
    """Train a student.

    With several processes the result is that of one, up to rounding, for networks without dropout: its masks differ
    from process to process.

    Args:
        config: All that decides the result.
        machine: Where and with what. Of several processes, this is the first and starts the others.
        report: Called with every epoch's report; ends the training by answering "stop". After a resume it is
            called with the reports of before first, so that a listener that missed some can catch up.
        workdir: Folder for checkpoints, `result.json` and the trained student (`student/`). Called again with
            the same folder, training goes on from its last checkpoint, and a finished one returns its result
            at once.
        interrupt: Asked after every step and between batches of an evaluation. Once it answers True, a checkpoint
            of the middle of the epoch is saved, from which training goes on as if it had never been interrupted
            (on a CPU bit for bit).

    Raises:
        InputError: If config, data, teacher or checkpoint are not what they must be; before any training.
        StorageError: If a file cannot be written; what was saved before stays.
    """
    began = time.perf_counter()
    machine = machine or Machine()
    for field, count in config.shared_counts.items():
        if count % machine.processes:
            raise InputError(f"{field}: must be divisible by the {machine.processes} processes, got {count}")
    run = RunFolder(Path(workdir) if workdir is not None else None, config)
    if (result := run.result()) is not None:
        for past in result.reports:
            if report is not None:
                report(past)
        return result
    with together(machine.processes, partial(_train, config, machine)) as world:
        return _train(config, machine, world, run, report, interrupt, began)


def _train(
    config: TrainConfig,
    machine: Machine,
    world: ProcessGroup,
    run: RunFolder | None = None,
    report: Report | None = None,
    interrupt: Interrupt | None = None,
    began: float | None = None,
) -> TrainResult:
    """The part of one process; folder, listener, interrupt and when all this `began` are the first one's."""
    run = run or RunFolder(None, config)
    if machine.threads:
        torch.set_num_threads(machine.threads)
    device = find_device(machine, world.rank)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        keep_freed_memory()

    train_images = open_role(config.data, "train", machine.data_root, machine.cache)
    select_images = open_role(config.data, "select", machine.data_root, machine.cache)
    num_classes, ignored = len(train_images.classes), train_images.ignore_index
    unlabelled = open_unlabelled(config.unlabelled, machine.data_root, machine.cache) if config.unlabelled else None
    batches = TrainBatches(
        train_images, config.augment, config.batch_size, config.sample_seed, machine.workers, world.share,
        unlabelled, config.images_per_step - config.batch_size, config.views,
    )  # fmt: skip

    autocast, scaler = mixed_precision(machine, device)

    student = build_network(config.student, num_classes, config.seed, machine.weights)
    teacher = None
    rounded = None if config.teacher_rounding == "none" else getattr(torch, config.teacher_rounding)
    if config.uses_teacher and config.teacher is not None:
        teacher = FrozenTeacher(machine.teacher, config.teacher, train_images, device, autocast, rounded)
    source = open_batches(batches, machine, teacher, device)
    terms, modules = _build_terms(config, student, teacher, source, batches.size, num_classes)
    if device.type == "cpu":
        quicken_dilated(student)
    for network in (student, modules):
        network.to(device).to(memory_format=torch.channels_last)
    kernels = {
        term.name: module.kernel
        for term, module in zip(terms, modules, strict=True)
        if isinstance(module, TermModule) and module.kernel is not None
    }
    trained = nn.ModuleList([student, modules])
    parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    optimizer = _build_optimizer(config.optimizer, parameters)

    world.join(device)
    parts: dict[str, Any] = {"student": student, "modules": modules, "optimizer": optimizer, "scaler": scaler}
    reports, middle = _restore(parts, world.broadcast_object(run.load_checkpoint()), run)
    world.align(trained)
    run.claim()
    first = len(reports)
    evaluation: Evaluation | None = None

    def state() -> dict[str, Any]:
        return {name: part.state_dict() for name, part in parts.items()} | {"reports": [r.to_dict() for r in reports]}

    def progress(epoch: int, step: int) -> tuple[int, int]:
        return epoch * len(batches) + step, config.epochs * len(batches)

    def weights_at(epoch: int, step: int) -> list[float]:
        return [term.weight * term.schedule.factor(*progress(epoch, step)) for term in terms]

    def wanted(weights: list[float]) -> TeacherRequest:
        acting = [term for term, weight in zip(terms, weights, strict=True) if weight > 0]
        layers = {layer for term in acting if term.name not in kernels for layer in term.teacher_layers}
        asked = {term.name: kernels[term.name] for term in acting if term.name in kernels}
        return TeacherRequest(frozenset(layers), asked, config.seed)

    def learning_rate(epoch: int, step: int) -> float:
        return config.optimizer.lr * config.schedule.factor(*progress(epoch, step), len(batches))

    def widened(answer: Tensor) -> Tensor:
        return answer if rounded is None else answer.float()

    def taps(
        term: Term,
        learnt: Mapping[str, Tensor],
        taught: Mapping[str, Tensor],
        summed_up: Mapping[str, Tensor],
        truth: Tensor,
        now: tuple[int, int],
    ) -> TermInput:
        students = tuple(learnt[layer] for layer in term.student_layers)
        kernel = summed_up.get(term.name)
        teachers = tuple(taught[layer] for layer in term.teacher_layers) if kernel is None else ()
        stream = generator(config.seed, "term", term.name, *now)
        return TermInput(students, teachers, truth, num_classes, ignored, stream, world.broadcast_, kernel)

    def ended(state: State, reason: str | None = None, **more: Any) -> TrainResult:
        return TrainResult(state, len(reports), tuple(reports), reason, first, **more)

    def shown() -> Tensor:
        return torch.zeros(2, dtype=torch.int64) if teacher is None else teacher.shown.clone()

    def says_stop(past: EpochReport) -> bool:
        answer = report(past) if report is not None else None
        return world.broadcast_object(answer == "stop") and past.epoch < config.epochs

    def asked() -> bool:
        return interrupt is not None and interrupt()

    def leave_off() -> None:
        if world.size == 1 and asked():  # several processes do not come by here in step
            raise InterruptedTrainingError

    def pause() -> None:
        if world.broadcast_object(asked()):
            raise InterruptedTrainingError

    def evaluated() -> Evaluation:
        student.eval()
        with autocast():
            return evaluate(
                student.logits, select_images, "select", config.batch_size, config.eval_scale, device, world, pause
            )

    if any(says_stop(past) for past in reports):
        return ended("stopped", "stopped by the listener")

    between = Stopwatch()
    if began is not None:
        between.seconds["start"] = time.perf_counter() - began
    for epoch in range(first, config.epochs):
        so_far = EpochSoFar([term.name for term in terms], 1 if device.type == "cpu" else FINITE_CHECK_EVERY)
        if middle is not None:
            so_far.load_state_dict(middle)
            middle = None
        watch, meter, before = so_far.watch, so_far.meter, shown()
        watch.take(between)
        try:
            with watch.around("wait"):
                want = wanted(weights_at(epoch, so_far.step))
                if world.size > 1 or config.teacher_order != "own":
                    want = want.as_maps()  # what is recorded of a batch is of all of it, in its own order
                source.prepare(epoch, so_far.step, want, watch, leave_off)
                world.broadcast_object(None)  # all processes have recorded their share
            with watch("total"):
                trained.train()
                broken: str | None = None
                for batch in watch.timed("data", moved(source.epoch(epoch, so_far.step), device)):
                    now = (epoch, so_far.step)
                    seed_torch(device, config.seed, "dropout", *now, world.rank)
                    for group in optimizer.param_groups:
                        group["lr"] = learning_rate(*now)
                    weights = weights_at(*now)
                    want = wanted(weights)
                    looked_at = want.maps_without(batch.kernels.keys())
                    stored = batch.maps
                    if teacher is not None and (unknown := looked_at - stored.keys()):
                        with watch("teacher"):
                            stored = stored | teacher.ask(batch.images, unknown)
                    said = {layer: world.gather(widened(stored[layer])) for layer in sorted(looked_at)}
                    taught = in_order(config.teacher_order, said, config.seed, *now)
                    with autocast(), watch("student"), world.whole_batch_norm():
                        maps = student(batch.images)
                        acting = (term for term, weight in zip(terms, weights, strict=True) if weight > 0)
                        learnt = {at: world.gather(maps[at]) for term in acting for at in term.student_layers}
                    with watch("losses"):
                        truth = world.gather(batch.labels)
                        summed_up = batch.kernels | {
                            name: want.rows(name, taught, batch.view, batch.number)
                            for name in want.kernels.keys() - batch.kernels.keys()
                        }
                        raw = [
                            module(taps(term, learnt, taught, summed_up, truth, now)) if weight > 0 else None
                            for term, module, weight in zip(terms, modules, weights, strict=True)
                        ]
                        weighted = {
                            term.name: weight * value
                            for term, weight, value in zip(terms, weights, raw, strict=True)
                            if value is not None
                        }
                        loss = torch.stack(list(weighted.values())).sum()
                    if so_far.step == len(batches) // 2 and looks_at_gradients(epoch + 1, config.epochs):
                        with watch("gradients"):
                            so_far.gradients = gradient_norms(weighted, student, scaler, world)
                    with watch("backward"):
                        optimizer.zero_grad(set_to_none=True)
                        scaler.scale(loss).backward()
                        world.sum_gradients(student.parameters(), modules.parameters())
                    with watch("optimizer"):
                        if config.clip_norm is not None:
                            scaler.unscale_(optimizer)
                            nn.utils.clip_grad_norm_(parameters, config.clip_norm)
                        scaler.step(optimizer)
                        scaler.update()
                    so_far.step += 1
                    with watch("losses"):
                        leave = asked()
                        broken, leave = world.broadcast_object((meter.add(raw, weights, look=leave), leave))
                    if broken:
                        break
                    if leave:
                        raise InterruptedTrainingError
                if fault := world.broadcast_object(_fault(broken or meter.flush(), trained)):
                    return run.conclude(ended("diverged", f"{fault} not finite in epoch {epoch + 1}"))

                metrics: dict[str, float] = {}
                if (epoch + 1) % config.evaluate_every == 0 or epoch + 1 == config.epochs:
                    with watch("evaluate"):
                        evaluation = evaluated()
                    metrics = evaluation.metrics
        except InterruptedTrainingError:
            so_far.shown += world.sum(shown() - before)
            run.save_checkpoint(epoch, state() | {"epoch": so_far.state_dict()}, so_far.step)
            return ended("interrupted", f"interrupted in epoch {epoch + 1} after {so_far.step} of {len(batches)} steps")
        so_far.shown += world.sum(shown() - before)
        reports.append(
            EpochReport(
                epoch=epoch + 1,
                epochs=config.epochs,
                metrics=metrics,
                losses=so_far.losses(),
                lr=learning_rate(epoch, len(batches) - 1),
                seconds=dict(watch.seconds),
                images=len(batches) * config.images_per_step,
                peak_memory_bytes=torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None,
                asked=int(so_far.shown[0]),
                recorded=int(so_far.shown[1]),
            )
        )
        with between("checkpoint"):
            run.save_checkpoint(epoch + 1, state())
        if says_stop(reports[-1]):
            return ended("stopped", "stopped by the listener")

    try:
        evaluation = evaluation or evaluated()
    except InterruptedTrainingError:
        return ended("interrupted", "interrupted in the last evaluation")
    if world.rank > 0:
        return ended("complete")
    student.tap(())
    cost = measure_cost(config.student, student, select_images.get(0)[0].shape[:2], config.eval_scale, device)
    result = ended("complete", evaluation=evaluation, student=cost)
    run.save_student(student.net, train_images.classes, result)
    return run.conclude(result)


def _restore(
    parts: Mapping[str, Any], state: Mapping[str, Any] | None, run: RunFolder
) -> tuple[list[EpochReport], dict[str, Any] | None]:
    """Bring the parts to a checkpoint, if there is one: the reports up to it, and how far its unfinished epoch is."""
    if state is None:
        return [], None
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return [EpochReport.from_dict(content) for content in state["reports"]], state.get("epoch")
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(
            f"the checkpoints in {run.path} are of another training ({type(error).__name__}); "
            "delete the folder to train anew"
        ) from error


def _build_terms(
    config: TrainConfig,
    student: TappedNetwork,
    teacher: FrozenTeacher | None,
    source: LiveBatches,
    size: tuple[int, int],
    num_classes: int,
) -> tuple[list[Term], nn.ModuleList]:
    """The active terms with their modules, the student tapped where the terms look."""
    terms = list(config.active_terms)
    student_shapes = layer_channels(student, [layer for term in terms for layer in term.student_layers], size)
    check_classes(config.student, student_shapes, num_classes)
    if AUX in student_shapes and config.aux_weight > 0:
        of_aux = {"name": AUX, "student_layer": AUX, "weight": config.aux_weight}
        terms.append(TERMS["cross_entropy"].model_validate(of_aux))
    teacher_shapes: dict[str, tuple[int, ...]] = {}
    if teacher is not None:
        forms = source.forms(teacher, sorted({layer for term in terms for layer in term.teacher_layers}))
        teacher_shapes = {layer: form.shape for layer, form in forms.items()}
    modules = nn.ModuleList()
    for term in terms:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(config.seed, "term", term.name))
            modules.append(term.build(student_shapes, teacher_shapes, num_classes))
    return terms, modules


def _build_optimizer(config: Optimizer, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    fused = parameters[0].device.type in ("cpu", "cuda")  # one kernel for all weights
    if config.name == "adamw":
        return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=fused)
    return torch.optim.SGD(
        parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=fused
    )


def _fault(broken: str | None, trained: nn.Module) -> str | None:
    """What is not finite: the loss that `broken` names, or the weights."""
    if broken:
        return f"the loss of {broken} was"
    state = [value for value in trained.state_dict().values() if isinstance(value, Tensor)]
    floats = [value for value in state if value.is_floating_point()]
    finite = torch.stack([value.isfinite().all() for value in floats]).all()
    return None if finite else "the weights were"
