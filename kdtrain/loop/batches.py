"""Batches with what the teacher says about them, from the store as far as it holds them.

All trainings of one data seed see the same samples, and a frozen teacher says the same about them in each. Whoever
comes to an epoch first records what is missing of it, together with whoever comes at the same time; all others read.
"""

import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from kdtrain.config import Machine
from kdtrain.data import TrainBatches
from kdtrain.data.batches import Key
from kdtrain.errors import StorageError
from kdtrain.loop.device import precision
from kdtrain.loop.frozen_teacher import FrozenTeacher
from kdtrain.loop.reports import Part
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.loop.teacher_request import Maps, TeacherRequest
from kdtrain.replay.array_file import ArrayFile, TensorSpec
from kdtrain.replay.recording import ensure
from kdtrain.replay.store import ReplayStore
from kdtrain.replay.stream import Layout, Stream, View
from kdtrain.runtime.atomic_files import write_atomically


class DistillBatch(NamedTuple):
    """A batch."""

    images: Tensor
    """Float32 `(B, 3, h, w)` in [0, 1]."""
    labels: Tensor
    """Int64 `(B, h, w)`."""
    view: int
    """The epoch whose batch it is."""
    number: int
    """Which of that epoch."""
    maps: Maps
    """What the teacher says, by layer, as far as that is wanted and stored."""
    kernels: Maps
    """By term what is wanted and stored of its kernel, one row per image."""


class LiveBatches:
    """Batches made anew in every epoch."""

    def __init__(self, batches: TrainBatches) -> None:
        self._batches = batches

    def map_specs(self, teacher: FrozenTeacher, layers: Sequence[str]) -> Mapping[str, TensorSpec]:
        """What one image's maps are at some layers of the teacher."""
        return teacher.map_specs(layers, self._batches.size)

    def prepare(
        self, epoch: int, start: int, wanted: TeacherRequest, watch: Stopwatch, pause: Callable[[], None]
    ) -> None:
        """See to it that an epoch can be read, from batch number `start` on.

        Args:
            epoch: Which.
            start: The first batch that is wanted.
            wanted: Of the teacher.
            watch: Counts `record` for samples and `record_teacher` for what the teacher says.
            pause: Called now and then; may raise to leave off.
        """

    def epoch(self, epoch: int, start: int = 0) -> Iterator[DistillBatch]:
        """An epoch's batches from number `start` on."""
        view, numbers = self._batches.view(epoch), self._batches.numbers(epoch, start)
        for number, (images, labels) in zip(numbers, self._batches.epoch(epoch, start), strict=True):
            yield DistillBatch(images, labels, view, number, {}, {})

    def close(self) -> None:
        """Let go of what was prepared."""


