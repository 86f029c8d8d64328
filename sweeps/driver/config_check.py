"""What a config needs besides valid fields: images, processes, networks and layers that fit it. Nothing is trained."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from kdtrain.config import TrainConfig
from kdtrain.errors import InputError
from kdtrain.methods.base import Shape
from kdtrain.methods.modules.base import TeacherKernel
from kdtrain.models import Network, TappedNetwork, build_network, check_classes, layer_channels
from kdtrain.models.outputs import LOGITS
from kdtrain.models.padding import Size
from kdtrain.teacher import check_needs_no_logits

_BUILT = 4
"""Networks that are kept; a search over a network's options may build many."""


@dataclass(frozen=True)
class TeacherUse:
    """What a config needs of the teacher: the shapes of the layers, and the kernels by term."""

    shapes: Mapping[str, Shape]
    kernels: Mapping[str, TeacherKernel]


class ConfigCheck:
    """Checks configs of one sweep, called with each of them.

    Args:
        num_classes: Of the data.
        images: Images of role train.
        size: Height and width of an image.
        teacher: The teacher's network.
        processes: Processes that share every batch.
        knows_classes: Whether the teacher gives logits, and is not an encoder alone.
    """

    def __init__(
        self,
        num_classes: int,
        images: int,
        size: Size,
        teacher: Network | None,
        processes: int,
        knows_classes: bool = True,
    ) -> None:
        self._images, self._size, self._teacher, self._processes = images, size, teacher, processes
        self._encoder = None if knows_classes else teacher
        self._networks = _Networks(num_classes, self._encoder)

    def __call__(self, config: TrainConfig) -> TeacherUse:
        """What the config needs of the teacher.

        Raises:
            InputError: If a batch is larger than the data or cannot be shared by the processes, if a network has no
                such layer, if a loss cannot compare two layers, or needs logits that the teacher does not give.
        """
        if config.batch_size > self._images:
            raise InputError(
                f"train.batch_size: {config.batch_size} is more than the {self._images} images of role train"
            )
        for field, count in config.shared_counts.items():
            if count % self._processes:
                raise InputError(
                    f"train.{field}: {count} cannot be shared evenly by the {self._processes} processes that "
                    "resources.gpu asks for"
                )
        terms = config.active_terms
        if self._encoder is not None:
            check_needs_no_logits(terms, self._encoder)
        size = config.augment.crop or self._size
        student = self._networks.shapes(
            config.student, (layer for term in terms for layer in term.student_layers), size
        )
        layers = [layer for term in terms for layer in term.teacher_layers]
        teacher = self._networks.shapes(self._teacher, layers, size) if self._teacher and layers else {}
        with torch.device("meta"):  # so that memories of gigabytes are not allocated
            modules = {term.name: term.build(student, teacher, self._networks.num_classes) for term in terms}
        kernels = {name: module.kernel for name, module in modules.items() if module.kernel is not None}
        return TeacherUse({layer: teacher[layer] for layer in layers if layer in teacher}, kernels)

    def network(self, network: Network, size: Size | None) -> None:
        """Check a network that no config trains, such as that of a teacher to be fitted."""
        self._networks.shapes(network, (), size or self._size)

    def built(self, network: Network) -> TappedNetwork:
        """A network that was checked, with arbitrary weights; without numbers if it is one of the library's."""
        return self._networks.network(network, network.model_dump_json())


class _Networks:
    """Networks, built with arbitrary weights, whose shapes are needed.

    Args:
        num_classes: Of the data.
        encoder: A network that knows no classes.
    """

    def __init__(self, num_classes: int, encoder: Network | None) -> None:
        self.num_classes, self._encoder = num_classes, encoder
        self._built: OrderedDict[str, TappedNetwork] = OrderedDict()
        self._shapes: dict[tuple[str, Size], dict[str, Shape]] = {}

    def shapes(self, network: Network, layers: Iterable[str], size: Size) -> dict[str, Shape]:
        """Shapes `(C, h, w)` of layers, the logits among them where there are any, as `layer_channels`."""
        num_classes = self._classes_of(network)
        key, wanted = network.model_dump_json(), {*layers, *((LOGITS,) if num_classes else ())}
        shapes = self._shapes.setdefault((key, size), {})
        if not wanted <= shapes.keys():
            new = layer_channels(self.network(network, key), wanted, size)
            check_classes(network, new, num_classes)
            shapes |= new
        return {layer: shapes[layer] for layer in wanted}

    def network(self, network: Network, key: str) -> TappedNetwork:
        """The network, built once."""
        if key not in self._built:
            self._built[key] = _without_numbers(network, self._classes_of(network))
            if len(self._built) > _BUILT:
                self._built.popitem(last=False)
        return self._built[key]

    def _classes_of(self, network: Network) -> int:
        return 0 if network == self._encoder else self.num_classes


def _without_numbers(network: Network, num_classes: int) -> TappedNetwork:
    """A network for shapes alone; those of others than smp have weights, since they may compute what needs numbers."""
    if not network.is_of_smp:
        return build_network(network, num_classes, bare=True)
    try:
        with torch.device("meta"):
            return build_network(network, num_classes, bare=True)
    except InputError:  # some encoders are built from numbers, too
        return build_network(network, num_classes, bare=True).to("meta")
