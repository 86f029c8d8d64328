"""Networks: how they are named in a config, built, filled with weights, and tapped at layers.

The names are imported when they are first used, so that a config is read without torch.
"""

from typing import TYPE_CHECKING

from kdtrain.lazy_names import lazily

if TYPE_CHECKING:
    from kdtrain.models.build import build_network, check_classes, check_layers, layer_channels
    from kdtrain.models.built_once import building_once
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
    "building_once",
    "check_classes",
    "check_layers",
    "layer_channels",
    "normalization_remarks",
    "stated_normalization",
    "without_inherited_normalization",
]

_MODULES = {
    "build_network": "kdtrain.models.build",
    "check_classes": "kdtrain.models.build",
    "check_layers": "kdtrain.models.build",
    "layer_channels": "kdtrain.models.build",
    "building_once": "kdtrain.models.built_once",
    "Ensemble": "kdtrain.models.ensemble",
    "ENSEMBLE": "kdtrain.models.network",
    "Network": "kdtrain.models.network",
    "normalization_remarks": "kdtrain.models.network",
    "without_inherited_normalization": "kdtrain.models.network",
    "IMAGENET": "kdtrain.models.normalization",
    "stated_normalization": "kdtrain.models.normalization",
    "TappedNetwork": "kdtrain.models.tapped",
}

__getattr__, __dir__ = lazily(__name__, _MODULES)
