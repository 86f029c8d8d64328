"""One training of one student, from config to result: `train` is the function to call, `Trainer.run` the loop."""

import time
from contextlib import closing
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from kdtrain.config import Machine, TrainConfig
from kdtrain.errors import DamagedError, InputError
from kdtrain.foreign import Trust, trusted_modules, trusting
from kdtrain.loop.batches import moved
from kdtrain.loop.cost import measure_cost
from kdtrain.loop.device import return_freed_memory
from kdtrain.loop.epoch import EpochProgress
from kdtrain.loop.evaluate import evaluate
from kdtrain.loop.evaluation import Evaluation
from kdtrain.loop.frozen_teacher import TeacherUse
from kdtrain.loop.gpu_busy import GpuBusy
from kdtrain.loop.reports import EpochReport, OnEpoch, Part, State, StudentCost, TrainResult
from kdtrain.loop.run_folder import RunFolder
from kdtrain.loop.schedules import Clock
from kdtrain.loop.setup import Run, build
from kdtrain.loop.step import TrainStep
from kdtrain.loop.stop import (
    DivergedTrainingError,
    Interrupt,
    InterruptedTrainingError,
    StopRequests,
    what_diverged,
)
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.models.weights import broken_tensors
from kdtrain.runtime.checkpoints import StateDict
from kdtrain.runtime.process_group import ProcessGroup
from kdtrain.runtime.processes import spawn

FINITE_CHECK_EVERY = 16
"""Steps between checks of the losses on a GPU, where every check waits for the GPU; on a CPU every step is checked."""


def train(
    config: TrainConfig,
    machine: Machine | None = None,
    report: OnEpoch | None = None,
    workdir: Path | str | None = None,
    interrupt: Interrupt | None = None,
) -> TrainResult:
    """Train a student.

    Several processes give the same result as one process, up to rounding, for networks without dropout: dropout masks
    differ between processes.

    Args:
        config: All that decides the result.
        machine: Device, folders and processes. The calling process is the first and starts the others.
        report: Called with the report of every epoch after its checkpoint is saved; the training ends when the function
            returns "stop". After a resume the function is first called with the reports of the earlier epochs, so that
            a listener that missed reports can catch up.
        workdir: Folder for checkpoints, `result.json` and the trained student (`student/`). With the
            folder of an earlier call, the training resumes from its last checkpoint, and a finished training returns
            its result at once.
        interrupt: Called after every step and between batches of an evaluation. When the function
            returns True, a checkpoint in the middle of the epoch is saved. Training resumes from this checkpoint as if
            it had not been interrupted (on a CPU bit for bit).

    Raises:
        InputError: If the config, data, teacher or checkpoint is invalid; raised before any training.
        StorageError: If a file cannot be written; files that were saved before stay.
    """
    called_at = time.perf_counter()
    machine = machine or Machine()
    for field, count in config.shared_counts.items():
        if count % machine.processes:
            raise InputError(f"{field}: must be divisible by the {machine.processes} processes, got {count}")
    folder = RunFolder(Path(workdir) if workdir is not None else None, config)
    if (result := folder.result()) is not None:
        for epoch_report in result.reports:
            if report is not None:
                report(epoch_report)
        return result
    try:
        with spawn(machine.processes, partial(_take_part, trusted_modules(), config, machine)) as group:
            return train_in_process(config, machine, group, folder, report, interrupt, called_at)
    finally:
        return_freed_memory()  # glibc keeps free memory for each thread, and a worker trains in many


def train_in_process(
    config: TrainConfig,
    machine: Machine,
    group: ProcessGroup,
    folder: RunFolder | None = None,
    on_epoch: OnEpoch | None = None,
    interrupt: Interrupt | None = None,
    called_at: float | None = None,
) -> TrainResult:
    """Run one process of a training.

    Args:
        config: As for `train`.
        machine: As for `train`.
        group: The processes of the training.
        folder: The run folder. Only the first process gets this argument and the following ones.
        on_epoch: `report` of `train`.
        interrupt: As for `train`.
        called_at: When `train` was called.
    """
    run = build(config, machine, group)
    group.join(run.device)
    with closing(run.source):
        return Trainer(run, folder or RunFolder(None, config), on_epoch, interrupt, called_at).run()


def _take_part(trusted: frozenset[str] | None, config: TrainConfig, machine: Machine, group: ProcessGroup) -> None:
    """What the other processes of a training do; they trust the same modules as the first one."""
    with trusting(Trust(trusted)):
        train_in_process(config, machine, group)


