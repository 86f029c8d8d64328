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
    """

    def __init__(self, num_classes: int, images: int, size: Size, teacher: Network | None, processes: int) -> None:
        self._images, self._size, self._teacher, self._processes = images, size, teacher, processes
        self._networks = _Networks(num_classes)

    def __call__(self, config: TrainConfig) -> TeacherUse:
        """What the config needs of the teacher.

        Raises:
            InputError: If a batch is larger than the data or cannot be shared by the processes, if a network has no
                such layer, or if a loss cannot compare two layers.
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
    """Networks, built with arbitrary weights, whose shapes are needed."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._built: OrderedDict[str, TappedNetwork] = OrderedDict()
        self._shapes: dict[tuple[str, Size], dict[str, Shape]] = {}

    def shapes(self, network: Network, layers: Iterable[str], size: Size) -> dict[str, Shape]:
        """Shapes `(C, h, w)` of layers, the logits among them, as `layer_channels`."""
        key, wanted = network.model_dump_json(), {LOGITS, *layers}
        shapes = self._shapes.setdefault((key, size), {})
        if not wanted <= shapes.keys():
            new = layer_channels(self.network(network, key), wanted, size)
            check_classes(network, new, self.num_classes)
            shapes |= new
        return {layer: shapes[layer] for layer in wanted}

    def network(self, network: Network, key: str) -> TappedNetwork:
        """The network, built once."""
        if key not in self._built:
            self._built[key] = _without_numbers(network, self.num_classes)
            if len(self._built) > _BUILT:
                self._built.popitem(last=False)
        return self._built[key]


def _without_numbers(network: Network, num_classes: int) -> TappedNetwork:
    """A network for shapes alone; those of others than smp have weights, since they may compute what needs numbers."""
    if not network.is_of_smp:
        return build_network(network, num_classes, bare=True)
    try:
        with torch.device("meta"):
            return build_network(network, num_classes, bare=True)
    except InputError:  # some encoders are built from numbers, too
        return build_network(network, num_classes, bare=True).to("meta")
