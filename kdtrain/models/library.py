"""Networks of segmentation-models-pytorch."""

import difflib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdtrain.errors import InputError
from kdtrain.explain import did_you_mean, first_line
from kdtrain.local_path import local_path
from kdtrain.models.network import Network
from kdtrain.models.tapped import TappedNetwork
from kdtrain.models.weights import COUNTER, PREFIXES, MisfitError, load_into, published_file, read_safetensors
from kdtrain.runtime.absent import absent

with absent("wandb"):  # timm imports it if it is there, which takes a second, and does without it
    import segmentation_models_pytorch as smp
    import timm
    from segmentation_models_pytorch.encoders import encoders as smp_encoders

ARCHITECTURES: dict[str, type[nn.Module]] = {
    architecture.__name__: architecture for architecture in smp.MODEL_ARCHITECTURES_MAPPING.values()
}
_OWN = ("encoder_name", "encoder_weights", "in_channels", "classes")
"""Parameters of architectures that are given here."""
_LARGEST_STRIDE = 32
_MOST_TRIED = 12
"""Encoders that are built to find out whose weights a file has."""


def build_library(network: Network, num_classes: int, weights: str, weights_folder: Path | None) -> TappedNetwork:
    """Build a network of segmentation-models-pytorch, its encoder from there or from timm (as `tu-<name>`).

    Args:
        network: What to build.
        num_classes: Channels of its logits.
        weights: `library`, `none`, or the path of a safetensors file.
        weights_folder: Where the library's encoder weights may lie as `<encoder>.safetensors`.

    Raises:
        InputError: If there is no such architecture or encoder, or the weights do not fit.
    """
    architecture = find_architecture(network.arch, network.encoder)
    _check_options(network, architecture)
    from_library: str | None = None
    file: Path | None = None
    if weights == "library":
        file = published_file(network.encoder, weights_folder)
        from_library = None if file else "imagenet"
    elif weights != "none":
        file = local_path(weights)
    try:
        net = architecture(
            encoder_name=network.encoder,
            encoder_weights=from_library,
            in_channels=3,
            classes=num_classes,
            **fitting_options(network, architecture),
        )
    except OSError as error:
        name = network.encoder.removeprefix("tu-")
        raise InputError(
            f"weights: the library's weights of {network.encoder} could not be fetched ({type(error).__name__}); put "
            f"them as {name}.safetensors into a folder and name it by --weights or KDSWEEP_WEIGHTS, or use "
            "weights: none"
        ) from error
    except Exception as error:
        raise InputError(
            f"{network.arch} with encoder {network.encoder} and options {network.options}: {first_line(error)}"
        ) from error
    if file is not None:
        tensors = read_safetensors(file)
        try:
            load_into(net, tensors, file)
        except MisfitError as error:
            raise InputError(f"{error}{likely_encoder(network, tensors, num_classes)}") from error
    divisor = _LARGEST_STRIDE if net.requires_divisible_input_shape else 1
    _drop_upsampling(net)
    return TappedNetwork(net, network.mean, network.std, divisor)


def find_architecture(arch: str, encoder: str) -> type[nn.Module]:
    """The class of an architecture, after a look whether it and its encoder exist.

    Raises:
        InputError: If one of them does not, with names like it.
    """
    architecture = ARCHITECTURES.get(arch)
    if architecture is None:
        raise InputError(
            "arch: must be an architecture of segmentation-models-pytorch or package.module:function, "
            f"got {arch!r}{did_you_mean(arch, ARCHITECTURES)}"
        )
    timm_name = encoder.removeprefix("tu-")
    of_timm = encoder != timm_name and timm.is_model(timm_name.split(".")[0])
    if encoder not in smp_encoders and not of_timm:
        names = [*smp_encoders, *(f"tu-{name}" for name in timm.list_models())]
        raise InputError(
            "encoder: must be an encoder of segmentation-models-pytorch or tu-<name> of timm, "
            f"got {encoder!r}{did_you_mean(encoder, names)}"
        )
    return architecture


