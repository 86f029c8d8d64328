"""How many operations each loss launches, beside its definition, and where it makes the host wait for the device.

    python benchmarks/operations.py --out operations.parquet

Forward and backward pass of every term of every method, on tensors of the device `meta`: they have shapes alone, so
this counts what a GPU is asked to do, at its usual sizes, on any machine, in seconds. The code takes the paths that it
takes on a GPU. Sizes: batches of 16 crops of 360 x 480 (CamVid, 11 classes), logits and decoder at stride 8 or 4, and
of 8 crops of 512 x 1024 (Cityscapes, 19 classes) at stride 8. The teacher's maps are live: what can be recorded in
their place saves operations.

Exits with 1 where a term waits, or launches more than 150 operations beyond its definition (`plain_losses.py`).
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import plain_losses as plain
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from kdtrain.losses.attention import random_projections
from kdtrain.methods import METHODS, Term, TermInput, options_of
from kdtrain.methods.base import CLASS_MAPS
from kdtrain.runtime.operations import OperationCounter

SIZES = {"45x60": (16, (360, 480), 8, 11), "90x120": (16, (360, 480), 4, 11), "64x128": (8, (512, 1024), 8, 19)}
"""By the size of the logits: images, height and width of a crop, stride, classes."""
CHANNELS = {"decoder": (128, 512), "encoder.4": (96, 1024), "encoder.last": (320, 2048)}
"""Of student and teacher."""
DEEP = ("encoder.4", "encoder.last")
"""Layers at stride 16; the decoder has the stride of the logits."""
ALLOWED = 150
"""Operations that a term may launch beyond its definition."""


@dataclass(frozen=True)
class Count:
    """What one term of a method asks of the device at one size.

    Attributes:
        method: Its name.
        term: The term's name.
        size: Of the crop.
        forward: Operations of the forward pass.
        backward: Operations of the backward pass.
        definition: Operations of both passes of the definition; None where our module is the definition.
        waits: Where the host waits.
    """

    method: str
    term: str
    size: str
    forward: int
    backward: int
    definition: int | None
    waits: tuple[str, ...]

    @property
    def beyond(self) -> int:
        """Operations beyond the definition."""
        return 0 if self.definition is None else self.forward + self.backward - self.definition


def count_term(method: str, term: Term, size: str) -> Count:
    """Count the operations of a term, forward and backward, in training mode."""
    forward, backward = passes(term, size)
    waits = (*forward.waits, *backward.waits)
    return Count(method, term.name, size, forward.launched, backward.launched, definition_of(term, size), waits)


def passes(term: Term, size: str) -> tuple[OperationCounter, OperationCounter]:
    """What the forward and the backward pass of a term ask of the device."""
    batch = make_input(term, size)
    students, teachers = (
        {layer: tuple(value.shape[1:]) for layer, value in zip(layers, maps, strict=True)}
        for layers, maps in ((term.student_layers, batch.students), (term.teacher_layers, batch.teachers))
    )
    module = term.build(students, teachers, batch.num_classes).to("meta")
    module.train()
    if next(module.buffers(), None) is not None:
        with OperationCounter():
            module(batch)  # the first call may prepare what later ones use
    with OperationCounter() as forward:
        value = module(batch)
    with OperationCounter() as backward:
        value.backward()
    return forward, backward


def definition_of(term: Term, size: str) -> int | None:
    """The operations of both passes of a term's definition."""
    definition = DEFINITIONS.get(term.loss)
    if definition is None:
        return None
    with OperationCounter() as counter:
        definition(make_input(term, size), term).backward()
    return counter.launched


