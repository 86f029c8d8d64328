"""The calibration of a sweep as a task of the connected cluster, with the CPUs and GPUs of one trial."""

import pickle

import ray
from ray.exceptions import RayError

from kdtrain import InputError, Machine
from kdtrain.loop.calibration import Calibration
from sweeps.attempt.signals import Interrupted, StopRequest
from sweeps.attempt.teachers import Teacher
from sweeps.calibrate import Measure, perform
from sweeps.launch.driver_setting import DriverSetting
from sweeps.spec.calibrations import Measurement
from sweeps.spec.settings import Resources

_POLL_S = 0.2


def measure_on_ray(resources: Resources, stop: StopRequest) -> Measure:
    """Make each calibration in one task; where that is, the teacher and the data are those of a trial."""

    def measure(measurement: Measurement, machine: Machine, teacher: Teacher | None) -> Calibration:
        task = ray.remote(num_cpus=resources.cpu, num_gpus=resources.gpus_alone, max_retries=0)(_measure)
        running = task.remote(pickle.dumps((measurement, machine, teacher)), DriverSetting.here())
        while not ray.wait([running], timeout=_POLL_S)[0]:
            if stop:
                ray.cancel(running, force=True)
                raise Interrupted("before the first trial")
        try:
            measured: Calibration | str = ray.get(running)
        except RayError as lost:
            raise InputError(
                f"the calibration's process was lost ({str(lost).strip().splitlines()[0]}), perhaps for lack of "
                "memory; lower train.batch_size, or give weights in place of pulls (units: weight)"
            ) from lost
        if isinstance(measured, str):
            raise InputError(measured)
        return measured

    return measure


def _measure(work: bytes, setting: DriverSetting) -> Calibration | str:
    """Make a calibration in a worker process; returns it, or the error that ended it."""
    try:
        with setting.taken_over():
            measurement, machine, teacher = pickle.loads(work)
            return perform(measurement, machine, teacher, lambda: False)
    except InputError as error:
        return str(error)
