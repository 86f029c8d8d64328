"""The rehearsals of a sweep: one step and one evaluation of every distinct network, method and size beforehand."""

import contextlib
import gc
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from analysis.formats import short_duration
from kdtrain.code_digest import code_key, digest_of, modules_of
from kdtrain.config import Machine, TrainConfig
from kdtrain.data import open_data, open_role
from kdtrain.errors import DamagedError, InputError, StorageError
from kdtrain.loop.device import find_device, return_freed_memory
from kdtrain.loop.rehearsal import TIMED_STEPS, Rehearsal, rehearse
from kdtrain.models import Network, build_network, building_once
from kdtrain.replay.costs import MapCosts
from kdtrain.runtime.atomic_files import write_atomically
from kdtrain.runtime.scratch import scratch_folder
from kdtrain.space import Choice, Range
from kdtrain.teacher import ModelCard, save_model
from sweeps.attempt.attempt import staged
from sweeps.attempt.signals import Interrupted, StopRequest
from sweeps.attempt.teachers import Teacher, present_teacher
from sweeps.driver.space_check import CheckConfig, refusal
from sweeps.ledger.environment import describe_environment
from sweeps.spec.paths import extremes
from sweeps.spec.spec import SweepSpec
from sweeps.spec.study import Study

FOLDER = "rehearsals"
"""Where a machine's cache keeps what its rehearsals found."""
TIMED_S = 20.0
"""Seconds that the timed steps of all scenes take before the other scenes are no longer timed."""
_LIGHT_BATCH = 2
"""Images in a step that a CPU takes in place of a GPU."""


