"""Networks as others publish them: folders of Hugging Face transformers and of segmentation-models-pytorch."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from safetensors.torch import save_file

from kdtrain.errors import InputError, MissingError, unreadable
from kdtrain.explain import first_line, sentence
from kdtrain.models import Network
from kdtrain.models.build import require_transformers
from kdtrain.models.network import LIBRARY, TRANSFORMERS, default_normalization
from kdtrain.models.normalization import IMAGENET, Normalization

OF_TRANSFORMERS, OF_SMP = "hf:", "smp-hub/"
"""What comes before the name of a network on the hub."""
CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
_SMP_CLASS = "_model_class"
"""A field of the config of segmentation-models-pytorch, which no other library writes."""
_NOT_OPTIONS = (_SMP_CLASS, "encoder_name", "encoder_weights", "classes", "in_channels", "activation")
_NO_NAME = re.compile(r"LABEL_\d+")


class Published(NamedTuple):
    """A network that was published with its weights."""

    network: Network
    weights: Path
    """A safetensors file with the names of the built network."""
    classes: tuple[str, ...]
    """By channel; empty where they have no names."""


def is_published(place: str) -> bool:
    """Whether a place is a folder of a published network, or the name of one on the hub, and not a file of weights."""
    return place.startswith((OF_TRANSFORMERS, OF_SMP)) or Path(place).is_dir()


def read_published(place: str, scratch: Path) -> Published:
    """Read a published network.

    Args:
        place: A folder with `config.json`, or `hf:<name>` or `smp-hub/<name>` for one on the hub.
        scratch: A folder for files that are made of it.

    Raises:
        InputError: If there is none, or it is not one for semantic segmentation.
    """
    name = place.removeprefix(OF_TRANSFORMERS).removeprefix(OF_SMP)
    folder = Path(name) if Path(name).is_dir() else _fetched(name)
    content = _json(folder / CONFIG)
    if _SMP_CLASS in content:
        return _of_smp(folder, content)
    if "model_type" in content:
        return _of_transformers(folder, content, scratch)
    raise InputError(
        f"{folder / CONFIG} must be that of a network of transformers, with model_type, or of "
        f"segmentation-models-pytorch, with {_SMP_CLASS}"
    )


def _fetched(name: str) -> Path:
    """The folder of a network of the hub, from its cache or the net."""
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors"]
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
    stated = default_normalization({**facts, "weights": LIBRARY}) if pretrained else IMAGENET
    if not (folder / WEIGHTS).is_file():
        raise MissingError(f"{folder}: must hold {WEIGHTS}")
    return Published(_network({**facts, "options": options}, stated, folder), folder / WEIGHTS, ())


def _of_transformers(folder: Path, content: Mapping[str, Any], scratch: Path) -> Published:
    require_transformers()
    import transformers

    from kdtrain.models.transformers_networks import TransformersNetwork, auto_class

    try:
        with _quiet(transformers.utils.logging):
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
            model, loaded = auto_class(config).from_pretrained(
                folder, config=config, local_files_only=True, output_loading_info=True, use_safetensors=True
            )
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{folder}: transformers cannot load it: {first_line(error)}") from error
    if lacking := sorted(map(str, [*loaded["missing_keys"], *loaded["mismatched_keys"]])):
        raise InputError(
            f"{folder}: {len(lacking)} tensors are missing or have another shape (first {lacking[0]}), so it is not a "
            "trained network for semantic segmentation"
        )
    weights = scratch / WEIGHTS
    state = TransformersNetwork(model).state_dict()
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in state.items()}, weights)
    labels = content.get("id2label") or {}
    names = tuple(str(labels[key]) for key in sorted(labels, key=int))
    facts = {"arch": TRANSFORMERS, "encoder": "", "options": {"config": dict(content)}}
    classes = () if all(map(_NO_NAME.fullmatch, names)) else names
    return Published(_network(facts, _normalization(folder), folder), weights, classes)


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


def _normalization(folder: Path) -> Normalization:
    """What the images of a network of transformers are normalized with, as the file beside it says."""
    if not (folder / PREPROCESSOR).is_file():
        return IMAGENET
    content = _json(folder / PREPROCESSOR)
    if not content.get("do_normalize", True):
        return Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    mean, std = content.get("image_mean", IMAGENET.mean), content.get("image_std", IMAGENET.std)
    return Normalization(tuple(mean), tuple(std))


def _network(facts: Mapping[str, object], stated: Normalization, folder: Path) -> Network:
    try:
        return Network.model_validate({**facts, **stated._asdict()})
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