class ReplayedBatches(LiveBatches):
    """Batches from the store; what it has no room for is made, or asked, anew.

    Args:
        batches: Which samples, and how they are made.
        shelf: The store.
        facts: What the maps depend on beside the samples and the teacher: precision, kind of device.
        teacher: The teacher, where there is one.
        layers: Whose maps to record of it; None for those that this training looks at.
        device: Where the teacher computes.
        views: Only so many views are stored; None for all.
        kernels: Whether kernels are recorded, too.
    """

    def __init__(
        self,
        batches: TrainBatches,
        shelf: ReplayStore,
        facts: Mapping[str, Any],
        teacher: FrozenTeacher | None,
        layers: Sequence[str] | None,
        device: torch.device,
        views: int | None = None,
        kernels: bool = True,
    ) -> None:
        super().__init__(batches)
        samples, size = batches.samples, batches.size
        further = samples.unlabelled
        of_samples = {
            "images": samples.images.digest,
            "unlabelled": further.digest if further is not None else None,
            "augment": samples.augment.model_dump(mode="json"),
            "data_seed": samples.data_seed,
            "size": size,
        }
        self._samples = Stream(shelf, of_samples, Layout(batch=batches.batch_size, extra=batches.per_batch))
        self._layout = self._samples.layout
        self._sample_forms = {"images": TensorSpec((*size, 3), torch.uint8), "labels": TensorSpec(size, torch.uint8)}
        self._teacher, self._layers, self._device = teacher, layers, device
        self._maps: Stream | None = None
        if teacher is not None:
            software = {"torch": torch.__version__, "machine": platform.machine()}
            of_maps = {"samples": of_samples, "teacher": teacher.digest, "layout": self._layout.model_dump()}
            if teacher.rounded is not None:
                of_maps["rounded"] = str(teacher.rounded)
            self._maps = Stream(shelf, of_maps | software | dict(facts), self._layout)
        self._held = ExitStack()
        self._views = views
        self._tracks: dict[str, ArrayFile] = {}
        self._kernels = kernels
        self._wanted = TeacherRequest()
        self._of_terms: dict[str, str] = {}
        """The tracks of kernels, by term."""

    def map_specs(self, teacher: FrozenTeacher, layers: Sequence[str]) -> Mapping[str, TensorSpec]:
        """What one image's maps are: from a note in the store, lest the teacher be loaded to tell."""
        assert self._maps is not None
        path = self._maps.folder / "forms.json"
        wanted = {*layers, *(self._layers or ())}
        try:
            known = {name: _form(*noted) for name, noted in json.loads(path.read_text()).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            known = {}
        if not wanted <= known.keys():
            known |= super().map_specs(teacher, sorted(wanted))
            with suppress(StorageError):  # then the next training asks again
                write_atomically(path, json.dumps({name: _noted(form) for name, form in known.items()}).encode())
        return {layer: known[layer] for layer in layers}

    def prepare(
        self, epoch: int, start: int, wanted: TeacherRequest, watch: Stopwatch, pause: Callable[[], None]
    ) -> None:
        """Record what is missing of an epoch, together with others who need it too."""
        self.close()
        number = self._batches.view(epoch)
        if self._views is not None and number >= self._views:
            return
        keys = self._batches.keys(epoch, start)
        batches = [[row for key in batch if (row := self._row(key)) is not None] for batch in keys]
        rows = [row for batch in batches for row in batch]
        if len(rows) < sum(map(len, keys)):
            return  # a batch that the first recorder's layout has no room for
        chunks = list(dict.fromkeys(row // self._layout.rows for row in rows))
        whole = all(batch == self._rows_of(batch[0] // self._layout.rows) for batch in batches)
        self._wanted = wanted if whole and self._kernels else wanted.as_maps()
        self._of_terms = {term: self._wanted.track(term) for term in self._wanted.kernels}
        view = self._held.enter_context(self._samples.view(number))
        if not (tracks := view.tracks(self._rows, self._sample_forms)):
            return
        self._tracks |= tracks

        def samples(chunk: int) -> Maps:
            with watch(Part.RECORD):
                pairs = [self._batches.samples.cut_out(key) for key in self._keys(number, chunk)]
                images, labels = zip(*pairs, strict=True)
                return {"images": torch.from_numpy(np.stack(images)), "labels": torch.from_numpy(np.stack(labels))}

        ensure(view, tracks, chunks, samples, pause)
        if self._teacher is not None and self._maps is not None and wanted:
            of_maps = self._held.enter_context(self._maps.view(number))
            known = [chunk for chunk in chunks if all(track.has(chunk) for track in tracks.values())]
            self._tracks |= self._recorded(of_maps, self._teacher, known, watch, pause)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[DistillBatch]:
        """Batches as far as they are stored, from the disk; others are made."""
        view, numbers = self._batches.view(epoch), self._batches.numbers(epoch, start)
        for number, keys in zip(numbers, self._batches.keys(epoch, start), strict=True):
            rows = [row for key in keys if (row := self._row(key)) is not None]
            chunks = {row // self._layout.rows for row in rows}
            whole = len(rows) == len(keys)
            there = {name for name, track in self._tracks.items() if whole and all(map(track.has, chunks))}
            if there >= self._sample_forms.keys():
                images, labels = self._stored(keys, rows)
            else:
                images, labels = default_collate([self._batches.samples[key] for key in keys])
            kernels = {term: name for term, name in self._of_terms.items() if name in there}
            layers = self._wanted.maps_without(kernels) & there
            yield DistillBatch(
                images,
                labels,
                view,
                number,
                {layer: self._tracks[layer].read(rows) for layer in layers},
                {term: self._tracks[name].read(rows) for term, name in kernels.items()},
            )
        self.close()

    def close(self) -> None:
        """Let go of the tracks of the epoch before."""
        self._tracks = {}
        self._held.close()

    def _recorded(
        self,
        view: View,
        teacher: FrozenTeacher,
        chunks: Sequence[int],
        watch: Stopwatch,
        pause: Callable[[], None],
    ) -> Mapping[str, ArrayFile]:
        """The tracks of the teacher's maps and kernels, complete as far as the disk allows."""
        wanted, rows_each = self._wanted, self._layout.rows
        forms = self.map_specs(teacher, sorted(wanted.layers if self._layers is None else self._layers))
        if (maps := view.tracks(self._rows, forms)) is None:
            return {}
        of_kernels = {name: wanted.form(term, rows_each, self._device) for term, name in self._of_terms.items()}
        # in the room that is left: no view is worth less than the little that kernels save
        kernels = view.tracks(self._rows, of_kernels, evict=False) or {}
        tracks = {**maps, **kernels}

        def answers(chunk: int) -> Maps:
            with watch(Part.RECORD_TEACHER):
                keys, rows = self._keys(view.number, chunk), self._rows_of(chunk)
                missing = {name for name, track in tracks.items() if not track.has(chunk)}
                terms = [term for term, name in self._of_terms.items() if name in missing]
                layers = (missing & maps.keys()) | {wanted.kernels[term].layer for term in terms}
                known = (layers & maps.keys()) - missing
                found = {layer: maps[layer].read(rows[: len(keys)]).to(self._device) for layer in known}
                if layers - known:
                    images, _ = self._stored(keys, rows[: len(keys)])
                    images = images.to(self._device, memory_format=torch.channels_last)
                    found |= teacher.ask(images, layers - known)
                    teacher.note_recorded(len(images))
                found |= {self._of_terms[term]: wanted.rows(term, found, view.number, chunk) for term in terms}
                return {name: found[name].cpu() for name in missing}

        ensure(view, tracks, chunks, answers, pause)
        return tracks

    def _stored(self, keys: Sequence[Key], rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Samples that lie in these rows, finished."""
        cut_out = (self._tracks[name].read(rows).numpy() for name in ("images", "labels"))
        found = [self._batches.samples.finished(*one) for one in zip(keys, *cut_out, strict=True)]
        images, labels = default_collate(found)
        return images, labels

    @property
    def _rows(self) -> int:
        """Rows of a view: whole chunks, and one of the labelled samples that are left over."""
        chunks, rest = divmod(len(self._batches.samples), self._layout.batch)
        return chunks * self._layout.rows + rest

    def _row(self, key: Key) -> int | None:
        """Where a sample is; None for an unlabelled one beyond what is recorded."""
        layout = self._layout
        each = layout.batch if key.turn is None else layout.extra
        if each == 0:
            return None
        chunk, place = divmod(key.place, each)
        row = chunk * layout.rows + place + (0 if key.turn is None else layout.batch)
        whole = key.turn is None or chunk < len(self._batches.samples) // layout.batch
        return row if whole else None

    def _rows_of(self, chunk: int) -> list[int]:
        """The rows of a recorded batch."""
        return list(range(chunk * self._layout.rows, (chunk + 1) * self._layout.rows))

    def _keys(self, view: int, chunk: int) -> list[Key]:
        """The samples of a chunk."""
        batch, extra = self._layout.batch, self._layout.extra
        labelled = self._batches.labelled(view)[chunk * batch : (chunk + 1) * batch]
        if not extra or len(labelled) < batch:
            return list(labelled)
        return [*labelled, *islice(self._batches.further(view), chunk * extra, (chunk + 1) * extra)]


def open_batches(
    batches: TrainBatches, machine: Machine, teacher: FrozenTeacher | None, device: torch.device
) -> LiveBatches:
    """Where a training takes its batches from: the machine's store, if it has one."""
    if machine.replay is None:
        return LiveBatches(batches)
    shelf = ReplayStore(machine.replay.folder, machine.replay.max_bytes)
    facts = {"precision": precision(machine, device), "device": device.type}
    replay = machine.replay
    return ReplayedBatches(batches, shelf, facts, teacher, replay.layers, device, replay.views, replay.kernels)


def moved(batches: Iterator[DistillBatch], device: torch.device) -> Iterator[DistillBatch]:
    """Batches on the device, images in channels-last order; on a GPU the next one travels while one is used."""
    if device.type != "cuda":
        yield from (_on(batch, device) for batch in batches)
        return
    ahead: DistillBatch | None = None
    for batch in batches:
        travelling = _on(_each(batch, Tensor.pin_memory), device)
        if ahead is not None:
            yield ahead
        ahead = travelling
    if ahead is not None:
        yield ahead


def _on(batch: DistillBatch, device: torch.device) -> DistillBatch:
    there = _each(batch, lambda values: values.to(device, non_blocking=True))
    return there._replace(images=there.images.to(memory_format=torch.channels_last))


def _each(batch: DistillBatch, change: Callable[[Tensor], Tensor]) -> DistillBatch:
    """The batch with all its tensors changed."""
    maps, kernels = ({name: change(values) for name, values in part.items()} for part in (batch.maps, batch.kernels))
    return batch._replace(images=change(batch.images), labels=change(batch.labels), maps=maps, kernels=kernels)


def _noted(form: TensorSpec) -> tuple[tuple[int, ...], str]:
    return form.shape, str(form.dtype).removeprefix("torch.")


def _form(shape: Sequence[int], dtype: str) -> TensorSpec:
    return TensorSpec(tuple(shape), getattr(torch, dtype))