@dataclass(frozen=True)
class Scene:
    """One rehearsal: a config that stands for all trials that differ from it in numbers alone.

    Attributes:
        at: Where the spec says so, as `studies.kd`.
        config: The config.
        evaluates: Whether the student is evaluated, too: once for several methods of one student.
        tests: Whether images of the sizes of the role test are evaluated, too.
        studies: The studies whose trials with typical values it stands for.
        key: Identifies config, code, teacher and device; the name under which the rehearsal is remembered.
    """

    at: str
    config: TrainConfig
    evaluates: bool
    tests: bool
    key: str
    studies: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The config in a few words."""
        return f"{self.at} ({self.config.student.title}, batches of {self.config.images_per_step})"


@dataclass(frozen=True)
class Rehearsed:
    """What the rehearsals of a sweep have shown.

    Attributes:
        lines: About the teacher's maps, see `map_lines`.
        by_study: The rehearsal of every study; empty where a CPU has stood in for a GPU.
    """

    lines: tuple[str, ...]
    by_study: Mapping[str, Rehearsal]


Perform = Callable[[list[Scene], Machine, Teacher | TrainConfig | None], Iterator[Rehearsal]]
"""Performs scenes, here or on a cluster; the teacher is there, or is fitted later as a config says."""


def rehearse_sweep(
    spec: SweepSpec,
    machine: Machine,
    teacher: Teacher | None,
    say: Callable[[str], None],
    perform: Perform | None = None,
    where: str = "",
    stop: StopRequest | None = None,
    tests: bool = False,
    check_config: CheckConfig = lambda config: None,
) -> Rehearsed:
    """Rehearse what a sweep will train, apart from what was rehearsed before with the same code on this machine.

    Args:
        spec: The sweep.
        machine: Where its trials run.
        teacher: Its teacher; None if there is none, or it is fitted later.
        say: Called with a line about every rehearsal.
        perform: Performs the rehearsals; in this process by default.
        where: The cluster on which `perform` computes; empty for this machine.
        stop: Ends the rehearsals after the current one.
        tests: Whether the sweep will read the role test, so that the sizes of its images are rehearsed, too.
        check_config: Raises an InputError for a searched config that the driver would draw anew.

    Raises:
        Interrupted: If a stop was requested.
        InputError: In one sentence that names the study and the network, if a trial would fail.
    """
    source: Teacher | TrainConfig | None = teacher or spec.teacher_config
    card = None if teacher is None else teacher.card
    scenes = scenes_of(spec, machine, card, where, tests, check_config)
    notes: list[str] = []
    measured: dict[str, Rehearsal] = {}
    new = []
    for scene in scenes:
        remembered = _recall(machine.cache, scene.key)
        if remembered is None:
            new.append(scene)
        else:
            notes += remembered.notes
            measured[scene.key] = remembered
    if new and is_light(spec, machine, where):
        say(
            "rehearsal: this machine has no GPU, which resources.gpu asks for, so its CPU takes steps with "
            f"{_LIGHT_BATCH} images, which says nothing about memory"
        )
    if new:
        say(f"rehearsal: one training step of each of {len(new)} networks and methods that trials will train")
    performed = (perform or perform_here)(new, machine, source)
    for number, (scene, rehearsal) in enumerate(zip(new, performed, strict=True), start=1):
        say(f"rehearsal {number} of {len(new)}: {scene.title}: {_figures(rehearsal)}")
        measured[scene.key] = rehearsal
        notes += rehearsal.notes
        _remember(machine.cache, scene.key, rehearsal)
        if stop:
            raise Interrupted("before the first trial")
    for note in dict.fromkeys(notes):
        say(f"warning: {note}")
    if is_light(spec, machine, where):
        return Rehearsed((), {})
    by_study = {study: measured[scene.key] for scene in scenes for study in scene.studies}
    return Rehearsed(tuple(map_lines({scene.at: measured[scene.key] for scene in scenes})), by_study)


def rehearse_plan(
    spec: SweepSpec, machine: Machine, say: Callable[[str], None], check_config: CheckConfig = lambda config: None
) -> Rehearsed:
    """Rehearse a sweep that has not begun, in this process, as `rehearse_sweep` does at its start.

    Raises:
        InputError: If a trial would fail.
    """
    processes = spec.resources.processes
    threads = machine.threads or max(1, int(spec.resources.cpu / processes))
    if find_device(machine).type == "cuda" and torch.cuda.device_count() < processes:
        processes = 1
    machine = machine.model_copy(update={"threads": threads, "processes": processes})
    return rehearse_sweep(spec, machine, present_teacher(spec, None), say, check_config=check_config)


def scenes_of(
    spec: SweepSpec,
    machine: Machine,
    card: ModelCard | None,
    where: str = "",
    tests: bool = False,
    check_config: CheckConfig = lambda config: None,
) -> list[Scene]:
    """The distinct rehearsals of a sweep, without those that differ from another in numbers alone.

    Args:
        spec: The sweep.
        machine: Where its trials run.
        card: Of the teacher; None if there is none, or it is fitted later.
        where: The cluster that rehearses; empty for this machine.
        tests: Whether the role test will be read.
        check_config: As for `rehearse_sweep`.
    """
    fit = spec.teacher_config
    teacher = {"digest": card.digest, "code": _code(card.network)} if card else {"fit": fit and _facts(fit)}
    base = _machine_facts(spec, machine, where)
    light = is_light(spec, machine, where)
    configs: list[tuple[str, TrainConfig, tuple[str, ...]]] = []
    configs += [("teacher.fit", fit, ())] if fit is not None and card is None else []
    configs += [
        (f"studies.{study.name}", config, () if number else (study.name,))
        for study in spec.studies
        for number, config in enumerate(variants(spec, study, check_config))
    ]
    scenes: dict[str, Scene] = {}
    evaluated: set[str] = set()
    for at, config, studies in configs:
        config = _lightened(config) if light else config
        student = _digest(_student_facts(config))
        facts = {**base, **_facts(config), "teacher": teacher if config.uses_teacher else None}
        plain = _digest(facts)
        evaluates = student not in evaluated
        evaluated.add(student)
        reads_test = evaluates and tests
        key = _digest({**facts, "evaluates": evaluates, "tests": reads_test})
        scene = scenes.setdefault(plain, Scene(at, config, evaluates, reads_test, key))
        scenes[plain] = replace(scene, studies=(*scene.studies, *studies))
    return list(scenes.values())


def variants(spec: SweepSpec, study: Study, check_config: CheckConfig = lambda config: None) -> Iterator[TrainConfig]:
    """The study's config, and one for every choice and every end of a range of whole numbers that it searches."""
    typical = spec.typical(study)
    yield spec.config_for(study, typical)
    for path, domain in spec.space_of(study).items():
        if isinstance(domain, Choice) or (isinstance(domain, Range) and domain.integer):
            for value in extremes(domain):
                params = {**typical, path: value}
                if refusal(spec, study, params, check_config) is None:  # else it is drawn anew
                    yield spec.config_for(study, params)


