"""One training of one student, from config to result. Read it from top to bottom."""

import json
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdtrain.checkpoint import check_writable, load_checkpoint, save_checkpoint, write_atomically
from kdtrain.config import Machine, Optimizer, TrainConfig
from kdtrain.cost import measure_cost
from kdtrain.data import Images, open_role, train_batches
from kdtrain.errors import InputError
from kdtrain.evaluate import Evaluation, evaluate
from kdtrain.methods import TERMS, Term
from kdtrain.methods.base import TermInput, TermModule
from kdtrain.models import TappedNetwork, build_network, layer_channels
from kdtrain.progress import EpochReport, Report, Stopwatch, TrainResult
from kdtrain.stream import derive, generator
from kdtrain.teacher import load_model, save_model

FINITE_CHECK_EVERY = 16
"""Steps between looks at the losses on a GPU, where every look waits for it; on a CPU every step is looked at."""


def train(
    config: TrainConfig, machine: Machine | None = None, report: Report | None = None, workdir: Path | str | None = None
) -> TrainResult:
    """Train a student.

    Args:
        config: All that decides the result.
        machine: Where and with what.
        report: Called with every epoch's report; ends the training by answering "stop". After a resume it is called
            with the reports of before first, so that a listener that missed some can catch up.
        workdir: Folder for checkpoints, `result.json` and the trained student (`student/`). Called again with the same
            folder, training goes on from its last checkpoint, and a finished one returns its result at once.

    Raises:
        InputError: If config, data, teacher or checkpoint are not what they must be; before any training.
    """
    machine = machine or Machine()
    folder = Path(workdir) if workdir is not None else None
    if folder is not None:
        check_writable(folder)
        _claim(folder, config)
        if (folder / "result.json").is_file():
            return _finished(folder / "result.json", report)
    if machine.threads:
        torch.set_num_threads(machine.threads)
    device = _device(machine)

    train_images = open_role(config.data, "train", machine.data_root, machine.cache)
    select_images = open_role(config.data, "select", machine.data_root, machine.cache)
    num_classes = len(train_images.classes)
    steps_per_epoch = len(train_images) // config.batch_size
    if steps_per_epoch == 0:
        raise InputError(f"batch_size: {config.batch_size} is more than the {len(train_images)} images of the train role")

    student = build_network(config.student, num_classes, config.seed, machine.weights)
    teacher = _teacher(config, machine, train_images) if config.uses_teacher else None
    terms, modules = _build_terms(config, student, teacher, train_images.get(0)[1].shape)
    for network in (student, modules, teacher):
        if network is not None:
            network.to(device, memory_format=torch.channels_last)
    parameters = [parameter for module in (student, modules) for parameter in module.parameters() if parameter.requires_grad]
    optimizer = _build_optimizer(config.optimizer, parameters)
    autocast, scaler = _mixed_precision(machine, device)

    first, reports = 0, list[EpochReport]()
    state = load_checkpoint(folder / "checkpoints") if folder is not None else None
    if state is not None:
        student.load_state_dict(state["student"])
        modules.load_state_dict(state["modules"])
        optimizer.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state["scaler"])
        reports = [EpochReport.from_dict(content) for content in state["reports"]]
        first = len(reports)
    for past in reports:
        if report is not None and report(past) == "stop":
            return TrainResult("stopped", past.epoch, tuple(reports), "stopped by the listener", first)

    evaluation: Evaluation | None = None
    total_steps = config.epochs * steps_per_epoch
    for epoch in range(first, config.epochs):
        watch = Stopwatch()
        with watch("total"):
            torch.manual_seed(derive(config.seed, "dropout", epoch))
            term_streams = [generator(config.seed, "term", term.name, epoch) for term in terms]
            meter = _LossMeter([term.name for term in terms], every=1 if device.type == "cpu" else FINITE_CHECK_EVERY)
            student.train()
            modules.train()
            batches = train_batches(
                train_images, config.augment, config.batch_size, config.sample_seed, epoch, machine.workers
            )
            for step, (images, labels) in enumerate(watch.timed("data", _moved(batches, device)), epoch * steps_per_epoch):
                lr = config.optimizer.lr * config.schedule.factor(step, total_steps, steps_per_epoch)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                with autocast():
                    with watch("teacher"), torch.no_grad():
                        teacher_maps = teacher(images) if teacher is not None else {}
                    with watch("student"):
                        student_maps = student(images)
                with watch("losses"):
                    raw = torch.stack(
                        [
                            module(
                                TermInput(
                                    student=student_maps[term.student_layer],
                                    teacher=teacher_maps.get(term.teacher_layer) if term.needs_teacher else None,
                                    labels=labels,
                                    num_classes=num_classes,
                                    ignore_index=train_images.ignore_index,
                                    generator=stream,
                                )
                            )
                            for term, module, stream in zip(terms, modules, term_streams, strict=True)
                        ]
                    )
                    loss = sum(term.weight * value for term, value in zip(terms, raw, strict=True))
                    broken = meter.add(raw)
                if broken:
                    reason = f"the loss of {broken} was not finite in epoch {epoch + 1}"
                    return _conclude(folder, TrainResult("diverged", epoch, tuple(reports), reason, first))
                with watch("backward"):
                    optimizer.zero_grad(set_to_none=True)
                    scaler.scale(loss).backward()
                with watch("optimizer"):
                    if config.clip_norm is not None:
                        scaler.unscale_(optimizer)
                        nn.utils.clip_grad_norm_(parameters, config.clip_norm)
                    scaler.step(optimizer)
                    scaler.update()
            if broken := meter.flush():
                reason = f"the loss of {broken} was not finite in epoch {epoch + 1}"
                return _conclude(folder, TrainResult("diverged", epoch, tuple(reports), reason, first))

            metrics: dict[str, float] = {}
            if (epoch + 1) % config.evaluate_every == 0 or epoch + 1 == config.epochs:
                with watch("evaluate"), autocast():
                    evaluation = _evaluate(student, select_images, config, device)
                metrics = evaluation.metrics
        reports.append(
            EpochReport(
                epoch=epoch + 1,
                epochs=config.epochs,
                metrics=metrics,
                losses={
                    term.name: {"raw": mean, "weighted": term.weight * mean}
                    for term, mean in zip(terms, meter.means(), strict=True)
                },
                lr=lr,
                seconds=dict(watch.seconds),
                images=steps_per_epoch * config.batch_size,
                peak_memory_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
            )
        )
        if folder is not None:
            save_checkpoint(
                folder / "checkpoints",
                epoch + 1,
                {
                    "student": student.state_dict(),
                    "modules": modules.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "scaler": scaler.state_dict(),
                    "reports": [past.to_dict() for past in reports],
                },
            )
        if report is not None and report(reports[-1]) == "stop" and epoch + 1 < config.epochs:
            return TrainResult("stopped", epoch + 1, tuple(reports), "stopped by the listener", first)

    if evaluation is None:
        with autocast():
            evaluation = _evaluate(student, select_images, config, device)
    student.tap(())
    cost = measure_cost(student, select_images.get(0)[0].shape[:2], config.eval_scale, device)
    result = TrainResult("complete", config.epochs, tuple(reports), None, first, evaluation, cost)
    if folder is not None:
        facts: dict[str, object] = {
            "network": config.student.model_copy(update={"weights": "none"}),
            "classes": train_images.classes,
            "trained_on": config.data.name,
            "macs": cost["macs"],
            "miou": evaluation.miou,
            "role": "select",
            "iou": [None if math.isnan(value) else float(value) for value in evaluation.iou],
            "epochs": config.epochs,
            "seconds": result.seconds,
        }
        save_model(folder / "student", student.net, facts)
    return _conclude(folder, result)


