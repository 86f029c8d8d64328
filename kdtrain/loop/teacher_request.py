"""What the terms of a training want to know of the teacher."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from kdtrain.losses.maps import wide
from kdtrain.methods.base import TeacherKernel
from kdtrain.replay.array_file import TensorSpec
from kdtrain.replay.stream import stream_key
from kdtrain.runtime.random_streams import generator

Maps = dict[str, Tensor]


@dataclass(frozen=True)
class TeacherRequest:
    """Maps at layers, and kernels of whole batches.

    Attributes:
        layers: Where the maps themselves are looked at.
        kernels: By the name of their term.
        seed: Of the training: a kernel's randomness is a stream of its own under it.
    """

    layers: frozenset[str] = frozenset()
    kernels: Mapping[str, TeacherKernel] = field(default_factory=dict)
    seed: int = 0

    def __bool__(self) -> bool:
        return bool(self.layers or self.kernels)

    def maps_without(self, known: Collection[str]) -> set[str]:
        """The layers whose maps are needed where the kernels of these terms are known."""
        return {*self.layers, *(kernel.layer for term, kernel in self.kernels.items() if term not in known)}

    def as_maps(self) -> "TeacherRequest":
        """The same without kernels."""
        return TeacherRequest(frozenset(self.maps_without(())), {}, self.seed)

    def rows(self, term: str, maps: Mapping[str, Tensor], view: int, number: int) -> Tensor:
        """A term's kernel of a batch, one row per image, from its maps.

        Args:
            term: Name of the term.
            maps: By layer.
            view: Of the batch.
            number: Of the batch in its view.
        """
        kernel = self.kernels[term]
        return kernel.rows(maps[kernel.layer], generator(self.seed, "kernel", term, view, number))

    def track(self, term: str) -> str:
        """The name under which a term's kernel is recorded."""
        kernel = self.kernels[term]
        facts = {"layer": kernel.layer, "size": kernel.size, **kernel.facts}
        if kernel.random:
            facts |= {"term": term, "seed": self.seed, "numpy": np.__version__}
        return f"kernel-{stream_key(facts)}"

    def form(self, term: str, batch: int, device: torch.device) -> TensorSpec:
        """What one image's row of it is."""
        return TensorSpec((*self.kernels[term].parts, batch), wide(torch.empty(0, device=device)).dtype)
