"""Segmentation networks of Hugging Face transformers, built from their config alone."""

import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdtrain.errors import InputError
from kdtrain.explain import first_line
from kdtrain.models.network import Network
from kdtrain.models.tapped import TappedNetwork

_STAGES = 4
"""Maps that a network without stages hands out: after each quarter of its blocks."""
_TASK = "task_inputs"
"""An argument by which a network is given its task: the tokens of a text."""
_TEXT = "the task is semantic"
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
"""The files in which a tokenizer may lie."""
_LEAST = 1e-6
"""The score of a class that no mask of a pixel has."""
_IMPLEMENTATION = "_implementation"
"""What fields of configs contain that name an implementation, as `attn_implementation` does."""
_DECODERS = ("decode_head.activation", "decode_head.fpn_bottleneck", "head.head.2", "decode_head.classifier.dropout")
"""What feeds the classifier, where the network has such a module."""


def build_transformers(network: Network, num_classes: int) -> TappedNetwork:
    """Build a network of transformers, without weights.

    Args:
        network: Its option `config` is the content of `config.json`.
        num_classes: Channels of its logits.

    Raises:
        InputError: If the config is not that of a segmentation network, or makes none.
    """
    content = content_of(network)
    import transformers

    labels = {"num_labels": num_classes} if len(content.get("id2label") or ()) != num_classes else {}
    try:
        with torch.random.fork_rng(devices=[]):
            config = without_texts(transformers.AutoConfig.for_model(**{**content, **labels}))
            model = auto_class(config).from_config(config)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{network.title}: {first_line(error)}") from error
    return TappedNetwork(TransformersNetwork(model), network.mean, network.std)


def content_of(network: Network) -> Mapping[str, Any]:
    """The content of the `config.json` of a network.

    Raises:
        InputError: If its options are something else, or the content names code.
    """
    content = network.options.get("config")
    if not isinstance(content, Mapping) or "model_type" not in content or len(network.options) > 1:
        raise InputError("options: with arch transformers must be config alone, the content of a config.json")
    check_names_no_code(content, "options.config: ")
    return content


def check_names_no_code(content: object, where: str) -> None:
    """Check that a config names no implementation on the hub, which transformers would fetch and execute.

    Args:
        content: Of the config, or a part of it.
        where: Where the config stands, for the error.

    Raises:
        InputError: If it names one.
    """
    if isinstance(content, list | tuple):
        for part in content:
            check_names_no_code(part, where)
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        if _IMPLEMENTATION in str(key) and "/" in str(value):
            raise InputError(
                f"{where}{key} names code on the hub ({value}), which is never executed; leave it out, or take a value "
                "such as sdpa"
            )
        check_names_no_code(value, where)


def without_texts(config: Any) -> Any:
    """The config of a network without the part that reads texts of the classes, which serves its own training alone."""
    if config.model_type == "oneformer":
        config.is_training = False
    return config


def task_tokens(folder: Path, config: Any) -> Tensor:
    """The text `the task is semantic` in tokens, `(1, T)`, as the tokenizer in a folder reads it; padding is 0.

    Raises:
        InputError: If there is no tokenizer in the folder, or transformers cannot read it.
    """
    import transformers

    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZERS):
        raise InputError(
            f"{folder}: {config.model_type} is told its task in a text; put the files of its tokenizer there, "
            f"{' or '.join(' and '.join(names) for names in TOKENIZERS)}"
        )
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        read = tokenizer([_TEXT], padding="max_length", max_length=config.task_seq_len, truncation=True)
    except Exception as error:
        raise InputError(f"{folder}: transformers cannot read its tokenizer: {first_line(error)}") from error
    return torch.tensor(read["input_ids"]) * torch.tensor(read["attention_mask"])


def auto_class(config: Any) -> Any:
    """The class of transformers that builds or loads the segmentation network of a config.

    Raises:
        InputError: If there is none.
    """
    import transformers

    for auto in (transformers.AutoModelForSemanticSegmentation, transformers.AutoModelForUniversalSegmentation):
        if type(config) in auto._model_mapping:
            return auto
    raise InputError(
        f"model_type: {config.model_type} has no network for semantic segmentation in transformers, such as segformer, "
        "upernet, dpt, beit, mask2former or oneformer"
    )


def segments(config: Any) -> bool:
    """Whether transformers has a network for semantic segmentation of a config."""
    import transformers

    autos = (transformers.AutoModelForSemanticSegmentation, transformers.AutoModelForUniversalSegmentation)
    return any(type(config) in auto._model_mapping for auto in autos)


class TransformersNetwork(nn.Module):
    """A network of transformers that takes images and hands out logits and the maps of its encoder.

    Args:
        model: As transformers builds it.

    Attributes:
        task: Of a network that is given its task beside the image, the tokens of the text that names it, `(1, T)`: see
            `task_tokens`. They are saved with the weights.
    """

    task: Tensor | None

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        takes_task = _TASK in inspect.signature(model.forward).parameters
        config: Any = model.config
        tokens = torch.zeros(1, config.task_seq_len, dtype=torch.int64) if takes_task else None
        self.register_buffer("task", tokens)
        self.stages = nn.ModuleList(nn.Identity() for _ in range(_STAGES))
        self.layers = {f"encoder.{1 + index}": f"stages.{index}" for index in range(_STAGES)}
        there = dict(model.named_modules())
        if (decoder := next((path for path in _DECODERS if path in there), None)) is not None:
            self.layers["decoder"] = f"model.{decoder}"

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, classes, h, w)`."""
        task = {} if self.task is None else {_TASK: self.task.expand(len(images), -1)}
        output = self.model(pixel_values=images, output_hidden_states=True, **task)
        states = getattr(output, "hidden_states", None) or getattr(output, "encoder_hidden_states", None) or ()
        maps = [each for state in states if (each := _map_of(state, images)) is not None]
        for stage, value in zip(self.stages, _quarters(maps), strict=False):
            stage(value)
        return _logits_of(output)


def _logits_of(output: Any) -> Tensor:
    """The logits; for a network of masks, the logarithm of the sum over masks of its class times its mask."""
    if (logits := getattr(output, "logits", None)) is not None:
        return torch.as_tensor(logits)
    classes = output.class_queries_logits.softmax(-1)[..., :-1]
    masks = output.masks_queries_logits.sigmoid()
    return torch.einsum("nqc,nqhw->nchw", classes, masks).clamp_min(_LEAST).log()


def _map_of(state: Tensor, images: Tensor) -> Tensor | None:
    """A state as `(N, C, h, w)`: a map as it is, tokens of a grid of patches without those that stand for none."""
    if state.ndim == 4:
        return state
    if state.ndim != 3:
        return None
    height, width = images.shape[-2:]
    tokens = state.shape[1]
    patch = round(math.sqrt(height * width / tokens))
    rows, columns = height // max(1, patch), width // max(1, patch)
    if not 0 < rows * columns <= tokens:
        return None
    grid = state[:, tokens - rows * columns :].transpose(1, 2)
    return grid.reshape(len(state), -1, rows, columns)


def _quarters(maps: Sequence[Tensor]) -> list[Tensor]:
    """All maps of a network with stages; of more, those after each quarter of the blocks."""
    if len(maps) <= _STAGES:
        return list(maps)
    return [maps[round(part * (len(maps) - 1) / _STAGES)] for part in range(1, _STAGES + 1)]
