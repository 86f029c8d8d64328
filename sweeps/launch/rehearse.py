"""The rehearsals of a sweep as a task of the connected cluster, with the CPUs and GPUs of one trial."""

import pickle
from collections.abc import Iterator

import ray
from ray.exceptions import RayError
from ray.util.queue import Queue

from kdtrain import InputError, Machine, TrainConfig
from kdtrain.loop.rehearsal import Rehearsal
from sweeps.attempt.signals import Interrupted, StopRequest
from sweeps.attempt.teachers import Teacher
from sweeps.launch.driver_setting import DriverSetting
from sweeps.rehearsals import Perform, Scene, perform_here
from sweeps.spec.settings import Resources

_POLL_S = 0.2


def rehearse_on_ray(resources: Resources, stop: StopRequest) -> Perform:
    """Perform scenes in one task; where that is, the teacher and the data are those of a trial."""

    def perform(scenes: list[Scene], machine: Machine, teacher: Teacher | TrainConfig | None) -> Iterator[Rehearsal]:
        if not scenes:
            return
        done = Queue(actor_options={"num_cpus": 0})
        task = ray.remote(num_cpus=resources.cpu, num_gpus=resources.gpus_alone, max_retries=0)(_perform)
        work = pickle.dumps((scenes, machine, teacher))
        running, ended = task.remote(work, done, DriverSetting.here()), False
        while not ended:
            ended = bool(ray.wait([running], timeout=_POLL_S)[0])
            if stop:
                ray.cancel(running, force=True)
                raise Interrupted("before the first trial")
            yield from done.get_nowait_batch(done.qsize())
        try:
            error = ray.get(running)
        except RayError as lost:
            raise InputError(
                f"the rehearsal's process was lost ({str(lost).strip().splitlines()[0]}), perhaps for lack of memory; "
                "lower train.batch_size or train.eval_batch_size, or leave the rehearsal out with --no-rehearsal"
            ) from lost
        if error is not None:
            raise InputError(error)

    return perform


def _perform(work: bytes, done: Queue, setting: DriverSetting) -> str | None:
    """Perform scenes in a worker process; returns the error that ended them."""
    try:
        with setting.taken_over():
            for rehearsal in perform_here(*pickle.loads(work)):
                done.put(rehearsal)
    except InputError as error:
        return str(error)
    return None
