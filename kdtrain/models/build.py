"""From the config of a network to the network."""

import difflib
import importlib
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from pydantic import ValidationError
from segmentation_models_pytorch.encoders import encoders as smp_encoders
from torch import nn

from kdtrain.errors import InputError
from kdtrain.explain import sentence
from kdtrain.models.ensemble import Ensemble, EnsembleNetwork
from kdtrain.models.network import Network
from kdtrain.models.tapped import TappedNetwork
from kdtrain.models.weights import load_into, published_file, read_safetensors
from kdtrain.stream import derive

ARCHITECTURES: dict[str, type[nn.Module]] = {
    architecture.__name__: architecture for architecture in smp.MODEL_ARCHITECTURES_MAPPING.values()
}
_LARGEST_STRIDE = 32


def build_network(
    network: Network, num_classes: int, seed: int = 0, weights_folder: Path | None = None, bare: bool = False
) -> TappedNetwork:
    """Build a network, with starting weights that depend on `seed` and the network alone.

    Args:
        network: What to build.
        num_classes: Channels of its logits.
        seed: Seed of the initialisation.
        weights_folder: Where the library's encoder weights may lie as `<encoder>.safetensors`.
        bare: Leave out the starting weights, because others will be loaded over them.

    Raises:
        InputError: If there is no such architecture, encoder or function, or the weights do not fit.
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(derive(seed, "init"))
        weights = "none" if bare else network.weights
        if network.is_custom:
            return TappedNetwork(_build_custom(network, num_classes, weights), network.mean, network.std)
        if network.is_ensemble:
            config = _ensemble(network)
            return EnsembleNetwork((build_network(one, num_classes, bare=True) for one in config.members), config)
        return _build_library(network, num_classes, weights, weights_folder)


def layer_channels(network: TappedNetwork, layers: Iterable[str], size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Shapes `(C, h, w)` of layers for an image of `size` (height, width), found by one pass over zeros.

    Raises:
        InputError: If the network does not take `size`, or has no such layer.
    """
    training = network.training
    device = network.mean.device
    try:
        with torch.no_grad():
            maps = network.eval().tap(layers)(torch.zeros(1, 3, *size, device=device))
    except InputError:
        raise
    except Exception as error:
        name, (height, width) = type(network.net).__name__, size
        raise InputError(f"{name} does not take images of {height} x {width}: {_first_line(error)}") from error
    network.train(training)
    return {layer: tuple(value.shape[1:]) for layer, value in maps.items()}


def check_layers(
    network: Network, num_classes: int, layers: Iterable[str], size: tuple[int, int]
) -> dict[str, tuple[int, ...]]:
    """Shapes of layers of a network that is built for this question alone, without starting weights.

    Raises:
        InputError: If the network cannot be built, does not take `size`, has no such layer, or other classes.
    """
    shapes = layer_channels(build_network(network, num_classes, bare=True), layers, size)
    check_classes(network, shapes, num_classes)
    return shapes


def check_classes(network: Network, shapes: Mapping[str, tuple[int, ...]], num_classes: int) -> None:
    """Raise InputError unless the logits have one channel per class; one's own network may ignore that."""
    channels = shapes["logits"][0]
    if channels != num_classes:
        raise InputError(f"arch: {network.arch} gives {channels} channels of logits for {num_classes} classes")


def _build_library(network: Network, num_classes: int, weights: str, weights_folder: Path | None) -> TappedNetwork:
    architecture = ARCHITECTURES.get(network.arch)
    if architecture is None:
        near = _near(network.arch, ARCHITECTURES)
        raise InputError(f"arch: {network.arch!r} is unknown; {near}, or module:function")
    timm_name = network.encoder.removeprefix("tu-")
    of_timm = network.encoder != timm_name and timm.is_model(timm_name.split(".")[0])
    if network.encoder not in smp_encoders and not of_timm:
        names = [*smp_encoders, *(f"tu-{name}" for name in timm.list_models())]
        raise InputError(f"encoder: {network.encoder!r} is unknown; {_near(network.encoder, names)}")
    from_library: str | None = None
    file: Path | None = None
    if weights == "library":
        file = published_file(network.encoder, weights_folder)
        from_library = None if file else "imagenet"
    elif weights != "none":
        file = Path(weights)
    try:
        net = architecture(
            encoder_name=network.encoder,
            encoder_weights=from_library,
            in_channels=3,
            classes=num_classes,
            **network.options,
        )
    except OSError as error:
        raise InputError(
            f"weights: the library's weights of {network.encoder} could not be fetched "
            f"({type(error).__name__}); put them as {timm_name}.safetensors into a folder and name it by "
            "--weights or KDSWEEP_WEIGHTS, or use weights: none"
        ) from error
    except Exception as error:
        raise InputError(
            f"{network.arch} with encoder {network.encoder} and options {network.options}: {_first_line(error)}"
        ) from error
    if file is not None:
        load_into(net, read_safetensors(file), file)
    divisor = _LARGEST_STRIDE if net.requires_divisible_input_shape else 1
    _drop_upsampling(net)
    return TappedNetwork(net, network.mean, network.std, divisor)


def _drop_upsampling(net: Any) -> None:
    """Let the network give its logits as the classifier makes them; who needs them larger resizes them."""
    head = net.segmentation_head
    if isinstance(head, nn.Sequential):
        head[1] = nn.Identity()


def _build_custom(network: Network, num_classes: int, weights: str) -> nn.Module:
    module_name, _, function_name = network.arch.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:
        raise InputError(
            f"arch: {network.arch!r} cannot be imported ({_first_line(error)}); the module must be importable from here"
        ) from error
    try:
        net = function(num_classes=num_classes, **network.options)
    except Exception as error:
        raise InputError(
            f"arch: {network.arch}(num_classes={num_classes}, **options) with the options {network.options} "
            f"failed, {type(error).__name__}: {_first_line(error)}"
        ) from error
    if not isinstance(net, nn.Module):
        raise InputError(f"arch: {network.arch} must return a torch.nn.Module, but returned {type(net).__name__}")
    if weights == "library":
        raise InputError(f"weights: {network.arch} is not of a library: use none or the path of a safetensors file")
    if weights != "none":
        load_into(net, read_safetensors(Path(weights)), Path(weights))
    return net


def _ensemble(network: Network) -> Ensemble:
    try:
        return Ensemble.model_validate(network.options)
    except ValidationError as error:
        raise InputError(f"options of arch ensemble: {sentence(error, Ensemble)}") from None


def _near(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
    if near and len(known) > 20:
        return f"did you mean {', '.join(near)}"
    return f"known are {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
