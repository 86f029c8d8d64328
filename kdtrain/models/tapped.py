"""A network whose inner maps can be read by name."""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from kdtrain.errors import InputError

NAMED_LAYERS = "logits, aux, decoder, encoder.1 to encoder.5, or the path of a module"
_ENCODER_STAGE = re.compile(r"encoder\.(\d+)$")


class TappedNetwork(nn.Module):
    """Wraps a network: normalizes its input, pads it to a size that it takes, hands out maps by layer name.

    Layers are `logits` (the classifier's output before any upsampling), `aux` (the auxiliary head's logits,
    where the network has one), `decoder` (what feeds the classifier), `encoder.1` to `encoder.5` (the
    encoder's stages), or the path of any module, whose output is taken. A network of the user's may translate
    names into module paths by an attribute `layers: dict[str, str]`.

    Args:
        net: The network, `(N, 3, H, W)` to logits `(N, C, h, w)`, or a dict with `out` and perhaps `aux`, or
            a tuple that starts with the logits.
        mean: Per-channel mean of RGB in [0, 1].
        std: Per-channel standard deviation.
        divisor: Heights and widths are padded to a multiple of this.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float], divisor: int = 1) -> None:
        super().__init__()
        self.net = net
        self.divisor = divisor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self._taps: dict[str, Tensor] = {}
        self._hooks: list[RemovableHandle] = []
        self._layers: tuple[str, ...] = ()

    def tap(self, layers: Iterable[str]) -> "TappedNetwork":
        """Choose the layers that `forward` hands out besides the logits.

        Raises:
            InputError: If the network has no such layer.
        """
        self._layers = tuple(dict.fromkeys(layers))
        for hook in self._hooks:
            hook.remove()
        self._hooks = [
            self._module_of(layer).register_forward_hook(self._keeper(layer))
            for layer in self._layers
            if layer not in ("logits", "aux")
        ]
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps by layer name for images `(N, 3, H, W)`, RGB in [0, 1]; `logits` is always among them.

        Where the input had to be padded (below and to the right), maps are cut back to the part that shows
        the image.
        """
        height, width = images.shape[-2:]
        right, below = -width % self.divisor, -height % self.divisor
        inputs = (images - self.mean) / self.std
        if right or below:
            inputs = functional.pad(inputs, (0, right, 0, below))
        output = self.net(inputs)
        tapped = [layer for layer in self._layers if layer not in ("logits", "aux")]
        for layer in tapped:
            if layer not in self._taps:
                raise InputError(f"layer {layer!r} takes no part in what {type(self.net).__name__} computes")
        maps = {layer: self._taps.pop(layer) for layer in tapped}
        if isinstance(output, dict):
            if "out" not in output:
                raise InputError(f"{type(self.net).__name__} must name its logits 'out', got {list(output)}")
            maps["logits"] = output["out"]
            if output.get("aux") is not None:
                maps["aux"] = output["aux"]
        else:
            maps["logits"] = output[0] if isinstance(output, list | tuple) else output
        if "aux" in self._layers and "aux" not in maps:
            raise InputError("layer 'aux': this network has no auxiliary head")
        if right or below:
            maps = {
                layer: _cut(value, height / (height + below), width / (width + right)) for layer, value in maps.items()
            }
        return maps

    def logits(self, images: Tensor) -> Tensor:
        """The logits `(N, C, h, w)` alone."""
        logits: Tensor = self(images)["logits"]
        return logits

    def _keeper(self, layer: str) -> Callable[[nn.Module, object, object], None]:
        stage = _ENCODER_STAGE.match(layer)
        taps = self._taps  # not self: a reference cycle would keep the memory of the network until garbage collection

        def keep(_module: nn.Module, _inputs: object, output: object) -> None:
            if stage and isinstance(output, list | tuple):
                output = output[int(stage[1])]
            if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[1] == 0:
                raise InputError(
                    f"layer {layer!r} gives no map of the form (N, C, H, W): nothing can be distilled there"
                )
            taps[layer] = output

        return keep

    def _module_of(self, layer: str) -> nn.Module:
        paths = getattr(self.net, "layers", None)
        path = paths.get(layer, layer) if isinstance(paths, dict) else layer
        modules: dict[str, nn.Module] = dict(self.net.named_modules())
        stage = _ENCODER_STAGE.match(path)
        depth = getattr(modules.get("encoder"), "_depth", None)
        if stage and depth is not None:
            if not 1 <= int(stage[1]) <= depth:
                raise InputError(f"layer {layer!r} does not exist: this encoder has the stages 1 to {depth}")
            return modules["encoder"]
        if path == "" or path not in modules:
            near = difflib.get_close_matches(path, modules, n=3)
            hint = f"; near it are {', '.join(near)}" if near else ""
            owner = type(self.net).__name__
            raise InputError(f"layer {layer!r} does not exist in {owner}: allowed are {NAMED_LAYERS}{hint}")
        return modules[path]


def _cut(value: Tensor, rows: float, columns: float) -> Tensor:
    height, width = value.shape[-2:]
    return value[..., : max(1, round(height * rows)), : max(1, round(width * columns))]
