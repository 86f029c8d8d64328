"""From the config of a network to the network."""

import shlex
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.parameter import is_lazy

from kdtrain.config_base import Strict
from kdtrain.errors import InputError
from kdtrain.explain import first_line, sentence
from kdtrain.foreign import load_foreign
from kdtrain.local_path import local_path
from kdtrain.models.built_once import Start, built
from kdtrain.models.ensemble import Ensemble, EnsembleNetwork
from kdtrain.models.mapped import Mapped, MappedNetwork
from kdtrain.models.network import ENSEMBLE, LIBRARY, MAPPED, PROBED, TIMM, TORCHVISION, TRANSFORMERS, Network
from kdtrain.models.padding import size_remedy
from kdtrain.models.probed import Probed, ProbedNetwork
from kdtrain.models.tapped import TappedNetwork
from kdtrain.models.weights import load_into, read_safetensors
from kdtrain.runtime.random_streams import derive
from kdtrain.torch_version import require_torch

_LAZY_SIZE = _PROBED_SIZE = (64, 64)
Options = TypeVar("Options", bound=Strict)


def build_network(
    network: Network, num_classes: int, seed: int = 0, weights_folder: Path | None = None, bare: bool = False
) -> TappedNetwork:
    """Build a network, with starting weights that depend on `seed` and the network alone.

    Args:
        network: What to build.
        num_classes: Channels of its logits; 0 for an encoder that knows no classes.
        seed: Seed of the initialization.
        weights_folder: Where the library's encoder weights may lie as `<encoder>.safetensors`.
        bare: Leave out the starting weights, because others will be loaded over them.

    Raises:
        InputError: If there is no such architecture, encoder or function, or the weights do not fit.
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(derive(seed, "init"))
        _check_kind(network, num_classes)
        made = _build(network, num_classes, seed, weights_folder, bare)
    made.scale *= network.scale  # a network of mapped classes has the scale of the one that it maps, too
    return made


def _build(network: Network, num_classes: int, seed: int, weights_folder: Path | None, bare: bool) -> TappedNetwork:
    weights = "none" if bare else network.weights
    if network.is_of_smp:
        make = partial(_of_library, network, num_classes, weights, weights_folder)
        return built(network, num_classes, None if bare else Start(seed, weights, weights_folder), make)
    if network.is_custom:
        net = _build_custom(network, num_classes)
        custom = TappedNetwork(net, network.mean, network.std, classless=num_classes == 0)
        return _with_weights(custom, network, weights)
    return _OTHERS[network.arch](network, num_classes, weights)


def _check_kind(network: Network, num_classes: int) -> None:
    """Raise InputError if a network that knows no classes should have some, or the other way round."""
    if num_classes and network.arch == TIMM:
        raise InputError(
            "arch: timm is an encoder that knows no classes, for teachers alone; take an architecture of "
            f"segmentation-models-pytorch with encoder: tu-{network.encoder}"
        )
    if num_classes == 0 and network.arch not in (TIMM, TRANSFORMERS) and not network.is_custom:
        raise InputError(
            f"arch: {network.arch} is a network with classes, got none; encoders that know none are of arch timm, of "
            "transformers, or module:function"
        )


def _of_library(network: Network, num_classes: int, weights: str, weights_folder: Path | None) -> TappedNetwork:
    from kdtrain.models.library import build_library  # takes seconds to import, which not every command needs

    return build_library(network, num_classes, weights, weights_folder)


def layer_channels(network: TappedNetwork, layers: Iterable[str], size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Shapes `(C, h, w)` of layers for an image of `size` (height, width), found by one pass over zeros.

    Raises:
        InputError: If the network does not take `size`, or has no such layer.
    """
    training = network.training
    device = network.mean.device
    try:
        with torch.no_grad():
            images = torch.zeros(1, 3, *size, device=device).contiguous(memory_format=torch.channels_last)
            maps = network.eval().tap(layers)(images)
    except InputError:
        raise
    except Exception as error:
        name, (height, width) = type(network.net).__name__, size
        why = f"{first_line(error).rstrip('.')}{size_remedy(error)}"
        raise InputError(f"{name} does not take images of {height} x {width}: {why}") from error
    network.train(training)
    return {layer: tuple(value.shape[1:]) for layer, value in maps.items()}


def check_layers(
    network: Network, num_classes: int, layers: Iterable[str], size: tuple[int, int]
) -> dict[str, tuple[int, ...]]:
    """Shapes of layers of a network that is built for this check alone, without starting weights.

    Raises:
        InputError: If the network cannot be built, does not take `size`, has no such layer, or other classes.
    """
    shapes = layer_channels(build_network(network, num_classes, bare=True), layers, size)
    check_classes(network, shapes, num_classes)
    return shapes