def make_input(term: Term, size: str) -> TermInput:
    """Maps without content at the layers of a term."""
    images, crop, stride, classes = SIZES[size]

    def maps(layers: tuple[str, ...], side: int) -> tuple[Tensor, ...]:
        return tuple(
            torch.empty(
                images,
                classes if layer in CLASS_MAPS else CHANNELS[layer][1 if term.equal_channels else side],
                *(length // (16 if layer in DEEP else stride) for length in crop),
                device="meta",
            )
            for layer in layers
        )

    return TermInput(
        students=tuple(value.requires_grad_() for value in maps(term.student_layers, 0)),
        teachers=maps(term.teacher_layers, 1),
        labels=torch.empty(images, *crop, dtype=torch.int64, device="meta"),
        num_classes=classes,
        ignore_index=255,
        generator=torch.Generator().manual_seed(0),
    )


def _widened(batch: TermInput) -> tuple[Tensor, Tensor]:
    """Both maps with the teacher's channels, as an adapter makes them."""
    s, t = batch.student, batch.teacher
    return (s if s.shape == t.shape else s.new_empty(t.shape).requires_grad_()), t


def _memory(batch: TermInput, term: Term) -> Tensor:
    """Class by class of every image, as the public code remembers, without its random choice; then both relations."""
    s, t = (nn.functional.normalize(m, dim=1) for m in _widened(batch))
    labels = nn.functional.interpolate(batch.labels[:, None].float(), t.shape[2:], mode="nearest")[:, 0].flatten(1)
    queue = t.new_empty(batch.num_classes, term.enqueued, t.shape[1])  # type: ignore[attr-defined]
    for image, truth in zip(t.flatten(2).mT, labels, strict=True):
        for label in range(batch.num_classes):
            members = image[(truth == label).nonzero()[: term.enqueued, 0]]  # type: ignore[attr-defined]
            queue[label, : len(members)] = members
            queue[label, 0] = nn.functional.normalize(image[truth == label].mean(0), dim=0)
    losses = []
    for drawn in (term.pixels_drawn, term.regions_drawn):  # type: ignore[attr-defined]
        keys = t.new_empty(drawn, t.shape[1])
        log_s, log_t = ((m.flatten(2).mT @ keys.mT / 0.1).log_softmax(-1) for m in (s, t))
        losses.append((log_t.exp() * (log_t - log_s)).sum(-1).mean())
    return losses[0] + losses[1]


def _grid_of_attention(batch: TermInput, term: Term) -> Tensor:
    """The mean over the blocks of a grid of the definition without one."""
    blocks = []
    for band_s, band_t in zip(*(m.chunk(term.grid, 2) for m in (batch.student, batch.teacher)), strict=True):  # type: ignore[attr-defined]
        for s, t in zip(*(m.chunk(term.grid, 3) for m in (band_s, band_t)), strict=True):  # type: ignore[attr-defined]
            drawn = (random_projections(1, side.shape[1], None)[0].to("meta") for side in (s, t))
            blocks.append(plain.pam_cka(s, t, [(each[:, :-1], each[:, -1]) for each in drawn], 2.0, 0.5))
    return torch.stack(blocks).mean()


DEFINITIONS: Mapping[str, Callable[[TermInput, Term], Tensor]] = {
    "cross_entropy": lambda m, _: plain.cross_entropy(m.student, m.labels),
    "pixel_kd": lambda m, _: plain.pixel_kd(m.student, m.teacher, 1.0),
    "channel_wise": lambda m, _: plain.channel_wise(*_widened(m), 4.0),
    "csc": lambda m, _: plain.csc_a(m.student, m.teacher),
    "adaptive_cross_entropy": lambda m, _: plain.adaptive_cross_entropy(m.student, m.teacher, m.labels),
    "pairwise": lambda m, term: plain.pairwise(m.student, m.teacher, term.pool),  # type: ignore[attr-defined]
    "knowledge_affinity": lambda m, _: plain.knowledge_affinity(*_widened(m)),
    "channel_correlation": lambda m, _: plain.channel_correlation(*_widened(m)),
    "pearson": lambda m, _: plain.pearson(*_widened(m)),
    "cross_image_relation": lambda m, _: plain.cross_image_relation(m.student, m.teacher, 0.1),
    "fitnet": lambda m, _: plain.fitnet(*_widened(m)),
    "attention_transfer": lambda m, _: plain.attention_transfer(m.student, m.teacher),
    "local_affinity": lambda m, _: plain.local_affinity(m.student, m.teacher),
    "intra_class_variation": lambda m, _: plain.intra_class_variation(m.student, m.teacher, m.labels, m.num_classes),
    "dist": lambda m, _: plain.dist(m.student, m.teacher),
    "pixel_similarity": lambda m, _: plain.pixel_similarity(
        *(
            [nn.functional.interpolate(each, m.students[-1].shape[2:]) for each in side]
            for side in (m.students, m.teachers)
        )
    ),
    "category_similarity": lambda m, _: plain.category_similarity(m.student, m.teacher),
    "cam_cka": lambda m, _: plain.cam_cka(m.student, m.teacher, 2.0, 0.5),
    "grid_pam_cka": _grid_of_attention,
    "memory_relation": _memory,
}


def counts(methods: list[str], sizes: list[str]) -> Iterator[Count]:
    """The counts of every term of some methods; a term that several have is counted once."""
    seen = set()
    for method in methods:
        for term in METHODS[method].terms:
            for size in sizes:
                key = (size, str(options_of(term)))
                if key not in seen:
                    seen.add(key)
                    yield count_term(method, term, size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    print(f"{'':44}{'forward':>9}{'backward':>9}{'definition':>12}{'beyond':>8}{'waits':>7}")
    for row in counts(options.methods, options.sizes):
        rows.append(row)
        named = f"{row.method}: {row.term} ({row.size})"
        defined = "-" if row.definition is None else row.definition
        print(f"{named:44}{row.forward:9}{row.backward:9}{defined:>12}{row.beyond:8}{len(row.waits):7}", flush=True)
    for wait in sorted({f"{row.term}: {wait}" for row in rows for wait in row.waits}):
        print(f"waits in {wait}")
    if options.out:
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows]), options.out)
    if any(row.waits or row.beyond > ALLOWED for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
