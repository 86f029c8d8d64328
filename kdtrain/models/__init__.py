"""Networks: how they are named in a config, built, filled with weights, and tapped at layers."""

from kdtrain.models.build import build_network, check_classes, check_layers, layer_channels
from kdtrain.models.ensemble import Ensemble
from kdtrain.models.network import ENSEMBLE, Network, normalization_remarks, without_inherited_normalization
from kdtrain.models.normalization import IMAGENET, stated_normalization
from kdtrain.models.tapped import TappedNetwork

__all__ = [
    "ENSEMBLE",
    "IMAGENET",
    "Ensemble",
    "Network",
    "TappedNetwork",
    "build_network",
    "check_classes",
    "check_layers",
    "layer_channels",
    "normalization_remarks",
    "stated_normalization",
    "without_inherited_normalization",
]
