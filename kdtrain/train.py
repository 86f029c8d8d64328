"""One training of one student, from config to result. Read it from top to bottom."""

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdtrain.checkpoint import check_writable, load_checkpoint, save_checkpoint, write_atomically
from kdtrain.config import AUX, Machine, Optimizer, TrainConfig
from kdtrain.cost import measure_cost
from kdtrain.data import Images, TrainBatches, open_role
from kdtrain.device import find_device, mixed_precision
from kdtrain.errors import InputError
from kdtrain.evaluate import Evaluation, evaluate
from kdtrain.methods import TERMS, Term
from kdtrain.methods.base import TermInput
from kdtrain.models import TappedNetwork, build_network, check_classes, layer_channels
from kdtrain.progress import EpochReport, LossMeter, Report, Stopwatch, TrainResult
from kdtrain.stream import derive, generator
from kdtrain.teacher import load_model, save_model

CHECKPOINTS, CONFIG, RESULT, STUDENT = "checkpoints", "config.json", "result.json", "student"
FINITE_CHECK_EVERY = 16
"""Steps between looks at the losses on a GPU, where every look waits for it; on a CPU each step is looked at."""


def train(
    config: TrainConfig,
    machine: Machine | None = None,
    report: Report | None = None,
    workdir: Path | str | None = None,
) -> TrainResult:
    """Train a student.

    Args:
        config: All that decides the result.
        machine: Where and with what.
        report: Called with every epoch's report; ends the training by answering "stop". After a resume it is
            called with the reports of before first, so that a listener that missed some can catch up.
        workdir: Folder for checkpoints, `result.json` and the trained student (`student/`). Called again with
            the same folder, training goes on from its last checkpoint, and a finished one returns its result
            at once.

    Raises:
        InputError: If config, data, teacher or checkpoint are not what they must be; before any training.
    """
    machine = machine or Machine()
    folder = Path(workdir) if workdir is not None else None
    if folder is not None:
        check_writable(folder)
        _check_own(folder, config)
        if (folder / RESULT).is_file():
            return _finished(folder, report)
    if machine.threads:
        torch.set_num_threads(machine.threads)
    device = find_device(machine)

    train_images = open_role(config.data, "train", machine.data_root, machine.cache)
    select_images = open_role(config.data, "select", machine.data_root, machine.cache)
    num_classes = len(train_images.classes)
    batches = TrainBatches(train_images, config.augment, config.batch_size, config.sample_seed, machine.workers)

    student = build_network(config.student, num_classes, config.seed, machine.weights)
    teacher = _teacher(config, machine, train_images) if config.uses_teacher else None
    terms, modules = _build_terms(config, student, teacher, train_images)
    for network in (student, modules, teacher):
        if network is not None:
            network.to(device).to(memory_format=torch.channels_last)
    trained = nn.ModuleList([student, modules])
    parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    optimizer = _build_optimizer(config.optimizer, parameters)
    autocast, scaler = mixed_precision(machine, device)

    reports: list[EpochReport] = []
    parts: dict[str, Any] = {"student": student, "modules": modules, "optimizer": optimizer, "scaler": scaler}
    if folder is not None:
        reports = _restore(folder, parts)
        _claim(folder, config)
    first = len(reports)
    for past in reports:
        if report is not None and report(past) == "stop" and past.epoch < config.epochs:
            return TrainResult("stopped", first, tuple(reports), "stopped by the listener", first)

    evaluation: Evaluation | None = None
    total_steps = config.epochs * len(batches)
    for epoch in range(first, config.epochs):
        watch = Stopwatch()
        with watch("total"):
            torch.manual_seed(derive(config.seed, "dropout", epoch))
            term_streams = [generator(config.seed, "term", term.name, epoch) for term in terms]
            meter = LossMeter([term.name for term in terms], 1 if device.type == "cpu" else FINITE_CHECK_EVERY)
            trained.train()
            moved = watch.timed("data", _moved(batches.epoch(epoch), device))
            for step, (images, labels) in enumerate(moved, epoch * len(batches)):
                lr = config.optimizer.lr * config.schedule.factor(step, total_steps, len(batches))
                for group in optimizer.param_groups:
                    group["lr"] = lr
                with autocast():
                    teacher_maps: dict[str, Tensor] = {}
                    if teacher is not None:
                        with watch("teacher"), torch.no_grad():
                            teacher_maps = teacher(images)
                    with watch("student"):
                        student_maps = student(images)
                with watch("losses"):
                    values = []
                    for term, module, stream in zip(terms, modules, term_streams, strict=True):
                        student_map = student_maps[term.student_layer]
                        teacher_map = teacher_maps[term.teacher_layer] if term.needs_teacher else None
                        ignored = train_images.ignore_index
                        values.append(module(TermInput(student_map, teacher_map, labels, num_classes, ignored, stream)))
                    raw = torch.stack(values)
                    loss = sum(term.weight * value for term, value in zip(terms, raw, strict=True))
                    broken = meter.add(raw)
                if broken:
                    break
                with watch("backward"):
                    optimizer.zero_grad(set_to_none=True)
                    scaler.scale(loss).backward()
                with watch("optimizer"):
                    if config.clip_norm is not None:
                        scaler.unscale_(optimizer)
                        nn.utils.clip_grad_norm_(parameters, config.clip_norm)
                    scaler.step(optimizer)
                    scaler.update()
            broken = broken or meter.flush()
            if broken or not _all_finite(trained):
                what = f"the loss of {broken} was" if broken else "the weights were"
                reason = f"{what} not finite in epoch {epoch + 1}"
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
                images=len(batches) * config.batch_size,
                peak_memory_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
            )
        )
        if folder is not None:
            state = {name: part.state_dict() for name, part in parts.items()}
            state["reports"] = [past.to_dict() for past in reports]
            save_checkpoint(folder / CHECKPOINTS, epoch + 1, state)
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
        save_model(folder / STUDENT, student.net, facts)
    return _conclude(folder, result)


