"""What a sweep records once so that its trials can replay it: samples, and the teacher's maps where they look."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from kdtrain.config import Machine, Replay, TrainConfig
from kdtrain.replay import TensorSpec, bytes_of
from sweeps.spec.spec import SweepSpec

FOLDER = "replay"
"""Of the store, in the machine's cache."""


@dataclass(frozen=True)
class ReplayPlan:
    """What will be recorded of one stream, which is the samples of one seed.

    Attributes:
        views: Epochs that differ.
        stored: How many of them fit.
        sample_bytes: Samples of one view.
        layer_bytes: By layer of the teacher the maps of one view; those that are stored.
        kernel_bytes: By term what one view takes of what the term needs of the teacher beside its maps.
        live: Layers that are too large: every trial that uses their maps computes them.
        max_bytes: What the store may take.
    """

    views: int
    stored: int
    sample_bytes: int
    layer_bytes: Mapping[str, int]
    kernel_bytes: Mapping[str, int]
    live: tuple[str, ...]
    max_bytes: int

    @property
    def view_bytes(self) -> int:
        """One view of samples, maps and kernels."""
        return self.sample_bytes + sum(self.layer_bytes.values()) + sum(self.kernel_bytes.values())

    def bytes_of_seeds(self, seeds: int) -> int:
        """What the streams of some seeds take at most."""
        return min(self.max_bytes, seeds * self.stored * self.view_bytes)

    def on(self, machine: Machine) -> Machine:
        """The machine with this store."""
        if not self.stored:
            return machine
        store = Replay(
            folder=machine.cache / FOLDER,
            max_bytes=self.max_bytes,
            layers=tuple(self.layer_bytes),
            views=self.stored,
            kernels=bool(self.kernel_bytes),
        )
        return machine.model_copy(update={"replay": store})

    def lines(self) -> list[str]:
        """The plan to be read."""
        if not self.max_bytes:
            return ["replay: off (replay.gigabytes is 0); every trial makes samples and the teacher's maps itself"]
        parts = [f"samples {_size(self.sample_bytes)}"]
        parts += [f"{layer} {_size(size)}" for layer, size in self.layer_bytes.items()]
        if self.kernel_bytes:
            parts.append(f"what {' and '.join(self.kernel_bytes)} need {_size(sum(self.kernel_bytes.values()))}")
        lines = [
            f"replay: {self.stored} of {self.views} views recorded once per seed, {_size(self.view_bytes)} each "
            f"({', '.join(parts)}), in a store of {_size(self.max_bytes)}"
        ]
        if self.stored < self.views:
            lines.append("  the other views are made live in every trial; raise replay.gigabytes or lower train.views")
        if self.live:
            lines.append(f"  too large, so that every trial computes them with the teacher: {', '.join(self.live)}")
            if self.kernel_bytes:
                lines[-1] += f" (but for {' and '.join(self.kernel_bytes)}, which are recorded by themselves)"
        return lines


def plan_replay(
    spec: SweepSpec,
    configs: Iterable[TrainConfig],
    images: int,
    size: tuple[int, int],
    shapes: Mapping[str, tuple[int, ...]],
    kernels: Mapping[str, int],
    half: bool = False,
) -> ReplayPlan:
    """What fits into the store that the spec allows.

    Samples come first, then the teacher's layers, the smallest first, each if all views of it fit; if not even samples
    and the smallest layer do, as many views of them as fit.

    Args:
        spec: The sweep.
        configs: One for every setting of its studies that matters for layers.
        images: Of the training role.
        size: Height and width of a sample.
        shapes: Of the layers of the teacher that any term looks at.
        kernels: By term the bytes of an image's kernels, where they are worth recording.
        half: Whether the teacher computes in half precision: maps are stored as it gives them.
    """
    configs = list(configs)
    views = max(min(config.views or config.epochs, config.epochs) for config in configs)
    exact = any(config.teacher_rounding == "none" for config in configs if config.uses_teacher)
    dtype = torch.float32 if exact and not half else torch.float16
    limit = int(spec.replay.gigabytes * 1e9)
    sample = bytes_of(images, {"image": TensorSpec((*size, 3), torch.uint8), "labels": TensorSpec(size, torch.uint8)})
    layers = {name: bytes_of(images, {name: TensorSpec(shape, dtype)}) for name, shape in shapes.items()}
    of_terms = {term: images * size for term, size in kernels.items()}
    fixed = sample + sum(of_terms.values())
    ordered = sorted(layers, key=lambda name: (layers[name], name))
    kept: dict[str, int] = {}
    for name in ordered:
        if not kept or views * (fixed + sum(kept.values()) + layers[name]) <= limit:
            kept[name] = layers[name]
    stored = min(views, limit // max(fixed + sum(kept.values()), 1))
    live = tuple(name for name in ordered if name not in kept)
    return ReplayPlan(views, stored, sample, kept, of_terms, live, limit)


def _size(size: float) -> str:
    return f"{size / 1e9:.2g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"
