"""The calibration of a sweep: the pulls of its terms are measured on untaught trainings before its first trial."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kdtrain.code_digest import code_of, digests_of
from kdtrain.config import Machine
from kdtrain.errors import StorageError
from kdtrain.loop.calibration import Calibration
from kdtrain.loop.device import find_device
from kdtrain.loop.pulls import measure_pulls
from kdtrain.loop.stop import InterruptedTrainingError
from kdtrain.runtime.atomic_files import write_atomically
from sweeps.attempt.attempt import staged
from sweeps.attempt.signals import Interrupted, StopRequest
from sweeps.attempt.teachers import Teacher
from sweeps.rehearsals import is_light
from sweeps.spec.calibrations import (
    Measured,
    Measurement,
    calibrations_of_defaults,
    check_measured,
    lines_about,
    ratios,
)
from sweeps.spec.spec import SweepSpec

if TYPE_CHECKING:
    from sweeps.driver.driver import Driver

Measure = Callable[[Measurement, Machine, Teacher | None], Calibration]
"""Makes a calibration, here or on a cluster."""
FOLDER = "pulls"
"""Where a machine's cache keeps the pulls that plans have measured."""
_SHORT_STEPS = 160
"""Of the untaught training of a plan."""


def calibrate(driver: "Driver", machine: Machine, teacher: Teacher | None, measure: Measure) -> None:
    """Measure what a sweep lacks, and record it in the ledger.

    Args:
        driver: The sweep, opened.
        machine: Where its trials run.
        teacher: Its teacher.
        measure: Makes the calibrations.

    Raises:
        InputError: If a loss cannot be computed, or a pull makes no weight.
        Interrupted: If a stop was requested.
    """
    lacking = driver.pulls_to_measure()
    for number, measurement in enumerate(lacking, start=1):
        config, of_several = measurement.config, f" {number} of {len(lacking)}" if len(lacking) > 1 else ""
        driver.notice(
            f"pulls: calibration{of_several}: the gradients of {_losses(measurement)} beside that of "
            f"cross-entropy, in an untaught training ({config.student.title}, batches of {config.images_per_step})"
        )
        driver.measured(measurement, measure(measurement, machine, teacher))
    driver.check_pulls()
    if lacking:
        for line in driver.lines_about_pulls():
            driver.notice(line)


def measure_here(stop: StopRequest) -> Measure:
    """Make calibrations in this process."""

    def measure(measurement: Measurement, machine: Machine, teacher: Teacher | None) -> Calibration:
        return perform(measurement, machine, teacher, lambda: bool(stop))

    return measure


def perform(
    measurement: Measurement, machine: Machine, teacher: Teacher | None, interrupt: Callable[[], bool]
) -> Calibration:
    """Make a calibration in this process.

    Raises:
        InputError: If a loss cannot be computed.
        Interrupted: If a stop was requested.
    """
    if teacher is not None:
        folder = teacher.store.local
        if folder is None:
            folder = staged(teacher.store, teacher.card.digest, machine.cache)
        machine = machine.model_copy(update={"teacher": folder})
    try:
        return measure_pulls(measurement.config, measurement.terms, machine, interrupt)
    except InterruptedTrainingError:
        raise Interrupted("before the first trial") from None


def lines_for_plan(
    spec: SweepSpec,
    machine: Machine,
    teacher: Teacher | None,
    images: int,
    recorded: Measured,
    say: Callable[[str], None],
) -> list[str]:
    """The pulls of the defaults of a sweep, in words: what its ledger has, or the cache, or a short calibration finds.

    There is no line as long as the teacher is not fitted.

    Args:
        spec: The sweep.
        machine: Where to measure.
        teacher: Its teacher; None if there is none, or it is fitted later.
        images: Images of role train.
        recorded: What its ledger has.
        say: Called with a line before a calibration.

    Raises:
        InputError: If a loss cannot be computed.
    """
    if spec.teacher is not None and teacher is None:
        return []
    digest, found = None if teacher is None else teacher.card.digest, dict(recorded)
    for measurement in calibrations_of_defaults(spec, digest):
        config_id, lacking = measurement.config.config_id, measurement.without(found)
        if not lacking.terms:
            continue
        key = _key(lacking, machine)
        by_term = _recall(machine.cache, key)
        if by_term is None and is_light(spec, machine, ""):
            return ["pulls: they are measured before the first trial, on the GPU that this machine lacks"]
        if by_term is None:
            say(f"pulls: a short calibration of {_losses(lacking)}, which is made once")
            calibration = perform(_shortened(lacking, images), machine, teacher, lambda: False)
            by_term = {term: calibration.ratio(term) for term in lacking.terms}
            _remember(machine.cache, key, by_term)
        found[config_id] = {**by_term, **found.get(config_id, {})}
    check_measured(spec, ratios(spec, digest, found))
    return lines_about(spec, digest, found)


def _losses(measurement: Measurement) -> str:
    count = len(measurement.terms)
    return f"{count} loss{'es' * (count > 1)}"


def _shortened(measurement: Measurement, images: int) -> Measurement:
    """The measurement in a training of fewer epochs."""
    config = measurement.config
    epochs = max(1, _SHORT_STEPS // max(1, images // config.batch_size))
    return Measurement(config.model_copy(update={"epochs": min(config.epochs, epochs)}), measurement.terms)


def _key(measurement: Measurement, machine: Machine) -> str:
    """Identifies a short calibration: its training (with data, seed and teacher), terms, code and device."""
    config = measurement.config
    code = [
        digests_of(code_of(config.model_copy(update={"terms": (*config.terms, term)})))
        for term in measurement.terms.values()
    ]
    facts = [config.config_id, config.seed, sorted(measurement.terms), code, find_device(machine).type]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def _recall(cache: Path, key: str) -> dict[str, float] | None:
    try:
        content = json.loads((cache / FOLDER / f"{key}.json").read_bytes())
        return {str(term): float(ratio) for term, ratio in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _remember(cache: Path, key: str, ratios: Mapping[str, float]) -> None:
    with contextlib.suppress(StorageError):  # then the next plan measures again
        write_atomically(cache / FOLDER / f"{key}.json", json.dumps(dict(ratios)).encode())