def perform_here(scenes: list[Scene], machine: Machine, teacher: Teacher | TrainConfig | None) -> Iterator[Rehearsal]:
    """Perform scenes in this process, one by one.

    Raises:
        InputError: If a training of a scene would fail.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(building_once())
        gc.freeze()  # so that a collection after each scene looks only at what the scenes have made
        stack.callback(gc.unfreeze)
        here: tuple[Path, str] | None = None
        timed_s = 0.0
        for scene in scenes:
            config = scene.config
            with _named(scene):
                if config.uses_teacher:
                    if here is None and teacher is not None:
                        here = stack.enter_context(_teacher_folder(teacher, machine))
                    if here is not None:
                        machine = machine.model_copy(update={"teacher": here[0]})
                        config = config.model_copy(update={"teacher": here[1]})
                rehearsal = rehearse(config, machine, scene.evaluates, scene.tests, timed=timed_s < TIMED_S)
            timed_s += TIMED_STEPS * (rehearsal.steady_s or 0.0)
            gc.collect()
            return_freed_memory()  # of this process, which may be that of the whole sweep
            yield rehearsal


@contextlib.contextmanager
def _named(scene: Scene) -> Iterator[None]:
    """Name the scene in errors of the block."""
    try:
        yield
    except (StorageError, DamagedError):
        raise
    except InputError as error:
        where = f"{scene.at} ({scene.config.student.title})"
        raise InputError(f"{where}: {error} (--no-rehearsal leaves this check out)") from error


@contextlib.contextmanager
def _teacher_folder(teacher: Teacher | TrainConfig, machine: Machine) -> Iterator[tuple[Path, str]]:
    """A folder of this machine with the teacher, and its digest; one that is not fitted yet has random weights."""
    if not isinstance(teacher, TrainConfig):
        store, card = teacher
        yield (store.local if store.local is not None else staged(store, card.digest, machine.cache)), card.digest
        return
    classes = open_role(teacher.data, "train", machine.data_root, machine.cache).classes
    network = teacher.student.model_copy(update={"weights": "none"})
    with scratch_folder(machine.cache) as folder:
        net = build_network(network, len(classes), teacher.seed).net
        facts = {"network": network, "classes": classes, "trained_on": teacher.data.name_with_roles}
        yield folder, save_model(folder, net, facts).digest


def _facts(config: TrainConfig) -> dict[str, Any]:
    """What decides whether a training of this config runs, without the numbers that only decide how well it does."""
    terms = [
        {
            name: value
            for name, value in term.model_dump(mode="json", exclude={"pull"}).items()
            if not isinstance(value, float | dict)
        }
        for term in config.active_terms
    ]
    return {
        **_student_facts(config),
        "terms": terms,
        "crop": config.augment.crop,
        "batch": config.shared_counts,
        "optimizer": config.optimizer.name,
        "clips": config.clip_norm is not None,
        "teacher_rounding": config.teacher_rounding,
        "teacher_order": config.teacher_order,
        "has_aux": config.aux_weight > 0,
        "code": code_key(config),
    }


def _student_facts(config: TrainConfig) -> dict[str, Any]:
    """What decides how a student is evaluated."""
    return {
        "student": config.student.model_dump(mode="json"),
        "data": config.data.hashed(),
        "eval_scale": config.eval_scale,
        "eval_batch": config.images_per_evaluation,
        "averaged": config.ema.half_life > 0,
    }


def _machine_facts(spec: SweepSpec, machine: Machine, where: str) -> dict[str, Any]:
    environment = describe_environment(machine)
    device = where or [environment["device"], environment["device_name"]]
    source = open_data(spec.data, machine.data_root)
    return {
        "where": device,
        "gpu": spec.resources.gpu,
        "software": [environment["python"], environment["versions_json"]],
        "amp": machine.amp,
        "processes": machine.processes,
        "weights": str(machine.weights),
        "listing": {role: source.listing(role) for role in ("train", "select")},
        "light": is_light(spec, machine, where),
    }


def _code(network: Network) -> str | None:
    """The digest of the code of a network of the user's."""
    return digest_of(modules_of(network.arch.partition(":")[0])) if network.is_custom else None