def hub_repository(encoder: str) -> str | None:
    """The repository of a hub from which the library takes the weights of an encoder; None if it publishes none."""
    if (settings := smp_encoders.get(encoder)) is not None:
        repository: str | None = settings["pretrained_settings"].get("imagenet", {}).get("repo_id")
        return repository
    try:
        published = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
    except RuntimeError:  # an unknown tag, which building the network reports
        return None
    return None if published is None else str(published.hf_hub_id or published.url or "") or None


def _check_options(network: Network, architecture: type[nn.Module]) -> None:
    """Refuse options that nothing reads: the library hands them on to its encoders, and only those of timm take any."""
    if network.encoder.startswith(("tu-", "timm-")):
        return
    read = [*inspect.signature(architecture).parameters, "output_stride"]
    allowed = [name for name in read if name not in ("kwargs", *_OWN)]
    for name in network.options:
        if name not in allowed and name not in _OWN:
            raise InputError(
                f"options: must be parameters of {network.arch} ({', '.join(allowed)}), got {name!r}, which the "
                f"encoder {network.encoder} does not take{did_you_mean(name, allowed)}"
            )


def fitting_options(network: Network, architecture: type[nn.Module]) -> dict[str, Any]:
    """The options of a network, with a decoder as deep as its encoder.

    Where the decoder has a width for each of its blocks (`decoder_channels` of Unet, Unet++ and MAnet), an encoder of
    fewer stages has the last ones, so that a width belongs to a resolution, whatever the depth (inferred).
    """
    options = dict(network.options)
    defaults = {name: parameter.default for name, parameter in inspect.signature(architecture).parameters.items()}
    depth, widths = (options.get(name, defaults.get(name)) for name in ("encoder_depth", "decoder_channels"))
    if isinstance(depth, int) and isinstance(widths, list | tuple) and 0 < depth < len(widths):
        options["decoder_channels"] = widths[-depth:]
    return options


def likely_encoder(network: Network, tensors: Mapping[str, Tensor], num_classes: int) -> str:
    """The end of a sentence: the encoder of the same family whose weights some tensors are; empty if there is none."""
    architecture = ARCHITECTURES.get(network.arch)
    if architecture is None:
        return ""
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items() if not name.endswith(COUNTER)}
    for encoder in (network.encoder, *_family(network.encoder)):
        try:
            with torch.device("meta"):  # without numbers, and so in milliseconds
                options = fitting_options(network, architecture)
                net = architecture(encoder_name=encoder, encoder_weights=None, classes=num_classes, **options)
        except Exception:  # not every encoder takes the options
            continue
        shapes = {name: tuple(value.shape) for name, value in net.state_dict().items() if not name.endswith(COUNTER)}
        parts = [{n.removeprefix(part): shapes[n] for n in shapes if n.startswith(part)} for part in PREFIXES]
        if encoder == network.encoder:
            known = max(len(part.keys() & given.keys()) for part in parts)
            ours, theirs = ({n: side[n] for n in side if n.startswith(PREFIXES[1])} for side in (shapes, given))
            if ours == theirs or 2 * known < len(given):  # not the encoder is wrong, or nothing of it is there
                return ""
        elif given in parts:
            return f"; they are the weights of the encoder {encoder}"
    return ""


def _family(encoder: str) -> list[str]:
    """Encoders of the same library whose names begin as this one's does, the most alike first."""
    of_timm = encoder.startswith("tu-")
    names = [f"tu-{name}" for name in timm.list_models()] if of_timm else list(smp_encoders)
    start = re.match(r"(tu-)?[a-z]*", encoder)
    alike = [name for name in names if start and name.startswith(start[0]) and name != encoder]
    return difflib.get_close_matches(encoder, alike, n=_MOST_TRIED, cutoff=0.0)


def _drop_upsampling(net: Any) -> None:
    """Make the network return the logits of the classifier at their own size; a loss resizes them where it needs to."""
    head = net.segmentation_head
    if isinstance(head, nn.Sequential):
        head[1] = nn.Identity()
