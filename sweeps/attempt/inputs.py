"""What the trials of a sweep read: data, teacher, weights, the image cache; and what of it is away.

All of it was there when the session started, or the session would not have started. So what cannot be read later is
an outage, and no wrong input.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from kdtrain.config import Machine
from kdtrain.data import DataConfig, Unlabelled, open_data
from kdtrain.data.source import DataSource
from kdtrain.errors import InputError, StorageError, remedy
from kdtrain.explain import first_line
from kdtrain.models import Network
from kdtrain.runtime.atomic_files import check_writable
from sweeps.attempt.teachers import Teacher, checked_card
from sweeps.spec.spec import SweepSpec

Open = Callable[[], DataSource]


class Inputs:
    """The inputs of a session, as they were when it started.

    Args:
        spec: The sweep.
        machine: Where its trials look for them.
        digests: By role the digest of the data, from `describe_data`.
        teacher: The teacher of the sweep.
    """

    def __init__(
        self, spec: SweepSpec, machine: Machine, digests: Mapping[str, str], teacher: Teacher | None = None
    ) -> None:
        self._machine, self._digests, self._teacher = machine, digests, teacher
        self._sources = dict(_sources(spec.data, machine, spec.unlabelled))
        self._same = {role: {open_source().listing(_role(role))} for role, open_source in self._sources.items()}
        self._weights = {file: file.stat().st_size for file in _weights(_networks(spec), machine.weights)}

    def lacking(self) -> str | None:
        """One sentence about the first input that is away or not whole; None if all are there."""
        for check in (self._check_data, self._check_teacher, self._check_weights, self._check_cache):
            try:
                check()
            except OSError as error:
                return f"cannot read {error.filename}: {error.strerror or error}; {remedy(error)}"
            except InputError as error:
                return first_line(error)
        return None

    def _check_data(self) -> None:
        for role, open_source in self._sources.items():
            source = open_source()
            source.read(_role(role), source.ids(_role(role))[0])
            listing = source.listing(_role(role))
            if listing not in self._same[role]:
                if source.digest(_role(role)) != self._digests[role]:
                    raise InputError(
                        f"the data of role {role} are not those with which this session started; put them back"
                    )
                self._same[role].add(listing)

    def _check_teacher(self) -> None:
        if self._teacher is None or self._teacher.store.local is None:  # a remote store is waited for where it is read
            return
        digest, started_with = checked_card(self._teacher.store).digest, self._teacher.card.digest
        if digest != started_with:
            raise InputError(
                f"teacher: {self._teacher.store} holds the teacher {digest}, this session started with "
                f"{started_with}; put that one back"
            )

    def _check_weights(self) -> None:
        for file, size in self._weights.items():
            with file.open("rb") as stream:
                stream.read(1)
            if file.stat().st_size != size:
                raise InputError(f"weights: {file} is not as large as when this session started; put it back")

    def _check_cache(self) -> None:
        try:
            check_writable(self._machine.cache)
        except StorageError as error:
            raise InputError(f"the image cache: {error}") from error


def _role(name: str) -> str:
    """The role of a source in the terms of its methods."""
    return name.partition(":")[0]


def _sources(data: DataConfig, machine: Machine, unlabelled: Iterable[Unlabelled]) -> Iterator[tuple[str, Open]]:
    """Every role that trials read, and how its files are found."""
    for role in ("train", "select"):
        yield role, partial(open_data, data, machine.data_root)
    for further in unlabelled:
        yield f"unlabelled:{further.images}", partial(further.open, machine.data_root)


def _networks(spec: SweepSpec) -> Iterator[Network]:
    yield spec.student
    if spec.teacher_config is not None:
        yield spec.teacher_config.student
    for study in spec.studies:
        yield spec.config_for(study).student


def _weights(networks: Iterable[Network], folder: Path | None) -> set[Path]:
    """The files of weights that networks start from, as far as they are there."""
    named = {Path(network.weights) for network in networks if network.weights not in ("none", "library")}
    in_folder = set(folder.glob("*.safetensors")) if folder is not None else set[Path]()
    return {file for file in named | in_folder if file.is_file()}
