"""Measures the students of a sweep with a target, before the first trial where they are few."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.extras import require
from kdtrain.config import Machine
from kdtrain.deploy.speed import Cost, Setting
from kdtrain.models import Network
from kdtrain.models.scaling import scaled_size
from sweeps.driver.driver import Driver
from sweeps.driver.limits import students_of
from sweeps.spec.spec import SweepSpec

if TYPE_CHECKING:
    from torch import Tensor


def require_runtime(spec: SweepSpec) -> None:
    """Check that the packages are installed that measure the students of a sweep.

    Raises:
        MissingExtraError: If they are not.
    """
    if spec.target is not None and spec.target.latency_ms is not None and spec.target.runtime == "onnxruntime":
        require("export", "target.runtime: onnxruntime")


def cost_here(spec: SweepSpec, student: Network, classes: int, size: tuple[int, int], machine: Machine) -> Cost:
    """What a student of a sweep costs, measured on this machine.

    Args:
        spec: The sweep.
        student: The kind of network.
        classes: Of the data.
        size: Height and width of an image of the data.
        machine: Where the data lie, for what int8 is calibrated on.
    """
    from kdtrain.deploy.measure import cost_of

    scale = spec.config_for(spec.studies[0]).eval_scale
    height, width = scaled_size(size, scale)
    setting = spec.target.setting((height, width)) if spec.target else None
    images = _calibration(spec, machine, setting) if setting is not None and setting.int8 else ()
    return cost_of(student, classes, (height, width), setting, images)


def _calibration(spec: SweepSpec, machine: Machine, setting: Setting) -> Sequence["Tensor"]:
    """Images of role train that int8 is calibrated on."""
    from kdtrain.data import open_role
    from kdtrain.deploy.int8 import calibration_images

    images = open_role(spec.data, "train", machine.data_root, machine.cache)
    return calibration_images(images, (setting.height, setting.width))


def measure_students(driver: Driver) -> None:
    """Measure what is not measured yet, and record it in the ledger.

    Raises:
        InputError: If a student does not run in the runtime, or no student of a study is within the limits.
    """
    spec, limits = driver.spec, driver.limits
    if spec.target is None:
        return
    of_studies = {study.name: students_of(spec, study) for study in spec.studies}
    students = {student.model_dump_json(): student for of_study in of_studies.values() for student in of_study}
    lacking = [student for student in students.values() if not limits.is_measured(student)]
    for number, student in enumerate(lacking, start=1):
        driver.notice(f"target: student {number} of {len(lacking)}: {student.title}: {limits.cost(student).in_words}")
    for name, of_study in of_studies.items():
        limits.check(name, of_study)
    if all(of_studies.values()):
        costs = [limits.cost(student) for student in students.values()]
        for limit in spec.target.limits[: min(map(spec.target.step, costs))]:
            least = min(spec.target.figure_of(cost) or 0 for cost in costs)
            driver.notice(f"target: no student is within {spec.target.figure} {limit:,g}; the least is {least:,.4g}")
