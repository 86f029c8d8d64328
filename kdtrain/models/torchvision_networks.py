"""Segmentation networks of torchvision, by their names there."""

from torch import Tensor, nn
from torchvision.models import get_model, list_models, segmentation
from torchvision.models.segmentation.lraspp import LRASPP

from kdtrain.errors import InputError
from kdtrain.explain import did_you_mean, first_line
from kdtrain.models.network import Network
from kdtrain.models.tapped import TappedNetwork

_STAGES = ("relu", "layer1", "layer2", "layer3", "layer4")
"""Of a ResNet, whose maps are those of the stages 1 to 5."""


def build_torchvision(network: Network, num_classes: int) -> TappedNetwork:
    """Build a network of torchvision, without weights.

    Args:
        network: Its `encoder` is the name, such as `deeplabv3_resnet50`; its options are those of torchvision's
            function, such as `aux_loss`.
        num_classes: Channels of its logits.

    Raises:
        InputError: If there is no such network, or it does not take the options.
    """
    names = list_models(segmentation)
    if network.encoder not in names:
        raise InputError(
            f"encoder: with arch torchvision must be one of {', '.join(names)}, got {network.encoder!r}"
            f"{did_you_mean(network.encoder, names)}"
        )
    try:
        model = get_model(
            network.encoder, weights=None, weights_backbone=None, num_classes=num_classes, **network.options
        )
    except Exception as error:
        raise InputError(f"{network.title} with the options {network.options}: {first_line(error)}") from error
    return TappedNetwork(TorchvisionNetwork(model), network.mean, network.std)


class TorchvisionNetwork(nn.Module):
    """A network of torchvision that gives its logits at their own size; weights have the names of torchvision.

    Args:
        model: As torchvision builds it.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone, self.classifier = model.get_submodule("backbone"), model.get_submodule("classifier")
        self.aux_classifier = getattr(model, "aux_classifier", None)
        self._takes_all_maps = isinstance(model, LRASPP)
        stages = {f"encoder.{1 + index}": f"backbone.{name}" for index, name in enumerate(_STAGES)}
        there = dict(self.named_modules())
        self.layers = {layer: path for layer, path in stages.items() if path in there}
        if isinstance(self.classifier, nn.Sequential):
            self.layers["decoder"] = f"classifier.{len(self.classifier) - 2}"

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits as `out`, those of the auxiliary head as `aux`."""
        maps = self.backbone(images)
        result = {"out": self.classifier(maps if self._takes_all_maps else maps["out"])}
        if self.aux_classifier is not None:
            result["aux"] = self.aux_classifier(maps["aux"])
        return result
