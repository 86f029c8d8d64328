"""Steps on one batch that stays on the device, with the teacher's maps there: what is left is the card's own work."""

import time
from collections.abc import Callable

from gpu_rows.bench import Bench

from kdtrain import Machine, TrainConfig
from kdtrain.loop.batches import DistillBatch, moved
from kdtrain.loop.schedules import Clock
from kdtrain.loop.setup import build
from kdtrain.loop.step import StepResult, TrainStep
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.loop.teacher_request import TeacherRequest
from kdtrain.runtime.process_group import ProcessGroup

CLOCK = Clock(0, 0)


class ResidentSteps:
    """The steps of a training, all on its first batch.

    Args:
        config: The training.
        machine: Where it runs.
        batch: The batch of another training that sees the same, so that no teacher is asked again.
    """

    def __init__(self, config: TrainConfig, machine: Machine, batch: DistillBatch | None = None) -> None:
        self.run = build(config, machine, ProcessGroup())
        self.run.trained.train()
        self.batch = batch or self._first_batch()
        self._step = TrainStep(self.run)

    def _first_batch(self) -> DistillBatch:
        """The first batch, with what the losses need of the teacher."""
        run, request = self.run, self.prepare()
        batches = moved(run.source.epoch(CLOCK.epoch), run.device)
        batch = next(batches)
        batches.close()
        layers = request.maps_without(batch.kernels) - batch.maps.keys()
        if run.teacher is None or not layers:
            return batch
        maps = {**batch.maps, **run.teacher.ask(batch.images, layers)}
        missing = request.kernels.keys() - batch.kernels.keys()
        kernels = {term: request.rows(term, maps, batch.view, batch.number) for term in missing}
        return batch._replace(
            maps={layer: maps[layer] for layer in request.layers}, kernels={**batch.kernels, **kernels}
        )

    def prepare(self) -> TeacherRequest:
        """Make the first epoch ready to be read; returns what the losses need of the teacher."""
        request = self.run.schedules.teacher_request(self.run.schedules.term_weights(CLOCK))
        self.run.source.prepare(CLOCK.epoch, CLOCK.step, request, Stopwatch(), lambda: None)
        return request

    def __call__(self, live: bool = False) -> StepResult:
        """Take a step; `live`: as if nothing were recorded."""
        return self._step(self.batch._replace(maps={}, kernels={}) if live else self.batch, CLOCK, Stopwatch())


def images_per_second(bench: Bench, steps: Callable[[], object], warm_up: int = 4) -> float:
    """Images per second of steps within the bench's window; the host runs at most eight steps ahead."""
    for _ in range(warm_up):
        steps()
    bench.synchronize()
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < bench.window_s:
        for _ in range(8):
            steps()
        count += 8
        bench.synchronize()
    return bench.batch * count / (time.perf_counter() - begin)


def processor_ms(work: Callable[[], object]) -> float:
    """Milliseconds of the processor that all threads of this process take for some work."""
    begin = time.process_time()
    work()
    return 1e3 * (time.process_time() - begin)
