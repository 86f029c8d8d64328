"""Networks as others publish them: folders of Hugging Face transformers, timm and segmentation-models-pytorch."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

from kdtrain.errors import InputError, MissingError, unreadable
from kdtrain.explain import first_line, sentence
from kdtrain.models import Network
from kdtrain.models.build import require_transformers
from kdtrain.models.network import LIBRARY, TIMM, TRANSFORMERS, default_normalization
from kdtrain.models.normalization import IMAGENET, NO_NORMALIZATION, Normalization
from kdtrain.models.torch_files import is_torch_file, read_torch, without_wrappers
from kdtrain.models.weights import published_file, read_safetensors

OF_HUB, OF_SMP, OF_TIMM = "hf:", "smp-hub/", "timm:"
"""What comes before the name of a network on the hub, and before the name of one of timm."""
CONFIG, WEIGHTS = "config.json", "model.safetensors"
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
"""Either says how images are normalized; the second, of networks that take more than images, inside of it."""
_SMP_CLASS, _TIMM_MODEL = "_model_class", "architecture"
"""Fields of the configs of segmentation-models-pytorch and of timm, which no other library writes."""
_CODE = "auto_map"
"""A field of configs whose network is defined by code beside them."""
_NOT_OPTIONS = (_SMP_CLASS, "encoder_name", "encoder_weights", "classes", "in_channels", "activation")
_NORMALIZES = "norm_mean"
"""A field of configs whose networks normalize images themselves."""
_NO_NAME = re.compile(r"LABEL_\d+")


class Published(NamedTuple):
    """A network that was published with its weights."""

    network: Network
    weights: Path
    """A safetensors file with the names of the built network."""
    classes: tuple[str, ...]
    """By channel; empty where they have no names."""
    knows_classes: bool = True
    """Whether the network gives logits at all, and is not an encoder alone."""


def is_published(place: str) -> bool:
    """Whether a place is a folder of a published network, or the name of one on the hub, and not a file of weights."""
    return place.startswith((OF_HUB, OF_SMP, OF_TIMM)) or Path(place).is_dir()


def read_published(place: str, scratch: Path, weights_folder: Path | None = None) -> Published:
    """Read a published network.

    Args:
        place: A folder with `config.json`; `hf:<name>` or `smp-hub/<name>` for one on the hub; or `timm:<name>`.
        scratch: A folder for files that are made of it.
        weights_folder: Where the weights of timm may lie as `<name>.safetensors`.

    Raises:
        InputError: If there is none, or it is neither one for semantic segmentation nor an encoder of images.
    """
    if place.startswith(OF_TIMM):
        return _of_timm(place.removeprefix(OF_TIMM), scratch, weights_folder)
    name = place.removeprefix(OF_HUB).removeprefix(OF_SMP)
    folder = Path(name) if Path(name).is_dir() else _fetched(name)
    content = _json(folder / CONFIG)
    if _SMP_CLASS in content:
        return _of_smp(folder, content)
    if _TIMM_MODEL in content:
        return _of_timm_folder(folder, content, scratch)
    if "model_type" in content or _CODE in content:
        return _of_transformers(folder, content, scratch)
    raise InputError(
        f"{folder / CONFIG} must be that of a network of transformers, with model_type, of timm, with {_TIMM_MODEL}, "
        f"or of segmentation-models-pytorch, with {_SMP_CLASS}"
    )


def read_timm(network: Network, file: Path, scratch: Path) -> Published:
    """An encoder of timm with the weights of a file: safetensors, or made by `torch.save`.

    Args:
        network: The encoder, with arch `timm`.
        file: The file; names are those of timm, or those of who trained the encoder where timm converts them.
        scratch: A folder for files that are made of it.

    Raises:
        InputError: If the file does not read.
    """
    from kdtrain.models.timm_encoders import build_timm, named_as_built

    model: Any = build_timm(network).net.model
    tensors = read_torch(file).tensors if is_torch_file(file) else read_safetensors(file)
    tensors = named_as_built(model, without_wrappers(tensors, model.state_dict()).tensors)
    return _encoder(network, {f"model.{name}": tensor for name, tensor in tensors.items()}, scratch)


def _encoder(network: Network, tensors: Mapping[str, Tensor], scratch: Path) -> Published:
    weights = scratch / WEIGHTS
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, weights)
    return Published(network, weights, (), knows_classes=False)


def _of_timm(name: str, scratch: Path, weights_folder: Path | None) -> Published:
    """An encoder of timm by its name: its weights lie in a folder of this machine, or timm fetches them."""
    from kdtrain.models.timm_encoders import TimmEncoder, check_name, create

    check_name(name)
    network = Network(arch=TIMM, encoder=name)
    if (file := published_file(name, weights_folder)) is not None:
        return read_timm(network, file, scratch)
    try:
        model = create(name, {}, pretrained=True)
    except (OSError, RuntimeError, InputError) as error:
        raise InputError(
            f"{OF_TIMM}{name}: its weights could not be fetched ({first_line(error)}); put them as {name}.safetensors "
            "into a folder and set KDSWEEP_WEIGHTS to it"
        ) from error
    return _encoder(network, TimmEncoder(model).state_dict(), scratch)


def _of_timm_folder(folder: Path, content: Mapping[str, Any], scratch: Path) -> Published:
    options, stated = content.get("model_args") or {}, content.get("pretrained_cfg") or {}
    if not isinstance(options, Mapping) or not isinstance(stated, Mapping):
        raise InputError(f"{folder / CONFIG}: model_args and pretrained_cfg must be mappings")
    if not (folder / WEIGHTS).is_file():
        raise MissingError(f"{folder}: must hold {WEIGHTS}")
    facts = {"arch": TIMM, "encoder": content[_TIMM_MODEL], "options": options}
    given = {name: stated[name] for name in ("mean", "std") if name in stated}
    return read_timm(_network(facts, given, folder), folder / WEIGHTS, scratch)


def _fetched(name: str) -> Path:
    """The folder of a network of the hub, from its cache or the net."""
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "merges.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the hub's errors are many, and so are those of the net
        raise InputError(
            f"{name}: could not be fetched from the hub ({first_line(error)}); give a local folder with {CONFIG} and "
            f"{WEIGHTS}"
        ) from error


def _of_smp(folder: Path, content: Mapping[str, Any]) -> Published:
    if content.get("in_channels", 3) != 3 or content.get("activation") is not None:
        raise InputError(f"{folder}: the network must take three channels and give logits, without an activation")
    encoder, pretrained = content.get("encoder_name"), content.get("encoder_weights")
    options = {name: value for name, value in content.items() if name not in _NOT_OPTIONS and value is not None}
    facts = {"arch": content[_SMP_CLASS], "encoder": encoder}
    stated = (default_normalization({**facts, "weights": LIBRARY}) if pretrained else IMAGENET)._asdict()
    if not (folder / WEIGHTS).is_file():
        raise MissingError(f"{folder}: must hold {WEIGHTS}")
    return Published(_network({**facts, "options": options}, stated, folder), folder / WEIGHTS, ())


def _of_transformers(folder: Path, content: Mapping[str, Any], scratch: Path) -> Published:
    require_transformers()
    import transformers

    from kdtrain.models.transformers_encoders import encoder_class, seeing, wrapped
    from kdtrain.models.transformers_networks import (
        TransformersNetwork,
        auto_class,
        check_names_no_code,
        segments,
        task_tokens,
        without_texts,
    )

    if _CODE in content and content.get("model_type") not in transformers.CONFIG_MAPPING:
        raise InputError(
            f"{folder}: is defined by code that comes with it ({_CODE} in {CONFIG}), which is never executed; take the "
            "network as transformers or timm has it, or install its code and name a function of yours that builds it "
            "as network.arch (module:function)"
        )
    check_names_no_code(content, f"{folder / CONFIG}: ")
    try:
        with _quiet(transformers.utils.logging):
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            has_logits = segments(config)
            config = without_texts(config) if has_logits else seeing(config)
            model, loaded = (auto_class(config) if has_logits else encoder_class(config)).from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # they are refused below, by their names
            )
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{folder}: transformers cannot load it: {first_line(error)}") from error
    net = TransformersNetwork(model) if has_logits else wrapped(model)
    if isinstance(net, TransformersNetwork) and net.task is not None:
        net.task.copy_(task_tokens(folder, config))
    state = net.state_dict()
    mismatched = (key if isinstance(key, str) else key[0] for key in loaded["mismatched_keys"])
    lacking = sorted({*loaded["missing_keys"], *mismatched})
    if lacking := [name for name in lacking if has_logits or f"model.{name}" in state]:
        what = "a trained network for semantic segmentation" if has_logits else f"a trained {config.model_type}"
        raise InputError(
            f"{folder}: {len(lacking)} tensors are missing or have another shape (first {lacking[0]}), so it is not "
            f"{what}"
        )
    if not has_logits:
        described = {key: value for key, value in config.to_dict().items() if key != "_name_or_path"}
        facts = {"arch": TRANSFORMERS, "encoder": "", "options": {"config": described}}
        return _encoder(_network(facts, _normalization(folder, config)._asdict(), folder), state, scratch)
    weights = scratch / WEIGHTS
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in state.items()}, weights)
    labels = content.get("id2label") or {}
    names = tuple(str(labels[key]) for key in sorted(labels, key=int))
    facts = {"arch": TRANSFORMERS, "encoder": "", "options": {"config": dict(content)}}
    classes = () if all(map(_NO_NAME.fullmatch, names)) else names
    return Published(_network(facts, _normalization(folder, config)._asdict(), folder), weights, classes)


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Without the remarks and progress bars of transformers, whose module of logging this is."""
    verbosity, shows_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shows_bars:
            logging.enable_progress_bar()


