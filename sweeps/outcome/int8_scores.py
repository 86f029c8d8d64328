"""What the chosen students of a sweep for int8 score in 8-bit integers: measured where the data lie, kept in a file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdtrain.config import Machine
from kdtrain.errors import InputError, MissingError, StorageError
from kdtrain.runtime.atomic_files import write_atomically
from sweeps.outcome.student import TrainedStudent, local_copy
from sweeps.spec.spec import SweepSpec
from sweeps.store.store import Store

FILE = "int8.json"
"""In the folder of a sweep: by the place of a student, its mIoU on role select in 8-bit integers."""


def read_scores(sweep: Store) -> dict[str, float | str]:
    """The scores that were measured, or why one could not be, by the place of the student in its sweep.

    Raises:
        InputError: If the file is damaged.
    """
    if not sweep.exists(FILE):
        return {}
    try:
        scores = json.loads(sweep.read(FILE))
    except ValueError:
        scores = None
    if not isinstance(scores, dict) or not all(isinstance(score, float | str) for score in scores.values()):
        raise InputError(f"{sweep}: {FILE} is damaged; delete it, and run the sweep again, which measures the students")
    return scores


def measure_scores(
    folder: Path, sweep: Store, spec: SweepSpec, machine: Machine, students: Sequence[TrainedStudent], scratch: Path
) -> dict[str, float | str]:
    """Measure the students that were not yet, and write the file.

    Args:
        folder: The local folder of the sweep.
        sweep: The sweep.
        spec: Its spec.
        machine: Where the data lie.
        students: The students.
        scratch: A folder for copies of them.

    Returns:
        As of `read_scores`.

    Raises:
        InputError: If the data are not there, or a disk is full or refuses.
    """
    from kdtrain.data import open_roles
    from kdtrain.deploy.int8 import int8_miou

    scores = read_scores(sweep)
    lacking = [each for each in students if _key(sweep, each) not in scores]
    if not lacking:
        return scores
    train, select = open_roles(spec.data, ("train", "select"), machine.data_root, machine.cache)
    scale = spec.config_for(spec.studies[0]).eval_scale
    for student in lacking:
        key = _key(sweep, student)
        place = local_copy(student.folder, scratch / key.replace("/", "-"))
        try:
            scores[key] = int8_miou(place, train, select, scale)
        except (MissingError, StorageError):  # an outage, after which the next run measures it
            raise
        except InputError as error:  # what onnxruntime cannot quantize ends no sweep that has trained it
            scores[key] = str(error)
    write_atomically(folder / FILE, json.dumps(scores).encode())
    return scores


def with_int8(
    chosen: Mapping[str, Any], sweep: Store, students: Sequence[TrainedStudent], scores: Mapping[str, float | str]
) -> Mapping[str, Any]:
    """The chosen config with what its student scores in 8-bit integers, where that is known.

    Args:
        chosen: From `analysis.report.best_evidence.best_evidence`.
        sweep: The sweep.
        students: The students of the config, the first of which is handed out.
        scores: From `read_scores`.
    """
    if not students or (score := scores.get(_key(sweep, students[0]))) is None:
        return chosen
    if isinstance(score, str):
        content: dict[str, object] = {"not_measured": score}
    else:
        content = {"miou_on_select": score, "less_than_in_floats": students[0].score - score}
    return {**chosen, "evidence": {**chosen["evidence"], "int8": {"seed": students[0].seed, **content}}}


def in_words(evidence: Mapping[str, Any]) -> str:
    """What the evidence of a config says of its student in 8-bit integers, in one line; empty where it says nothing."""
    if (said := evidence.get("int8")) is None:
        return ""
    if "not_measured" in said:
        return f"int8: not measured: {said['not_measured']}"
    less = 100 * said["less_than_in_floats"]
    return f"int8: mIoU {100 * said['miou_on_select']:.2f} on select, {less:.2f} points less than in floats"


def _key(sweep: Store, student: TrainedStudent) -> str:
    return str(student.folder).removeprefix(str(sweep)).strip("/")
