"""Batches from the replay store: samples, the teacher's maps and its kernels are recorded once for all trainings.

All trainings of one data seed see the same samples, and a frozen teacher computes the same maps of them in each. The
first training that comes to an epoch records what the store lacks of it, together with all that come at the same
time; all others read.
"""

import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from kdtrain.config import Machine
from kdtrain.data import TrainBatches
from kdtrain.data.batches import Key
from kdtrain.data.crops import RECOLORING, Crops, finished
from kdtrain.errors import StorageError
from kdtrain.loop.batches import LiveBatches, RawBatch
from kdtrain.loop.device import precision
from kdtrain.loop.frozen_teacher import FrozenTeacher
from kdtrain.loop.reports import Part
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.loop.teacher_request import Maps, TeacherRequest
from kdtrain.replay.array_file import ArrayFile, TensorSpec
from kdtrain.replay.costs import PROBED, read_costs, seconds_to_read, write_costs
from kdtrain.replay.recording import ensure
from kdtrain.replay.store import ReplayStore
from kdtrain.replay.stream import Layout, Stream, View
from kdtrain.runtime.atomic_files import write_atomically

_NOTE = "forms.json"
"""The file of a stream of maps that holds the shape and type of every layer."""
_COSTS = "costs.json"
"""The file of a stream of maps that holds the seconds of reading and of computing them."""


def open_batches(
    batches: TrainBatches, machine: Machine, teacher: FrozenTeacher | None, device: torch.device
) -> LiveBatches:
    """The source of a training's batches: the machine's replay store, if there is one, or the data."""
    replay = machine.replay
    if replay is None:
        return LiveBatches(batches)
    store = ReplayStore(replay.folder, replay.max_bytes)
    facts = {"precision": precision(machine, device), "device": device.type}
    return ReplayedBatches(batches, store, facts, teacher, replay.layers, device, replay.views, replay.kernels)