def check_classes(network: Network, shapes: Mapping[str, tuple[int, ...]], num_classes: int) -> None:
    """Raise InputError unless the logits have one channel per class, which a network of the user's may ignore."""
    if num_classes == 0:
        return
    channels = shapes["logits"][0]
    if channels != num_classes:
        raise InputError(f"arch: {network.arch} gives {channels} channels of logits for {num_classes} classes")


def _build_custom(network: Network, num_classes: int) -> nn.Module:
    try:
        function = load_foreign(network.arch)
    except InputError as error:
        raise InputError(f"arch: {error}") from error
    if not callable(function):
        raise InputError(
            f"arch: {network.arch} must be a function or a class, called as (num_classes=..., **options), "
            f"got {type(function).__name__}"
        )
    try:
        net = function(num_classes=num_classes, **network.options)
    except Exception as error:
        raise InputError(
            f"arch: {network.arch}(num_classes={num_classes}, **options) with the options {network.options} "
            f"failed, {type(error).__name__}: {first_line(error)}; to try it alone: {_command(network, num_classes)}"
        ) from error
    if not isinstance(net, nn.Module):
        raise InputError(f"arch: {network.arch} must return a torch.nn.Module, got {type(net).__name__}")
    _initialize_lazy(net, network.arch)
    return net


def _command(network: Network, num_classes: int) -> str:
    """The command that calls the function of a network, to be pasted into a shell."""
    module, _, name = network.arch.partition(":")
    options = "".join(f", {key}={value!r}" for key, value in network.options.items())
    script = f"from {module} import {name}; {name}(num_classes={num_classes}{options})"
    return f"python -c {shlex.quote(script)}"


def _initialize_lazy(net: nn.Module, arch: str) -> None:
    """Give lazy modules their weights, which they would take from the first images, outside of the network's seed."""
    if not any(is_lazy(value) for value in (*net.parameters(), *net.buffers())):
        return
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, 3, *_LAZY_SIZE))
    except Exception as error:
        height, width = _LAZY_SIZE
        raise InputError(
            f"arch: {arch} has lazy modules, which a pass of an image of {height} x {width} must initialize, but it "
            f"failed ({first_line(error)}); give its layers their sizes"
        ) from error
    net.train()


def _build_ensemble(network: Network, num_classes: int, _weights: str) -> TappedNetwork:
    config = _options(network, Ensemble)
    return EnsembleNetwork((build_network(member, num_classes, bare=True) for member in config.members), config)


def _build_mapped(network: Network, _num_classes: int, _weights: str) -> TappedNetwork:
    config = _options(network, Mapped)
    return MappedNetwork(build_network(config.network, config.channels, bare=True), config)


def _build_probed(network: Network, num_classes: int, weights: str) -> TappedNetwork:
    config = _options(network, Probed)
    frozen = _with_weights(build_network(config.network, config.classes, bare=True), network, weights)
    shape = layer_channels(frozen, [config.layer], _PROBED_SIZE)[config.layer]
    return ProbedNetwork(frozen, config, shape[0], num_classes)


def _build_timm(network: Network, _num_classes: int, weights: str) -> TappedNetwork:
    from kdtrain.models.timm_encoders import build_timm  # takes seconds to import, as above

    return _with_weights(build_timm(network), network, weights)


def _build_torchvision(network: Network, num_classes: int, weights: str) -> TappedNetwork:
    from kdtrain.models.torchvision_networks import build_torchvision

    return _with_weights(build_torchvision(network, num_classes), network, weights)


def _build_transformers(network: Network, num_classes: int, weights: str) -> TappedNetwork:
    require_transformers()
    from kdtrain.models.transformers_encoders import build_encoder
    from kdtrain.models.transformers_networks import build_transformers

    built = build_transformers(network, num_classes) if num_classes else build_encoder(network)
    return _with_weights(built, network, weights)


_OTHERS: Mapping[str, Callable[[Network, int, str], TappedNetwork]] = {
    ENSEMBLE: _build_ensemble,
    MAPPED: _build_mapped,
    PROBED: _build_probed,
    TIMM: _build_timm,
    TORCHVISION: _build_torchvision,
    TRANSFORMERS: _build_transformers,
}


def require_transformers() -> None:
    """Check that transformers is installed, and torch new enough for it.

    Raises:
        InputError: If not.
    """
    if find_spec("transformers") is None:
        raise InputError("networks of transformers need the package transformers: pip install 'kdsweep[hf]'")
    require_torch((2, 6), "transformers")


def _with_weights(built: TappedNetwork, network: Network, weights: str) -> TappedNetwork:
    """A network with the starting weights of a file, where one is given."""
    if weights == LIBRARY:
        raise InputError(
            f"weights: {network.arch} has no weights of a library: use none or the path of a safetensors file"
        )
    if weights != "none":
        file = local_path(weights)
        load_into(built.net, read_safetensors(file), file)
    return built


def _options(network: Network, kind: type[Options]) -> Options:
    try:
        return kind.model_validate(network.options)
    except ValidationError as error:
        raise InputError(f"options of arch {network.arch}: {sentence(error, kind)}") from None
