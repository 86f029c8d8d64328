"""Encoders of Hugging Face transformers that know no classes, built from their config alone."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdtrain.errors import InputError
from kdtrain.explain import first_line
from kdtrain.models.encoder import Encoder, map_of_tokens
from kdtrain.models.network import Network
from kdtrain.models.tapped import TappedNetwork
from kdtrain.models.transformers_networks import content_of

_ANY_SIZE = "interpolate_pos_encoding"
"""An argument by which vision transformers interpolate the positions of their patches."""


def build_encoder(network: Network) -> TappedNetwork:
    """Build an encoder of transformers, without weights.

    Args:
        network: Its option `config` is the content of `config.json`, or of the part of it that sees images.

    Raises:
        InputError: If the config is not that of an encoder of images, or makes none.
    """
    content = content_of(network)
    import transformers

    try:
        with torch.random.fork_rng(devices=[]):
            config = transformers.AutoConfig.for_model(**content)
            model = encoder_class(config).from_config(config)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{network.title}: {first_line(error)}") from error
    return TappedNetwork(wrapped(model), network.mean, network.std, _patch(config), classless=True)


def encoder_class(config: Any) -> Any:
    """The class of transformers that builds or loads the encoder of a config.

    Raises:
        InputError: If there is none, or it does not take images alone.
    """
    import transformers

    kind = transformers.AutoModel._model_mapping.get(type(config), None)
    if kind is None or getattr(kind, "main_input_name", "") != "pixel_values" or _blocks(config) == 0:
        raise InputError(
            f"model_type: {config.model_type} is neither a network for semantic segmentation in transformers, such as "
            "segformer, upernet, dpt, beit, mask2former or oneformer, nor an encoder of images, such as dinov2, "
            "dinov3_vit, sam_vision_model or vit"
        )
    return transformers.AutoModel


def seeing(config: Any) -> Any:
    """The config of the part that sees images, of a network of several parts such as SAM; else the config."""
    return getattr(config, "vision_config", config)


def wrapped(model: Any) -> Encoder:
    """The encoder around a model of transformers, without what pools its maps, which no layer shows."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return SamEncoder(model) if hasattr(model, "vision_encoder") else TransformersEncoder(model)


def _blocks(config: Any) -> int:
    """Blocks of a vision transformer, or stages of a convolutional network; 0 where there are neither."""
    stages = getattr(config, "depths", None) or getattr(config, "hidden_sizes", None) or ()
    return int(getattr(config, "num_hidden_layers", None) or len(stages))


def _patch(config: Any) -> int:
    side = getattr(config, "patch_size", 1)
    return int(max(side)) if isinstance(side, list | tuple) else int(side)


class TransformersEncoder(Encoder):
    """An encoder of transformers; its weights have the names of transformers, with `model.` before them.

    Args:
        model: As transformers builds it.
    """

    def __init__(self, model: nn.Module) -> None:
        config: Any = model.config
        super().__init__(model, _blocks(config))
        self._patch = _patch(config)
        takes_any_size = _ANY_SIZE in inspect.signature(model.forward).parameters
        self._options = {_ANY_SIZE: True} if takes_any_size else {}

    def maps(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """See `Encoder.maps`."""
        output = self.model(pixel_values=images, output_hidden_states=True, **self._options)
        states = output.hidden_states[-len(self.blocks) :]
        maps = [self._map(state, images) for state in states]
        last = output.last_hidden_state
        if last.ndim == 3 and states[-1].ndim == 4:  # a convolutional network gives tokens at its end
            return maps, map_of_tokens(last, (maps[-1].shape[-2], maps[-1].shape[-1]))
        return maps, self._map(last, images)

    def _map(self, state: Tensor, images: Tensor) -> Tensor:
        if state.ndim == 4:
            return state
        return map_of_tokens(state, (images.shape[-2] // self._patch, images.shape[-1] // self._patch))


class SamEncoder(Encoder):
    """The encoder of SAM, for images of any size: transformers itself takes those of 1024 x 1024 alone.

    Args:
        model: As transformers builds it, with its vision encoder.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, _blocks(model.config))

    def maps(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """See `Encoder.maps`; positions are interpolated as timm does."""
        encoder: Any = self.model.vision_encoder
        state = encoder.patch_embed.projection(images).permute(0, 2, 3, 1)
        if encoder.pos_embed is not None:
            state = state + _resized(encoder.pos_embed, state)
        maps = []
        for layer in encoder.layers:
            state = layer(state)
            maps.append(state.permute(0, 3, 1, 2))
        return maps, encoder.neck(state)


def _resized(positions: Tensor, state: Tensor) -> Tensor:
    """Positions `(1, h, w, C)` in the size of a state `(N, h, w, C)`."""
    size = (state.shape[1], state.shape[2])
    if positions.shape[1:3] == size:
        return positions
    of_maps = positions.permute(0, 3, 1, 2)
    resized = functional.interpolate(of_maps, size=size, mode="bicubic", antialias=True, align_corners=False)
    return resized.permute(0, 2, 3, 1)
