"""Every mistake of a spec that can be noticed before a training starts."""

import json
import math
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from kdtrain.config import Machine, TrainConfig
from kdtrain.data import open_data
from kdtrain.data.carve import shared_groups
from kdtrain.data.census import Seen, check_presence, count_labels
from kdtrain.errors import InputError
from kdtrain.foreign import imported_references
from kdtrain.loop.device import find_device
from kdtrain.models import Network
from kdtrain.space import Choice, Range
from kdtrain.teacher import check_classes_of
from sweeps.attempt.replay_plan import ReplayPlan, plan_replay
from sweeps.attempt.teachers import card_of
from sweeps.driver.config_check import ConfigCheck
from sweeps.driver.sampler import make_sampler
from sweeps.show.watchers import find_watchers
from sweeps.spec.consistency import TRACKERS_SETTING
from sweeps.spec.pulls import PULL, WEIGHT
from sweeps.spec.spec import SweepSpec
from sweeps.spec.study import Study
from sweeps.store.store import Store
from sweeps.student_costs import require_runtime


@dataclass(frozen=True)
class Checked:
    """What the check of a spec learned; `image_size` is (height, width) of the first image."""

    images: dict[str, int]
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    teacher: Network | None
    replay: ReplayPlan
    config: ConfigCheck
    """Checks any other config of the sweep."""
    one_sided: tuple[str, ...] = ()
    """Sentences about classes that some role does not have, and groups that two roles have."""


def check(
    spec: SweepSpec,
    machine: Machine,
    seen: Seen = lambda role, done, total: None,
    reads_test: bool = False,
) -> Checked:
    """Check data, teacher, networks and layers, as far as that is possible without training.

    Args:
        spec: The sweep.
        machine: Where the data are, and the cache in which counts of classes are remembered.
        seen: Told how far the label maps are counted.
        reads_test: Whether the role test will be read, because a selection is frozen.

    Raises:
        InputError: If something does not fit: missing data, a class that the data do not have, a teacher with other
            classes, an unknown encoder or layer, layers that a loss cannot compare.
    """
    find_watchers(spec)
    _check_trackers(spec)
    make_sampler(spec.sampler)
    require_runtime(spec)
    source = open_data(spec.data, machine.data_root)
    roles = ("train", "select", "test") if reads_test and spec.data.has_test else ("train", "select")
    ids = {role: source.ids(role) for role in roles}
    image, _ = source.read("train", ids["train"][0])
    size = (image.shape[0], image.shape[1])
    teacher, knows_classes = _teacher_network(spec, source.classes)
    processes = spec.resources.processes
    config_check = ConfigCheck(len(source.classes), len(ids["train"]), size, teacher, processes, knows_classes)
    if spec.teacher_config is not None:
        config_check.network(spec.teacher_config.student, spec.teacher_config.augment.crop)
    configs = []
    teacher_shapes: dict[str, tuple[int, ...]] = {}
    kernels: dict[str, dict[str, int]] = {}
    for study in spec.studies:
        for config in _layer_variants(spec, study):
            configs.append(config)
            try:
                used = config_check(config)
            except InputError as error:
                raise InputError(f"studies.{study.name}: {error}") from None
            teacher_shapes |= used.shapes
            for term, kernel in used.kernels.items():
                facts = json.dumps([kernel.layer, kernel.size, kernel.facts], sort_keys=True)
                kernels.setdefault(term, {})[facts] = 8 * math.prod(kernel.parts) * config.images_per_step
    ids |= {
        f"unlabelled:{further.images}": further.open(machine.data_root, spec.data).ids() for further in spec.unlabelled
    }
    images = {role: len(image_ids) for role, image_ids in ids.items()}
    counts = count_labels(source, roles, machine.cache, seen)
    one_sided = (*check_presence(spec.data, counts), *shared_groups(source), *_taught_by_select(spec))
    bytes_of = {term: sum(sizes.values()) for term, sizes in kernels.items()}
    if _searches_kernels(spec, kernels):
        bytes_of = {}
    crop, half = configs[0].augment.crop or size, _computes_in_half(spec, machine)
    replay = plan_replay(spec, configs, images["train"], crop, teacher_shapes, bytes_of, half)
    return Checked(images, tuple(source.classes), size, teacher, replay, config_check, one_sided)


def _check_trackers(spec: SweepSpec) -> None:
    """Find the trackers that the spec or the environment names; raises InputError as `find_trackers`."""
    if spec.trackers or os.environ.get(TRACKERS_SETTING):
        from sweeps.trackers.find import find_trackers  # imports pandas, for tables

        find_trackers(spec)


def _computes_in_half(spec: SweepSpec, machine: Machine) -> bool:
    """Whether trials compute in half precision, also where only the nodes of a cluster have a GPU."""
    if machine.amp != "auto":
        return machine.amp != "off"
    return spec.resources.gpus_alone > 0 or find_device(machine).type == "cuda"


def foreign_notice() -> str | None:
    """A line about the third-party objects that the checked spec has imported; None if there are none."""
    names = imported_references()
    return f"imports third-party code: {', '.join(names)}" if names else None


def _teacher_network(spec: SweepSpec, classes: tuple[str, ...]) -> tuple[Network | None, bool]:
    """The teacher's network, and whether it knows classes, which are then those of the data."""
    if spec.teacher is None:
        return None, True
    if spec.teacher.path is None:
        assert spec.teacher_config is not None
        return spec.teacher_config.student, True
    card = card_of(Store(spec.teacher.path))
    check_classes_of(card, spec.teacher.path, classes)
    return card.network, bool(card.classes)


def _taught_by_select(spec: SweepSpec) -> Iterator[str]:
    """A sentence about a teacher that was trained on the same data set with other roles."""
    if spec.teacher is None or spec.teacher.path is None:
        return
    trained_on, here = card_of(Store(spec.teacher.path)).trained_on, spec.data.name_with_roles
    if trained_on != here and re.split(r"[ ,]", trained_on)[0] == spec.data.name:
        yield (
            f"the teacher {spec.teacher.path} was trained on {trained_on}, and the data of this sweep are {here}: "
            "images of select may be among those that it was trained on, so its score there is too high; fit a teacher "
            "to these data"
        )


def _layer_variants(spec: SweepSpec, study: Study) -> Iterator[TrainConfig]:
    """The study's config, and one for every layer that it may search."""
    typical = spec.typical(study)
    yield spec.config_for(study, typical)
    for path, domain in spec.space_of(study).items():
        if path.endswith("_layer") and isinstance(domain, Choice):
            for layer in domain.choices:
                yield spec.config_for(study, {**typical, path: layer})


def _searches_kernels(spec: SweepSpec, terms: Collection[str]) -> bool:
    """Whether hardly any two trials will share a kernel, because a number that the kernel depends on is searched."""
    spaces = [spec.space_of(study) for study in spec.studies]
    searched = {path for space in spaces for path, domain in space.items() if isinstance(domain, Range)}
    deciding = {path for path in searched if not path.endswith((f".{WEIGHT}", f".{PULL}"))}
    return any(path.startswith(f"terms.{term}.") for path in deciding for term in terms)