def _normalization(folder: Path, config: Any) -> Normalization:
    """What the images of a network of transformers are normalized with, as the file beside it says.

    Without such a file it is ImageNet's, and none where the network itself normalizes, as RADIO does.
    """
    if (folder / PREPROCESSOR).is_file():
        content = _json(folder / PREPROCESSOR)
    elif (folder / PROCESSOR).is_file():
        content = _json(folder / PROCESSOR).get("image_processor") or {}
        if not isinstance(content, Mapping):
            raise InputError(f"{folder / PROCESSOR}: image_processor must be a mapping, got {content!r}")
    else:
        return NO_NORMALIZATION if hasattr(config, _NORMALIZES) else IMAGENET
    if not content.get("do_normalize", True):
        return NO_NORMALIZATION
    mean, std = content.get("image_mean", IMAGENET.mean), content.get("image_std", IMAGENET.std)
    return Normalization(*(tuple(each) if isinstance(each, list | tuple) else (each,) * 3 for each in (mean, std)))


def _network(facts: Mapping[str, object], stated: Mapping[str, object], folder: Path) -> Network:
    try:
        return Network.model_validate({**facts, **stated})
    except ValidationError as error:
        raise InputError(f"{folder}: {sentence(error, Network)}") from None


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except OSError as error:
        raise unreadable(file, error) from error
    except ValueError as error:
        raise InputError(f"{file} is not JSON: {first_line(error)}") from None
    if not isinstance(content, dict):
        raise InputError(f"{file} must hold a mapping, got {type(content).__name__}")
    return content