def is_light(spec: SweepSpec, machine: Machine, where: str) -> bool:
    """Whether this machine's CPU stands in for a GPU."""
    return not where and spec.resources.gpus_alone > 0 and find_device(machine).type == "cpu"


def _lightened(config: TrainConfig) -> TrainConfig:
    """The config with small batches."""
    smallest = max([_LIGHT_BATCH, *(term.smallest_batch for term in config.active_terms)])
    changes: dict[str, Any] = {"batch_size": min(config.batch_size, smallest), "eval_batch_size": 1}
    if config.unlabelled is not None:
        changes["unlabelled"] = config.unlabelled.model_copy(update={"per_batch": 1})
    return config.model_copy(update=changes)


def _recall(cache: Path, key: str) -> Rehearsal | None:
    """What a rehearsal of this key found; None if there was none."""
    try:
        content = json.loads((cache / FOLDER / f"{key}.json").read_bytes())
        return Rehearsal(**{**content, "notes": tuple(content["notes"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _remember(cache: Path, key: str, rehearsal: Rehearsal) -> None:
    with contextlib.suppress(StorageError):  # then the next command rehearses again
        write_atomically(cache / FOLDER / f"{key}.json", json.dumps(asdict(rehearsal)).encode())


def _figures(rehearsal: Rehearsal) -> str:
    figures = [f"step {short_duration(rehearsal.step_s)}"]
    if rehearsal.evaluation_s is not None:
        figures.append(f"evaluation of a batch {short_duration(rehearsal.evaluation_s)}")
    if rehearsal.peak_memory_bytes is not None:
        figures.append(f"GPU memory {rehearsal.peak_memory_bytes / 1e9:.2g} GB")
    return ", ".join(figures)


def map_lines(measured: Mapping[str, Rehearsal]) -> list[str]:
    """Whether the teacher's maps are read or computed, and why: a line for all studies in which that is the same.

    Args:
        measured: Rehearsals by where the spec says so.
    """
    places: dict[str, list[str]] = {}
    for at, rehearsal in measured.items():
        if rehearsal.ask_s is not None and rehearsal.read_s:
            places.setdefault(_maps_in_words(rehearsal.read_s, rehearsal.ask_s), []).append(at)
    return [
        f"teacher maps of {', '.join(places_of)}: {words}; trials measure again" for words, places_of in places.items()
    ]


def _maps_in_words(read_s: Mapping[str, tuple[float, float]], ask_s: float) -> str:
    sides = [MapCosts({layer: both[side] for layer, both in read_s.items()}, ask_s) for side in range(2)]
    memory, disk = (short_duration(sum(side.read_s.values())) for side in sides)
    from_memory, from_disk = (side.is_worth_reading(read_s) for side in sides)
    choice = "read" if from_memory else "computed in every trial"
    if from_memory and not from_disk:
        choice = "read as long as the system's memory holds them"
    return (
        f"{' and '.join(read_s)} of an image take {memory} to read ({disk} from the disk) and "
        f"{short_duration(ask_s)} to compute, so they are {choice}"
    )


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:24]
