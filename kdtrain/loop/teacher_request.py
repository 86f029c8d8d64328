"""What the terms of a training need of the teacher."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from kdtrain.losses.maps import wide
from kdtrain.methods.modules.base import TeacherKernel
from kdtrain.replay.array_file import TensorSpec
from kdtrain.replay.stream import stream_key
from kdtrain.runtime.random_streams import generator

Maps = dict[str, Tensor]


@dataclass(frozen=True)
class TeacherRequest:
    """Maps at layers, and kernels of whole batches.

    Attributes:
        layers: The layers whose maps the terms need themselves.
        kernels: By the name of their term.
        seed: Of the training; a kernel draws its random numbers from a stream under it.
    """

    layers: frozenset[str] = frozenset()
    kernels: Mapping[str, TeacherKernel] = field(default_factory=dict)
    seed: int = 0

    def __bool__(self) -> bool:
        return bool(self.layers or self.kernels)

    def maps_without(self, terms: Collection[str]) -> set[str]:
        """The layers whose maps are needed if the kernels of these terms are there."""
        return {*self.layers, *(kernel.layer for term, kernel in self.kernels.items() if term not in terms)}

    def as_maps(self) -> "TeacherRequest":
        """The same request with the maps of the kernels' layers in place of the kernels."""
        return TeacherRequest(frozenset(self.maps_without(())), {}, self.seed)

    def rows(self, term: str, maps: Mapping[str, Tensor], view: int, number: int) -> Tensor:
        """A term's kernel of a batch, one row per image, from its maps.

        Args:
            term: Name of the term.
            maps: The teacher's maps by layer.
            view: The view of the batch.
            number: The number of the batch in its view.
        """
        kernel = self.kernels[term]
        return kernel.rows(maps[kernel.layer], generator(self.seed, "kernel", term, view, number))

    def array_name(self, term: str) -> str:
        """The name of the array in which a term's kernel is recorded."""
        kernel = self.kernels[term]
        facts = {"layer": kernel.layer, "size": kernel.size, **kernel.facts}
        if kernel.random:
            facts |= {"term": term, "seed": self.seed, "numpy": np.__version__}
        return f"kernel-{stream_key(facts)}"

    def kernel_spec(self, term: str, batch: int, device: torch.device) -> TensorSpec:
        """Shape and type of one image's row of a term's kernel, for batches of `batch` images."""
        return TensorSpec((*self.kernels[term].parts, batch), wide(torch.empty(0, device=device)).dtype)