class ReplayedBatches(LiveBatches):
    """Batches from the store; samples and maps that do not fit into it are made live.

    Args:
        batches: Which samples there are, and how they are made.
        store: The replay store.
        facts: What the maps depend on besides the samples and the teacher: precision, kind of device.
        teacher: The teacher; None if no term needs one.
        layers: The layers to record; None for those that this training needs.
        device: Where the teacher computes.
        views: Only so many views are stored; None for all.
        kernels: Whether kernels are recorded, too.
    """

    def __init__(
        self,
        batches: TrainBatches,
        store: ReplayStore,
        facts: Mapping[str, object],
        teacher: FrozenTeacher | None,
        layers: Sequence[str] | None,
        device: torch.device,
        views: int | None = None,
        kernels: bool = True,
    ) -> None:
        super().__init__(batches)
        samples, size = batches.samples, batches.size
        sample_facts: dict[str, object] = {
            "images": samples.images.digest,
            "unlabelled": samples.unlabelled.digest if samples.unlabelled is not None else None,
            "augment": samples.augment.model_dump(mode="json"),
            "data_seed": samples.data_seed,
            "size": size,
        }
        sources = (samples.images, samples.unlabelled)
        if decodings := [images.decoding for images in sources if images is not None and images.decoding is not None]:
            sample_facts["decoding"] = max(decodings)
        self._samples = Stream(store, sample_facts, Layout(batch=batches.batch_size, extra=batches.per_batch))
        self._layout = self._samples.layout
        self._sample_specs = {"images": TensorSpec((*size, 3), torch.uint8), "labels": TensorSpec(size, torch.uint8)}
        self._teacher, self._layers, self._device = teacher, layers, device
        self._maps: Stream | None = None
        if teacher is not None:
            software = {"torch": torch.__version__, "machine": platform.machine()}
            map_facts: dict[str, object] = {
                "samples": sample_facts,
                "teacher": teacher.digest,
                "layout": self._layout.model_dump(),
            }
            if samples.augment.photometric > 0:
                map_facts["recoloring"] = RECOLORING
            if teacher.rounded is not None:
                map_facts["rounded"] = str(teacher.rounded)
            self._maps = Stream(store, map_facts | software | dict(facts), self._layout)
        self._open_views = ExitStack()
        self._views = views
        self._record_kernels = kernels
        self._request = TeacherRequest()
        self._arrays: dict[str, ArrayFile] = {}
        """The open arrays of the epoch, by name: samples, layers and kernels."""
        self._kernel_arrays: dict[str, str] = {}
        """The names of the arrays of kernels, by term."""

    def map_specs(self, teacher: FrozenTeacher, layers: Sequence[str]) -> Mapping[str, TensorSpec]:
        """Shape and type of one image's maps: as noted in the store, so that the teacher need not be loaded."""
        assert self._maps is not None
        path = self._maps.folder / _NOTE
        needed = {*layers, *(self._layers or ())}
        specs = _read_specs(path)
        if not needed <= specs.keys():
            specs |= super().map_specs(teacher, sorted(needed))
            with suppress(StorageError):  # then the next training loads the teacher, too
                _write_specs(path, specs)
        return {layer: specs[layer] for layer in layers}

    def prepare(
        self,
        epoch: int,
        start: int,
        request: TeacherRequest,
        stopwatch: Stopwatch,
        check_interrupt: Callable[[], None],
    ) -> None:
        """Record what the store lacks of an epoch, together with other trainings that need it."""
        self._close_arrays()
        number = self._batches.view(epoch)
        if self._views is not None and number >= self._views:
            return
        batches = [self._rows_of_keys(keys) for keys in self._batches.keys(epoch, start)]
        if not all(batches):
            return  # the layout of the training that began the stream has no rows for some samples
        chunks = list(dict.fromkeys(row // self._layout.rows for rows in batches for row in rows))
        batches_are_chunks = all(batch == self._rows_of(batch[0] // self._layout.rows) for batch in batches)
        self._request = request if batches_are_chunks and self._record_kernels else request.as_maps()
        self._kernel_arrays = {term: self._request.array_name(term) for term in self._request.kernels}
        view = self._open_views.enter_context(self._samples.view(number))
        if not (arrays := view.arrays(self._rows, self._sample_specs)):
            return
        self._arrays |= arrays

        def make_samples(chunk: int) -> Maps:
            with stopwatch(Part.RECORD):
                crops = self._batches.samples[self._keys(number, chunk)]
                return {"images": crops.images, "labels": crops.labels}

        ensure(view, arrays, _unwritten(arrays, chunks), make_samples, check_interrupt)
        if self._teacher is not None and self._maps is not None and request:
            map_view = self._open_views.enter_context(self._maps.view(number))
            unwritten = set(_unwritten(arrays, chunks))
            stored = [chunk for chunk in chunks if chunk not in unwritten]
            self._arrays |= self._record_teacher(map_view, self._teacher, stored, stopwatch, check_interrupt)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[RawBatch]:
        """An epoch's batches from number `start` on: from the disk as far as they are stored there.

        Their bytes are compared with their checksums here, so that this is done ahead of the step. What is damaged is
        made live; the next training records it.
        """
        view, numbers = self._batches.view(epoch), self._batches.numbers(epoch, start)
        for number, keys in zip(numbers, self._batches.keys(epoch, start), strict=True):
            rows = self._rows_of_keys(keys)
            kernels = {term: name for term, name in self._kernel_arrays.items() if self._holds(name, rows)}
            layers = [layer for layer in self._request.maps_without(kernels) if self._holds(layer, rows)]
            yield RawBatch(
                self._crops(keys),
                view,
                number,
                {layer: self._arrays[layer].read(rows) for layer in layers},
                {term: self._arrays[name].read(rows) for term, name in kernels.items()},
            )
        self._close_arrays()

    def close(self) -> None:
        """As for live batches."""
        super().close()
        self._close_arrays()

    def _close_arrays(self) -> None:
        """Close the arrays of the epoch before."""
        self._arrays = {}
        self._open_views.close()

    def _record_teacher(
        self,
        view: View,
        teacher: FrozenTeacher,
        chunks: Sequence[int],
        stopwatch: Stopwatch,
        check_interrupt: Callable[[], None],
    ) -> Mapping[str, ArrayFile]:
        """Record maps and kernels that are worth it; those to be read, complete as far as the disk allows.

        The first view has a few chunks of all, so that the seconds of reading are measured again in every training.
        """
        request, chunk_rows = self._request, self._layout.rows
        assert self._maps is not None
        costs_path, is_first = self._maps.folder / _COSTS, view.number == 0
        costs = read_costs(costs_path)
        specs = self.map_specs(teacher, sorted(request.layers if self._layers is None else self._layers))
        specs = {name: spec for name, spec in specs.items() if is_first or costs.is_worth_reading([name])}
        if (maps := view.arrays(self._rows, specs)) is None:
            return {}
        kernel_specs = {
            name: request.kernel_spec(term, chunk_rows, self._device) for term, name in self._kernel_arrays.items()
        }
        # only if there is space: what kernels save is never worth another view
        kernels = view.arrays(self._rows, kernel_specs, evict=False) or {}
        arrays = {**maps, **kernels}
        asked_s: list[float] = []

        def make_answers(to_write: Mapping[str, ArrayFile], chunk: int) -> Maps:
            with stopwatch(Part.RECORD_TEACHER):
                keys, rows = self._keys(view.number, chunk), self._rows_of(chunk)
                missing = {name for name, array in to_write.items() if not array.has(chunk)}
                terms = [term for term, name in self._kernel_arrays.items() if name in missing]
                layers = (missing & maps.keys()) | {request.kernels[term].layer for term in terms}
                stored = (layers & to_write.keys()) - missing
                answers = {layer: maps[layer].read(rows[: len(keys)]).to(self._device) for layer in stored}
                if layers - stored:
                    images, _ = finished(self._crops(keys).with_tensors(lambda values: values.to(self._device)))
                    begin = time.perf_counter()
                    answers |= teacher.ask(images, layers - stored)
                    if self._device.type == "cuda":
                        torch.cuda.synchronize(self._device)
                    asked_s.append((time.perf_counter() - begin) / len(images))
                    teacher.note_recorded(len(images))
                for term in terms:
                    answers[self._kernel_arrays[term]] = request.rows(term, answers, view.number, chunk)
                return {name: answers[name].cpu() for name in missing}

        if is_first:
            ensure(view, arrays, _unwritten(arrays, chunks[:PROBED]), partial(make_answers, arrays), check_interrupt)
        needed = {*request.maps_without(self._kernel_arrays), *self._kernel_arrays.values()}
        probed = {name: array for name, array in arrays.items() if name in needed or name not in costs.read_s}
        reads = seconds_to_read(probed, chunks if costs.read_s else chunks[:PROBED])
        costs = costs.with_measured(reads, min(asked_s, default=None))
        write_costs(costs_path, costs)
        worth = {name: arrays[name] for name in costs.worth_recording(arrays)}
        ensure(view, worth, _unwritten(worth, chunks), partial(make_answers, worth), check_interrupt)
        return worth if costs.is_worth_reading(needed & worth.keys()) else {}

    def _holds(self, name: str, rows: Sequence[int]) -> bool:
        """Whether an array of the epoch holds these rows, and there are any."""
        chunks = dict.fromkeys(row // self._layout.rows for row in rows)
        return bool(chunks) and name in self._arrays and all(map(self._arrays[name].has, chunks))

    def _crops(self, keys: Sequence[Key]) -> Crops:
        """Samples, as far as they are stored: then their bytes are mapped, not copied."""
        samples, rows = self._batches.samples, self._rows_of_keys(keys)
        if not all(self._holds(name, rows) for name in self._sample_specs):
            return samples[keys]
        return Crops(self._arrays["images"].read(rows), self._arrays["labels"].read(rows), samples.colors(keys))

    @property
    def _rows(self) -> int:
        """Rows of a view: whole chunks, and a row for each labelled sample that is left over."""
        chunks, rest = divmod(len(self._batches.samples), self._layout.batch)
        return chunks * self._layout.rows + rest

    def _row(self, key: Key) -> int | None:
        """The row of a sample; None for an unlabelled one beyond what is recorded."""
        layout = self._layout
        per_chunk = layout.batch if key.turn is None else layout.extra
        if per_chunk == 0:
            return None
        chunk, place = divmod(key.place, per_chunk)
        row = chunk * layout.rows + place + (0 if key.turn is None else layout.batch)
        has_row = key.turn is None or chunk < len(self._batches.samples) // layout.batch
        return row if has_row else None

    def _rows_of_keys(self, keys: Sequence[Key]) -> list[int]:
        """The rows of samples; none if one of them has no row."""
        rows = [row for key in keys if (row := self._row(key)) is not None]
        return rows if len(rows) == len(keys) else []

    def _rows_of(self, chunk: int) -> list[int]:
        """The rows of a chunk."""
        return list(range(chunk * self._layout.rows, (chunk + 1) * self._layout.rows))

    def _keys(self, view: int, chunk: int) -> list[Key]:
        """The samples of a chunk."""
        batch, extra = self._layout.batch, self._layout.extra
        labelled = self._batches.labelled(view)[chunk * batch : (chunk + 1) * batch]
        if not extra or len(labelled) < batch:
            return list(labelled)
        return [*labelled, *islice(self._batches.further(view), chunk * extra, (chunk + 1) * extra)]


def _unwritten(arrays: Mapping[str, ArrayFile], chunks: Sequence[int]) -> list[int]:
    """The chunks that an array lacks, without a look at their bytes."""
    return [chunk for chunk in chunks if not all(array.is_written(chunk) for array in arrays.values())]


def _read_specs(path: Path) -> dict[str, TensorSpec]:
    """The noted shapes and types by layer; none if there is no sound note."""
    try:
        return {
            layer: TensorSpec(tuple(shape), getattr(torch, dtype))
            for layer, (shape, dtype) in json.loads(path.read_text()).items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write_specs(path: Path, specs: Mapping[str, TensorSpec]) -> None:
    noted = {layer: (spec.shape, str(spec.dtype).removeprefix("torch.")) for layer, spec in specs.items()}
    write_atomically(path, json.dumps(noted).encode())
