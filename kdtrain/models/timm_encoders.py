"""Encoders of timm that know no classes: vision transformers such as DINOv2, DINOv3, SAM and RADIO, and others."""

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from kdtrain.errors import InputError
from kdtrain.explain import did_you_mean, first_line
from kdtrain.models.encoder import Encoder, map_of_tokens
from kdtrain.models.network import Network
from kdtrain.models.tapped import TappedNetwork
from kdtrain.runtime.absent import absent

with absent("wandb"):  # timm imports it if it is there, which takes a second, and does without it
    import timm

_ANY_SIZE = "dynamic_img_size"
"""An argument by which vision transformers interpolate the positions of their patches; other models take any size."""
_NOT_OPTIONS = (
    *("num_classes", "in_chans", "features_only", _ANY_SIZE, "scriptable", "exportable"),
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
)
"""Arguments of `timm.create_model` that are given here, or name files and addresses."""


def build_timm(network: Network) -> TappedNetwork:
    """Build an encoder of timm, without weights.

    Args:
        network: Its `encoder` is the name, such as `vit_small_patch14_dinov2`; its options are those of timm's model.

    Raises:
        InputError: If there is no such model, it does not take the options, or it gives no maps.
    """
    check_name(network.encoder)
    model = create(network.encoder, network.options)
    if not hasattr(model, "forward_intermediates"):
        raise InputError(f"encoder: {network.encoder} of timm gives no maps of its blocks; take a vision transformer")
    return TappedNetwork(TimmEncoder(model), network.mean, network.std, _patch(model), classless=True)


def check_name(name: str) -> None:
    """Check that timm has a model of a name, which may end with a tag of weights.

    Raises:
        InputError: If it has none.
    """
    base = name.partition(".")[0]
    tagged = timm.list_pretrained(f"{base}.*") if timm.is_model(base) else []
    if not (timm.is_model(name) if name == base else name in tagged):
        known = tagged or timm.list_models()
        raise InputError(f"encoder: with arch timm must be a model of timm, got {name!r}{did_you_mean(name, known)}")


def create(name: str, options: Mapping[str, Any], pretrained: bool = False) -> Any:
    """The model of timm without a classifier, for images of any size where timm allows that.

    Raises:
        InputError: If it does not take the options.
    """
    if refused := [option for option in options if option in _NOT_OPTIONS]:
        raise InputError(f"options: with arch timm must be parameters of the model, got {refused[0]!r}")
    make = partial(timm.create_model, name, pretrained=pretrained, num_classes=0, **options)
    try:
        with torch.random.fork_rng(devices=[]):
            try:
                return make(**{_ANY_SIZE: True})
            except TypeError as error:
                if _ANY_SIZE not in str(error):
                    raise
                return make()
    except OSError:
        raise
    except Exception as error:  # of options, and timm says it in many ways
        raise InputError(f"timm {name} with the options {dict(options)}: {first_line(error)}") from error


def named_as_built(model: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of a model of timm, without those of a classifier.

    Args:
        model: The model.
        tensors: As timm publishes them, or as those who trained the model have published them.

    Raises:
        InputError: If timm cannot convert them.
    """
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    try:
        converted: Mapping[str, Tensor] = dict(tensors) if convert is None else convert(dict(tensors), model)
    except Exception as error:  # of tensors that are missing or have another shape
        raise InputError(f"weights: timm cannot read them as those of {type(model).__name__}: {error}") from error
    names = (model.pretrained_cfg or {}).get("classifier") or ()
    heads = tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))
    state = model.state_dict()
    return {name: tensor for name, tensor in converted.items() if name in state or not name.startswith(heads)}


def _patch(model: Any) -> int:
    """The side of the patches; 1 for a network without."""
    side = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
    return int(max(side)) if isinstance(side, list | tuple) else int(side or 1)


class TimmEncoder(Encoder):
    """An encoder of timm; its weights have the names of timm, with `model.` before them.

    Args:
        model: As timm builds it.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, len(model.feature_info))  # type: ignore[arg-type]

    def maps(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """See `Encoder.maps`."""
        output, maps = self.model.forward_intermediates(images)  # type: ignore[operator]
        if getattr(self.model, "output_fmt", "NCHW") == "NHWC" and output.ndim == 4:
            output = output.permute(0, 3, 1, 2)
        elif output.ndim == 3:
            output = map_of_tokens(output, (maps[-1].shape[-2], maps[-1].shape[-1]))
        return maps, output
