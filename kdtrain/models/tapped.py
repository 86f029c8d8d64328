"""A network whose inner maps can be read by name."""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kdtrain.errors import InputError
from kdtrain.models.outputs import AUX, LOGITS, maps_of, rival_maps
from kdtrain.models.padding import Size, cut_back, padded, padded_sizes
from kdtrain.models.scaling import scaled, scaled_size

NAMED_LAYERS = "logits, aux, decoder, encoder.1 to encoder.5, encoder.last, or the path of a module"
LAST_STAGE = "encoder.last"
_ENCODER_STAGE = re.compile(r"encoder\.(\d+|last)$")
_VIEW_FAILED = "view size is not compatible"
"""Part of torch's message where a network views a map in channels-last order as if it were contiguous."""


class TappedNetwork(nn.Module):
    """Wraps a network: resizes and normalizes its input, pads it to a size that it takes, hands out maps by layer name.

    Layers are `logits` (the classifier's output before any upsampling), `aux` (the auxiliary head's logits,
    where the network has one), `decoder` (what feeds the classifier), `encoder.1` to `encoder.5` (the
    encoder's stages), `encoder.last` (its deepest stage, whatever its number), or the path of any module, whose
    output is taken. A network of the user's may translate names into module paths by an attribute
    `layers: dict[str, str]`.

    In evaluation mode the wrapper learns what the network needs: by how much images of a size are padded, whether maps
    must be contiguous (else they are in channels-last order), and which layers are copied, because a later operation
    changes their map in place. All of it follows from the network and the size alone; in training mode it is used as
    it was learned before.

    Args:
        net: The network, from `(N, 3, H, W)` to what `maps_of` reads.
        mean: Per-channel mean of RGB in [0, 1].
        std: Per-channel standard deviation.
        divisor: Heights and widths are padded to a multiple of this first.
        classless: Whether the network knows no classes: maps are those of the tapped layers, without logits. What the
            network returns is then not read, and an attribute `layer_names` says in words which layers it has.

    Attributes:
        scale: Factor on the height and width of images before anything else.
        contiguous: Whether maps must be contiguous. A network says so itself by an attribute `channels_last = False`.
        repeated: Tapped layers whose module ran more than once in the last pass; the map is that of its last run.
        rivals: How many maps without a name, the logits among them, had their channels in the last output.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        divisor: int = 1,
        classless: bool = False,
    ) -> None:
        super().__init__()
        self.net = net
        self.scale = 1.0
        self.divisor = divisor
        self.classless = classless
        self.contiguous = getattr(net, "channels_last", True) is False
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.rivals = 0
        self.repeated: set[str] = set()
        self._taps: dict[str, _Tap] = {}
        self._hooks: list[RemovableHandle] = []
        self._layers: tuple[str, ...] = ()
        self._copied: set[str] = set()
        self._sizes: dict[Size, Size] = {}

    def place(self, device: torch.device) -> "TappedNetwork":
        """Move the network to a device, in channels-last order unless it needs contiguous maps."""
        order = torch.contiguous_format if self.contiguous else torch.channels_last
        return self.to(device).to(memory_format=order)

    def tap(self, layers: Iterable[str]) -> "TappedNetwork":
        """Choose the layers that `forward` hands out besides the logits.

        Raises:
            InputError: If the network has no such layer.
        """
        self._layers = tuple(dict.fromkeys(layers))
        if self.classless and (named := [layer for layer in self._layers if layer in (LOGITS, AUX)]):
            raise InputError(
                f"layer {named[0]!r}: {self._name} knows no classes, and so has no such layer; `kdsweep teacher probe` "
                f"fits logits on one of its layers, which are {self.layer_names}"
            )
        for hook in self._hooks:
            hook.remove()
        self._hooks = [
            self._module_of(layer).register_forward_hook(self._keeper(layer)) for layer in self._tapped_layers
        ]
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps by layer name for images `(N, 3, H, W)`, RGB in [0, 1]; `logits` is among them if there are classes.

        Maps have the sizes that the network gives them for the resized image. Where that had to be padded (below and
        to the right), maps are cut back to the part that shows the image.

        Raises:
            InputError: If the network returns no logits, or gives no map at a layer.
        """
        images = scaled(images, self.scale)
        size = (images.shape[-2], images.shape[-1])
        if self.training or size in self._sizes:
            return self._forward(images, self._padded_size(size))
        return self._first_forward(images, size)

    def padded_size(self, size: Size) -> Size:
        """To which size images of a size are resized and padded, as their last pass has shown.

        Without a pass it is the size that is tried first.
        """
        return self._padded_size(scaled_size(size, self.scale))

    def _padded_size(self, size: Size) -> Size:
        """To which size images are padded that were resized to a size."""
        return self._sizes.get(size) or next(padded_sizes(size, self.net, self.divisor))

    def logits(self, images: Tensor) -> Tensor:
        """The logits `(N, C, h, w)` alone, of a network that knows classes."""
        logits: Tensor = self(images)[LOGITS]
        return logits

    def _first_forward(self, images: Tensor, size: Size) -> dict[str, Tensor]:
        """The first pass of images of a size: it is repeated until the network takes them.

        Raises:
            Exception: What the network raised first, if it takes them in no way.
        """
        first_error: Exception | None = None
        for larger in padded_sizes(size, self.net, self.divisor):
            try:
                maps = self._forward(images, larger)
            except Exception as error:
                if isinstance(error, InputError) or not _may_be_the_size(error):
                    raise
                first_error = first_error or error
                continue
            self._sizes[size] = larger
            return maps
        assert first_error is not None
        raise first_error

    def _forward(self, images: Tensor, size: Size) -> dict[str, Tensor]:
        """One pass of images that are padded to `size`; in evaluation mode it is repeated if its order was wrong."""
        inputs = padded((images - self.mean) / self.std, size)
        self._taps.clear()
        try:
            output = self.net(inputs.contiguous() if self.contiguous else inputs)
        except RuntimeError as error:
            if self.contiguous or _VIEW_FAILED not in str(error):
                raise
            if self.training:
                raise InputError(
                    f"{self._name} does not take maps in channels-last order in training mode; use reshape in place of "
                    "view, or give the network the attribute channels_last = False"
                ) from error
            self.contiguous = True
            with torch.inference_mode(False):
                self.net.to(memory_format=torch.contiguous_format)
            return self._forward(images, size)
        if changed := [layer for layer, tap in self._taps.items() if tap.was_changed]:
            if self.training:
                raise InputError(
                    f"layer {changed[0]!r}: a later operation of {self._name} changes this map in place, in training "
                    "mode alone; use an operation that is not in place, or another layer"
                )
            self._copied.update(changed)
            return self._forward(images, size)
        maps = self._read(output)
        if size == tuple(images.shape[-2:]):
            return maps
        return {layer: cut_back(value, (images.shape[-2], images.shape[-1]), size) for layer, value in maps.items()}

    def _read(self, output: object) -> dict[str, Tensor]:
        """The maps of a pass: those of the tapped layers, and the network's output."""
        for layer in self._tapped_layers:
            if layer not in self._taps:
                raise InputError(f"layer {layer!r} takes no part in what {self._name} computes")
        self.repeated = {layer for layer, tap in self._taps.items() if tap.runs > 1}
        maps = {layer: self._taps.pop(layer).map for layer in self._tapped_layers}
        if self.classless:
            return maps
        maps |= maps_of(output, self._name + (" in training mode" if self.training else ""))
        self.rivals = rival_maps(output, maps[LOGITS].shape[1])
        if AUX in self._layers and AUX not in maps:
            raise InputError("layer 'aux': this network has no auxiliary head")
        return maps

    @property
    def layer_names(self) -> str:
        """The names of layers, in words."""
        names: str = getattr(self.net, "layer_names", NAMED_LAYERS)
        return names

    @property
    def _tapped_layers(self) -> list[str]:
        return [layer for layer in self._layers if layer not in (LOGITS, AUX)]

    @property
    def _name(self) -> str:
        return type(self.net).__name__

    def _keeper(self, layer: str) -> Callable[[nn.Module, object, object], None]:
        stage = _ENCODER_STAGE.match(layer)
        # not self: a reference cycle would keep the memory of the network until garbage collection
        taps, copied = self._taps, self._copied

        def keep(_module: nn.Module, _inputs: object, output: object) -> None:
            if stage and isinstance(output, list | tuple):
                output = output[-1 if layer == LAST_STAGE else int(stage[1])]
            if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[1] == 0:
                raise InputError(
                    f"layer {layer!r} gives no map of the form (N, C, H, W): nothing can be distilled there"
                )
            runs = taps[layer].runs + 1 if layer in taps else 1
            taps[layer] = _Tap.of(output.clone() if layer in copied else output, runs)

        return keep

    def _module_of(self, layer: str) -> nn.Module:
        given = getattr(self.net, "layers", None)
        paths: dict[str, str] = given if isinstance(given, dict) else {}
        modules: dict[str, nn.Module] = dict(self.net.named_modules())
        path = paths.get(layer, layer)
        stage = _ENCODER_STAGE.match(path)
        depth = getattr(modules.get("encoder"), "_depth", None)
        if path == LAST_STAGE and depth is None:
            deepest = max({*paths, *modules}, key=_stage_number)
            path = paths.get(deepest, deepest) if _stage_number(deepest) else path
        elif stage and depth is not None:
            if path != LAST_STAGE and not 1 <= int(stage[1]) <= depth:
                raise InputError(f"layer {layer!r} does not exist: this encoder has the stages 1 to {depth}")
            return modules["encoder"]
        if path == "" or path not in modules:
            near = difflib.get_close_matches(path, {*paths, *modules}, n=3)
            hint = f"; near it are {', '.join(near)}" if near else ""
            raise InputError(f"layer {layer!r} does not exist in {self._name}: allowed are {self.layer_names}{hint}")
        return modules[path]


def _stage_number(layer: str) -> int:
    """N of `encoder.N`, else 0."""
    stage = _ENCODER_STAGE.match(layer)
    return int(stage[1]) if stage and layer != LAST_STAGE else 0


@dataclass(frozen=True)
class _Tap:
    """A map as its module gave it."""

    map: Tensor
    version: int
    runs: int
    """How often the module has run in this pass."""

    @classmethod
    def of(cls, value: Tensor, runs: int) -> "_Tap":
        return cls(value, _version(value), runs)

    @property
    def was_changed(self) -> bool:
        """Whether an operation has changed the map in place since then."""
        return _version(self.map) != self.version


def _version(value: Tensor) -> int:
    """How often a tensor was changed in place; tensors of inference mode do not count it."""
    return 0 if value.is_inference() else value._version


_NOT_THE_SIZE = ("cuda", "cudnn", "cublas", "nccl", "out of memory", "allocate memory")
"""Parts of messages about devices and memory; another size would only hide those errors."""


def _may_be_the_size(error: Exception) -> bool:
    """Whether another size of the images could avoid an error: not where memory is short or a device has failed."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError | OSError):
        return False
    text = str(error).lower()
    return not any(part in text for part in _NOT_THE_SIZE)
