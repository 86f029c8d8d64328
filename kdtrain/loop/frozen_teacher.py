"""The teacher of a training: its folder is checked at once, its network is loaded when maps are first needed."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from kdtrain.data import Images
from kdtrain.errors import InputError
from kdtrain.explain import first_line
from kdtrain.methods import Term
from kdtrain.models import TappedNetwork
from kdtrain.replay import TensorSpec
from kdtrain.teacher import check_classes_of, check_needs_no_logits, load_model, read_card


@dataclass(frozen=True)
class TeacherUse:
    """How many images a teacher was shown.

    Attributes:
        shown: All images that the teacher was shown.
        recorded: The images whose maps were recorded for all trainings.
        replayed: The images of steps for which recorded maps or kernels were read.
    """

    shown: int = 0
    recorded: int = 0
    replayed: int = 0

    def __add__(self, more: "TeacherUse") -> "TeacherUse":
        return TeacherUse(*(one + other for one, other in zip(astuple(self), astuple(more), strict=True)))

    def __sub__(self, before: "TeacherUse") -> "TeacherUse":
        return TeacherUse(*(one - other for one, other in zip(astuple(self), astuple(before), strict=True)))

    def to_tensor(self) -> Tensor:
        """The counts, int64 `(3)`: in this form they are summed over processes and saved in checkpoints."""
        return torch.tensor(astuple(self), dtype=torch.int64)

    @classmethod
    def from_tensor(cls, counts: Tensor) -> "TeacherUse":
        """The inverse of `to_tensor`; checkpoints of earlier versions hold the first two counts."""
        return cls(*counts.tolist())


class FrozenTeacher:
    """A teacher that computes maps.

    Args:
        folder: The teacher folder.
        digest: The digest that the teacher must have.
        images: The data, whose classes the teacher must have, if it knows any.
        terms: The terms that learn from it.
        device: Where the teacher computes.
        autocast: Makes the context of mixed precision.
        rounded: The type to which its maps are rounded; None leaves them as they are.

    Attributes:
        digest: As given.
        use: How many images the teacher was shown so far.
        rounded: As given.

    Raises:
        InputError: If the folder is not a teacher folder, or holds another teacher, one of other classes, or one that
            lacks the logits that a term needs.
    """

    def __init__(
        self,
        folder: Path | None,
        digest: str,
        images: Images,
        terms: Collection[Term],
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[object]],
        rounded: torch.dtype | None = None,
    ) -> None:
        if folder is None:
            raise InputError(f"teacher: the config asks for the teacher {digest}; name its folder by --teacher")
        card = read_card(folder, digest)
        check_classes_of(card, folder, images.classes)
        if not card.classes:
            check_needs_no_logits(terms, card.network)
        self.digest, self.use = digest, TeacherUse()
        self._folder, self._device, self._autocast, self.rounded = folder, device, autocast, rounded
        self._tapped: frozenset[str] | None = None

    @cached_property
    def network(self) -> TappedNetwork:
        """The network; it is loaded here."""
        _, network = load_model(self._folder, self.digest)
        return network.place(self._device)

    def ask(self, images: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """The teacher's maps `(N, C, h, w)` at some layers, contiguous, for images `(N, 3, H, W)` on its device."""
        if self._tapped != frozenset(layers):
            self.network.tap(sorted(layers))
            self._tapped = frozenset(layers)
        with torch.no_grad(), self._autocast():
            maps = self.network(images)
        self.use += TeacherUse(shown=len(images))
        # Contiguous, as maps read from a disk are: the bits of sums depend on the layout.
        return {layer: maps[layer].to(self.rounded or maps[layer].dtype).contiguous() for layer in layers}

    def note_recorded(self, images: int) -> None:
        """Count images whose maps were recorded."""
        self.use += TeacherUse(recorded=images)

    def note_replayed(self, images: int) -> None:
        """Count images for which recorded maps or kernels were read."""
        self.use += TeacherUse(replayed=images)

    def map_specs(self, layers: Collection[str], size: tuple[int, int]) -> Mapping[str, TensorSpec]:
        """Shape and type of one image's maps at some layers, for images of `size` (height, width).

        Raises:
            InputError: If the teacher does not take the size, or has no such layer.
        """
        try:
            maps = self.ask(torch.zeros(1, 3, *size, device=self._device).to(memory_format=torch.channels_last), layers)
        except (InputError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            name = type(self.network.net).__name__
            raise InputError(f"{name} does not take images of {size[0]} x {size[1]}: {first_line(error)}") from error
        self.use -= TeacherUse(shown=1)
        return {layer: TensorSpec(tuple(values.shape[1:]), values.dtype) for layer, values in maps.items()}