def _teacher(config: TrainConfig, machine: Machine, images: Images) -> TappedNetwork:
    if machine.teacher is None:
        raise InputError(f"teacher: the config asks for the teacher {config.teacher}; name its folder by --teacher")
    card, network = load_model(machine.teacher, config.teacher)
    if card.classes != images.classes:
        raise InputError(
            f"teacher: it knows {len(card.classes)} classes ({', '.join(card.classes[:4])}, ...), but the data "
            f"have {len(images.classes)} ({', '.join(images.classes[:4])}, ...)"
        )
    return network


def _build_terms(
    config: TrainConfig, student: TappedNetwork, teacher: TappedNetwork | None, images: Images
) -> tuple[list[Term], nn.ModuleList]:
    """The active terms with their modules, the networks tapped where the terms look."""
    terms = list(config.active_terms)
    size = config.augment.crop or images.sizes[0]
    student_shapes = layer_channels(student, [term.student_layer for term in terms], size)
    check_classes(config.student, student_shapes, len(images.classes))
    if AUX in student_shapes and config.aux_weight > 0:
        of_aux = {"name": AUX, "student_layer": AUX, "weight": config.aux_weight}
        terms.append(TERMS["cross_entropy"].model_validate(of_aux))
    teacher_shapes: Mapping[str, tuple[int, ...]] = {}
    if teacher is not None:
        taught = [term.teacher_layer for term in terms if term.needs_teacher]
        teacher_shapes = layer_channels(teacher, taught, size)
    modules = nn.ModuleList()
    for term in terms:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(config.seed, "term", term.name))
            channels = student_shapes[term.student_layer][0]
            taught_channels = teacher_shapes[term.teacher_layer][0] if term.needs_teacher else channels
            modules.append(term.build(channels, taught_channels))
    return terms, modules


def _build_optimizer(config: Optimizer, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    if config.name == "adamw":
        return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


def _evaluate(student: TappedNetwork, images: Images, config: TrainConfig, device: torch.device) -> Evaluation:
    student.eval()
    return evaluate(student.logits, images, "select", config.batch_size, config.eval_scale, device)


def _moved(batches: Iterator[tuple[Tensor, Tensor]], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for images, labels in batches:
        yield (
            images.to(device, non_blocking=True, memory_format=torch.channels_last),
            labels.to(device, non_blocking=True),
        )


def _all_finite(module: nn.Module) -> bool:
    floats = [value for value in module.state_dict().values() if value.is_floating_point()]
    return bool(torch.stack([value.isfinite().all() for value in floats]).all())


def _check_own(folder: Path, config: TrainConfig) -> None:
    """Check that the folder is new or of the same run."""
    path = folder / CONFIG
    if not path.is_file():
        return
    try:
        there = json.loads(path.read_bytes())
        own = (there["config_id"], there["seed"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged; delete the folder to train anew") from None
    if own != (config.config_id, config.seed):
        raise InputError(
            f"{folder} holds the run {own[0]} with seed {own[1]}, not {config.config_id} with seed "
            f"{config.seed}; choose another folder"
        )


def _claim(folder: Path, config: TrainConfig) -> None:
    own = {"config_id": config.config_id, "seed": config.seed, "config": config.model_dump(mode="json")}
    write_atomically(folder / CONFIG, json.dumps(own, indent=1).encode())


def _restore(folder: Path, parts: Mapping[str, Any]) -> list[EpochReport]:
    """Bring the parts to the newest checkpoint, if there is one; the reports up to it."""
    state = load_checkpoint(folder / CHECKPOINTS)
    if state is None:
        return []
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return [EpochReport.from_dict(content) for content in state["reports"]]
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the checkpoints in {folder} are of another training ({type(error).__name__}); "
            "delete the folder to train anew"
        ) from error


def _finished(folder: Path, report: Report | None) -> TrainResult:
    path = folder / RESULT
    try:
        result = TrainResult.from_dict(json.loads(path.read_bytes()))
    except Exception as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}); delete it to train anew") from error
    _drop_checkpoints(folder)
    for past in result.reports:
        if report is not None:
            report(past)
    return result


def _conclude(folder: Path | None, result: TrainResult) -> TrainResult:
    if folder is not None:
        write_atomically(folder / RESULT, json.dumps(result.to_dict()).encode())
        _drop_checkpoints(folder)
    return result


def _drop_checkpoints(folder: Path) -> None:
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