class _LossMeter:
    """Means of the terms over an epoch, and a look-out for values that are not finite."""

    def __init__(self, names: list[str], every: int) -> None:
        self.names, self.every = names, every
        self.recent: list[Tensor] = []
        self.sums = torch.zeros(len(names), dtype=torch.float64)
        self.steps = 0

    def add(self, raw: Tensor) -> str | None:
        """Count a step's raw values; the name of the first term that broke, where one did."""
        self.recent.append(raw.detach())
        return self.flush() if len(self.recent) >= self.every else None

    def flush(self) -> str | None:
        if not self.recent:
            return None
        values = torch.stack(self.recent).double().cpu()
        self.recent.clear()
        for row in values:
            if not torch.isfinite(row).all():
                return self.names[int((~torch.isfinite(row)).nonzero()[0, 0])]
        self.sums += values.sum(dim=0)
        self.steps += len(values)
        return None

    def means(self) -> list[float]:
        return [float(value) for value in self.sums / self.steps]


def _device(machine: Machine) -> torch.device:
    name = machine.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device: {machine.device!r} is not to be had here ({str(error).splitlines()[0]})") from error
    return device


def _mixed_precision(machine: Machine, device: torch.device) -> tuple[Any, torch.amp.GradScaler]:
    kind = machine.amp
    if kind == "auto":
        on_gpu = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float16"
        kind = on_gpu if device.type == "cuda" else "off"  # type: ignore[assignment]
    scaler = torch.amp.GradScaler(device.type, enabled=kind == "float16" and device.type == "cuda")

    def autocast() -> AbstractContextManager[Any]:
        return nullcontext() if kind == "off" else torch.autocast(device.type, getattr(torch, kind))

    return autocast, scaler