class Trainer:
    """The loop of a training, in one of its processes.

    Args:
        run: The training; the last checkpoint of the folder is loaded into it.
        folder: Where checkpoints and the result are kept.
        on_epoch: `report` of `train`.
        interrupt: As for `train`.
        called_at: When `train` was called, by `time.perf_counter`.

    Raises:
        DamagedError: If the checkpoints are damaged or belong to another training.
    """

    def __init__(
        self,
        run: Run,
        folder: RunFolder,
        on_epoch: OnEpoch | None = None,
        interrupt: Interrupt | None = None,
        called_at: float | None = None,
    ) -> None:
        self._run, self._folder = run, folder
        self._requests = StopRequests(run.group, on_epoch, interrupt)
        self._step = TrainStep(run)
        self._gpu_busy = GpuBusy(run.device)
        self._reports: list[EpochReport] = []
        self._progress: EpochProgress | None = None
        """The progress of the unfinished epoch."""
        self._evaluation: Evaluation | None = None
        """The last evaluation in this process."""
        self._between_epochs = Stopwatch()
        self._teacher_use_before = TeacherUse()

        self._resume()
        self._resumed_from = len(self._reports)
        if called_at is not None:
            self._between_epochs.seconds[Part.START.value] = time.perf_counter() - called_at

    def run(self) -> TrainResult:
        """Train until the training is complete, stopped, interrupted or diverged."""
        if any(self._requests.stops_after(report) for report in self._reports):
            return self._result("stopped", "stopped by the listener")
        try:
            for epoch in range(self._resumed_from, self._run.config.epochs):
                report = self._train_epoch(epoch)
                self._save_checkpoint()
                if self._requests.stops_after(report):
                    return self._result("stopped", "stopped by the listener")
            evaluation = self._evaluation or self._evaluate()
        except InterruptedTrainingError:
            return self._result("interrupted", self._save_unfinished_epoch())
        except DivergedTrainingError as error:
            return self._folder.conclude(self._result("diverged", str(error)))
        return self._complete(evaluation)

    def _train_epoch(self, epoch: int) -> EpochReport:
        """Train one epoch, or the rest of an interrupted epoch, and evaluate the student if an evaluation is due."""
        progress = self._begin_epoch()
        with progress.stopwatch.around(Part.WAIT):
            self._prepare_batches(epoch, progress)
        with progress.stopwatch(Part.TOTAL):
            self._take_steps(epoch, progress)
            metrics = {}
            if self._evaluates_after(epoch):
                with progress.stopwatch(Part.EVALUATE):
                    self._evaluation = self._evaluate()
                metrics = self._evaluation.metrics
        return self._finish_epoch(epoch, progress, metrics)

    def _prepare_batches(self, epoch: int, progress: EpochProgress) -> None:
        """Record the part of the epoch that the store does not have; every process records its share."""
        run = self._run
        request = run.schedules.teacher_request(run.schedules.term_weights(Clock(epoch, progress.step)))
        if run.group.size > 1 or run.config.teacher_order != "own":
            request = request.as_maps()  # kernels compare all images of a batch, in the batch's order
        run.source.prepare(epoch, progress.step, request, progress.stopwatch, self._requests.raise_if_interrupted_alone)
        run.group.broadcast_object(None)  # waits until all processes have recorded their share

    def _take_steps(self, epoch: int, progress: EpochProgress) -> None:
        """Take the remaining steps of the epoch.

        Raises:
            InterruptedTrainingError: After the step in which the caller interrupted.
            DivergedTrainingError: If a loss is not finite, or a weight is not finite after the last step.
        """
        run, stopwatch = self._run, progress.stopwatch
        run.trained.train()
        broken_term: str | None = None
        with closing(moved(run.source.epoch(epoch, progress.step), run.device)) as batches:
            for batch in stopwatch.timed(Part.DATA, batches):
                progress.add(self._step(batch, Clock(epoch, progress.step), stopwatch))
                self._gpu_busy.sample()
                with stopwatch(Part.LOSSES):
                    interrupted = self._requests.interrupted()
                    broken_term = progress.meter.first_broken(now=interrupted)
                    broken_term, interrupted = run.group.broadcast_object((broken_term, interrupted))
                if broken_term:
                    break
                if interrupted:
                    raise InterruptedTrainingError
        diverged = what_diverged(broken_term or progress.meter.check(), run.trained)
        if diverged := run.group.broadcast_object(diverged):
            raise DivergedTrainingError(f"{diverged} not finite in epoch {epoch + 1}")

    def _evaluates_after(self, epoch: int) -> bool:
        config = self._run.config
        return (epoch + 1) % config.evaluate_every == 0 or epoch + 1 == config.epochs

    def _evaluate(self) -> Evaluation:
        """Evaluate the student on the role select."""
        run = self._run
        run.student.eval()
        with run.averaged(), run.autocast():
            return evaluate(
                run.student.logits,
                run.select_images,
                "select",
                run.config.images_per_evaluation,
                run.config.eval_scale,
                run.device,
                run.group,
                self._requests.raise_if_interrupted,
            )

    def _begin_epoch(self) -> EpochProgress:
        """The progress of an epoch: from a checkpoint, or new."""
        progress = self._progress or self._new_progress()
        progress.stopwatch.take(self._between_epochs)
        self._progress = progress
        self._teacher_use_before = self._teacher_use()
        return progress

    def _finish_epoch(self, epoch: int, progress: EpochProgress, metrics: dict[str, float]) -> EpochReport:
        """Append the report of the epoch."""
        run = self._run
        self._count_teacher_use(progress)
        report = EpochReport(
            epoch=epoch + 1,
            epochs=run.config.epochs,
            metrics=metrics,
            losses=progress.losses(),
            lr=run.schedules.learning_rate(Clock(epoch, run.steps_per_epoch - 1)),
            seconds=dict(progress.stopwatch.seconds),
            images=run.steps_per_epoch * run.config.images_per_step,
            peak_memory_bytes=torch.cuda.max_memory_reserved(run.device) if run.device.type == "cuda" else None,
            asked=progress.teacher_use.shown,
            recorded=progress.teacher_use.recorded,
            replayed=progress.teacher_use.replayed,
            gpu_busy=self._gpu_busy.take(),
        )
        self._reports.append(report)
        self._progress = None
        return report

    def _new_progress(self) -> EpochProgress:
        run = self._run
        return EpochProgress(run.term_names, 1 if run.device.type == "cpu" else FINITE_CHECK_EVERY)

    def _teacher_use(self) -> TeacherUse:
        """The images that this process has shown the teacher so far."""
        return TeacherUse() if self._run.teacher is None else self._run.teacher.use

    def _count_teacher_use(self, progress: EpochProgress) -> None:
        """Add the images that all processes showed the teacher since the epoch began or resumed."""
        use = self._teacher_use() - self._teacher_use_before
        progress.teacher_use += TeacherUse.from_tensor(self._run.group.sum(use.to_tensor()))

    def _resume(self) -> None:
        """Load the last checkpoint, if there is one, and write the config to the folder."""
        state = self._run.group.broadcast_object(self._folder.load_checkpoint())
        if state is not None:
            try:
                self._load_state_dict(state)
            except (RuntimeError, ValueError, KeyError, TypeError) as error:
                raise DamagedError(
                    f"the checkpoints in {self._folder.path} belong to another training ({type(error).__name__}); "
                    "delete the folder to train from the start"
                ) from error
            if self._progress is None:  # in the middle of an epoch they may have diverged, which its end will find
                self._check_finite()
        self._run.group.align(self._run.trained)
        self._folder.claim()

    def _check_finite(self) -> None:
        """Refuse a checkpoint that no training has saved: at the end of an epoch all weights are finite."""
        average = {} if self._run.average is None else self._run.average.state_dict()
        state = self._run.trained.state_dict() | average
        if bad := broken_tensors({name: value for name, value in state.items() if isinstance(value, Tensor)}):
            raise DamagedError(
                f"the last checkpoint in {self._folder.path} holds NaN or infinity in {bad[0]}; delete it to resume "
                "from the one before, or the folder to train from the start"
            )

    def _state_dict(self) -> StateDict:
        """What a checkpoint holds."""
        state = self._run.state_dict() | {"reports": [report.to_dict() for report in self._reports]}
        return state if self._progress is None else state | {"epoch": self._progress.state_dict()}

    def _load_state_dict(self, state: StateDict) -> None:
        self._run.load_state_dict(state)
        self._reports = [EpochReport.from_dict(content) for content in state["reports"]]
        if "epoch" in state:
            self._progress = self._new_progress()
            self._progress.load_state_dict(state["epoch"])

    def _save_checkpoint(self) -> None:
        with self._between_epochs(Part.CHECKPOINT):
            self._folder.save_checkpoint(len(self._reports), self._state_dict())

    def _save_unfinished_epoch(self) -> str:
        """Save a checkpoint of the interrupted epoch; return where the training was interrupted, as text."""
        if self._progress is None:
            return "interrupted in the last evaluation"
        self._count_teacher_use(self._progress)
        epoch, step = len(self._reports), self._progress.step
        self._folder.save_checkpoint(epoch, self._state_dict(), step)
        return f"interrupted in epoch {epoch + 1} after {step} of {self._run.steps_per_epoch} steps"

    def _complete(self, evaluation: Evaluation) -> TrainResult:
        """Measure the student's cost, save the student and write the result; only in the first process."""
        run = self._run
        if run.group.rank > 0:
            return self._result("complete")
        if run.average is not None:
            run.average.apply()
        run.student.tap(())  # the student is measured and saved without the layers that only losses read
        image_size = run.select_images.get(0)[0].shape[:2]
        cost = measure_cost(run.config.student, run.student, image_size, run.config.eval_scale, run.device)
        result = self._result("complete", evaluation=evaluation, student=cost)
        self._folder.save_student(run.student.net, run.classes, result)
        return self._folder.conclude(result)

    def _result(
        self,
        state: State,
        reason: str | None = None,
        evaluation: Evaluation | None = None,
        student: StudentCost | None = None,
    ) -> TrainResult:
        return TrainResult(
            state=state,
            epochs_run=len(self._reports),
            reports=tuple(self._reports),
            reason=reason,
            resumed_from=self._resumed_from,
            evaluation=evaluation,
            student=student or StudentCost(),
        )