def _teacher(config: TrainConfig, machine: Machine, images: Images) -> TappedNetwork:
    if machine.teacher is None:
        raise InputError(f"teacher: the config asks for the teacher {config.teacher}; name its folder by --teacher")
    card, network = load_model(machine.teacher, config.teacher)
    if card.classes != tuple(images.classes):
        raise InputError(
            f"teacher: it knows {len(card.classes)} classes ({', '.join(card.classes[:4])}, ...), but the data have "
            f"{len(images.classes)} ({', '.join(images.classes[:4])}, ...)"
        )
    return network


def _build_terms(
    config: TrainConfig, student: TappedNetwork, teacher: TappedNetwork | None, image_size: tuple[int, int]
) -> tuple[list[Term], nn.ModuleList]:
    """The active terms with their modules, the networks tapped where the terms look."""
    terms = list(config.active_terms)
    size = config.augment.crop or image_size
    student_shapes = layer_channels(student, [term.student_layer for term in terms], size)
    if "aux" in student_shapes and config.aux_weight > 0:
        auxiliary = TERMS["cross_entropy"].model_validate(
            {"name": "aux", "student_layer": "aux", "weight": config.aux_weight}
        )
        terms.append(auxiliary)
    taught = [term.teacher_layer for term in terms if term.needs_teacher]
    teacher_shapes = layer_channels(teacher, taught, size) if teacher is not None else {}
    modules: list[TermModule] = []
    for term in terms:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(config.seed, "term", term.name))
            teacher_shape = teacher_shapes.get(term.teacher_layer) if term.needs_teacher else None
            student_channels = student_shapes[term.student_layer][0]
            modules.append(term.build(student_channels, teacher_shape[0] if teacher_shape else student_channels))
    return terms, nn.ModuleList(modules)


def _build_optimizer(config: Optimizer, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    if config.name == "adamw":
        return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )


def _evaluate(student: TappedNetwork, images: Images, config: TrainConfig, device: torch.device) -> Evaluation:
    student.eval()
    return evaluate(
        lambda pixels: student(pixels)["logits"], images, "select", config.batch_size, config.eval_scale, device
    )


def _moved(batches: Iterator[tuple[Tensor, Tensor]], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for images, labels in batches:
        yield (
            images.to(device, non_blocking=True, memory_format=torch.channels_last),
            labels.to(device, non_blocking=True),
        )


def _claim(folder: Path, config: TrainConfig) -> None:
    """Write the config into a fresh folder, or check that the folder is of the same run."""
    path = folder / "config.json"
    own = {"config_id": config.config_id, "seed": config.seed}
    if not path.is_file():
        write_atomically(path, json.dumps(own | {"config": config.model_dump(mode="json")}, indent=1).encode())
        return
    try:
        there = json.loads(path.read_bytes())
    except ValueError:
        raise InputError(f"{path} is damaged; delete the folder to train anew") from None
    if {name: there.get(name) for name in own} != own:
        raise InputError(
            f"{folder} holds the run {there.get('config_id')} with seed {there.get('seed')}, not {config.config_id} with "
            f"seed {config.seed}; choose another folder"
        )


def _finished(path: Path, report: Report | None) -> TrainResult:
    try:
        result = TrainResult.from_dict(json.loads(path.read_bytes()))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}); delete it to finish this run again") from error
    for past in result.reports:
        if report is not None:
            report(past)
    return result


def _conclude(folder: Path | None, result: TrainResult) -> TrainResult:
    if folder is not None:
        write_atomically(folder / "result.json", json.dumps(result.to_dict()).encode())
    return result
