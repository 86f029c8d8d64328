"""Teacher folders that are made of what was trained elsewhere: imported weights and networks, and ensembles."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import Field, ValidationError

from kdtrain import InputError, Machine
from kdtrain.config_base import Strict
from kdtrain.data import DataConfig, Images, open_role
from kdtrain.explain import sentence
from kdtrain.foreign import references, require_trust
from kdtrain.local_path import given_path
from kdtrain.loop.evaluate import evaluate, load_batch
from kdtrain.models import Network, TappedNetwork, layer_channels, normalization_remarks
from kdtrain.models.ensemble import Average
from kdtrain.models.mapped import groups_of
from kdtrain.models.network import MAPPED, TIMM
from kdtrain.models.outputs import is_probability
from kdtrain.published import Published, is_published, read_published, read_timm
from kdtrain.runtime.scratch import scratch_folder
from kdtrain.teacher import ModelCard, import_model, load_model, make_ensemble, read_card, write_card
from sweeps.spec.spec import is_spec
from sweeps.spec.strict_yaml import read_mapping

OTHER_IMAGES = "images of its publisher"
"""In the card of an encoder, what it was trained on."""


class MeasuredOn(Strict):
    """On what a teacher is measured."""

    data: DataConfig
    eval_scale: float = Field(default=1.0, gt=0)


_Content = TypeVar("_Content", bound=Strict)


class ImportSettings(MeasuredOn):
    """What must be known of weights that were trained elsewhere."""

    network: Network | None = None
    """Of a file of weights; a published folder says it itself."""
    network_classes: tuple[str, ...] | None = None
    """What its channels mean, where these are not the classes of the data, in their order; empty for an encoder that
    knows no classes."""
    classes: dict[str, str] | None = None
    """By class of the network, the class of the data that it means, where the two are not called alike."""


def import_teacher(
    place: Path | str,
    content: Mapping[str, Any],
    folder: Path,
    machine: Machine,
    notice: Callable[[str], None] = lambda _: None,
    spec: str = "",
) -> ModelCard:
    """Make a teacher folder from weights that were trained elsewhere, measured on the select role if it has classes.

    Args:
        place: A file that covers the whole network: safetensors, or made by `torch.save`; or a published network, see
            `kdtrain.published`.
        content: `data`, for a file of weights `network`, and perhaps `eval_scale`, `network_classes` and `classes`.
            Without the latter two the channels of the logits must be in the order of the data's classes, or a
            published network must name them; an encoder that knows no classes takes neither.
        folder: The folder to make.
        machine: Where the data lie.
        notice: Told in words what a user should know of the weights.
        spec: The file that holds the content, for the errors.

    Raises:
        InputError: If weights, network and data do not fit one another, or what the network gives are no logits.
    """
    measured = parsed(ImportSettings, content, spec)
    images = open_role(measured.data, "select", machine.data_root, machine.cache)

    def check(network: TappedNetwork) -> None:
        if network.classless:
            _check_maps(network, images, notice)
        else:
            _check_logits(network, images, notice)

    with scratch_folder() as scratch:
        network, weights, names, knows_classes = _source(str(place), measured, scratch, machine, spec)
        lines, warnings = normalization_remarks("network", network.model_copy(update={"weights": str(weights)}))
        for text in (*lines, *(f"warning: {warning}" for warning in warnings)):
            notice(text)
        if not knows_classes:
            if measured.classes or measured.network_classes:
                raise InputError(f"{network.title} is an encoder that knows no classes; leave classes out")
            return import_model(weights, network, (), OTHER_IMAGES, folder, notice, check)
        network = _of_classes(network, measured.network_classes or names, measured.classes, images.classes, notice)
        import_model(weights, network, tuple(images.classes), measured.data.name, folder, notice, check)
    return _measure(folder, images, measured.eval_scale)


def _source(place: str, given: ImportSettings, scratch: Path, machine: Machine, spec: str) -> Published:
    """The network that is imported, its weights, and the names of its classes where it has them."""
    if is_published(place):
        if given.network is not None:
            raise InputError(f"{spec}: network: {place} says itself what it is; leave network out")
        return read_published(place, scratch, machine.weights)
    if given.network is None:
        raise InputError(f"{spec}: network: is missing, {place} holds weights alone; give arch, encoder and options")
    if given.network.arch == TIMM:
        return read_timm(given.network, given_path(place), scratch)
    return Published(given.network, given_path(place), (), knows_classes=given.network_classes != ())


def _of_classes(
    network: Network,
    theirs: Sequence[str],
    names: Mapping[str, str] | None,
    ours: Sequence[str],
    notice: Callable[[str], None],
) -> Network:
    """The network with the classes of the data."""
    if not theirs:
        if names:
            raise InputError("classes: the network does not name its channels; give their names as network_classes")
        return network
    if tuple(theirs) == tuple(ours) and not names:
        return network
    groups, unknown, unused = groups_of(names or {}, theirs, ours)
    for these, text in ((unknown, "classes of the data that it does not know"), (unused, "classes that are left out")):
        if these:
            notice(f"the network has {len(theirs)} classes; {text}: {', '.join(these)}")
    options = {"network": network.model_dump(mode="json"), "channels": len(theirs), "groups": groups}
    return Network(arch=MAPPED, encoder="", options=options)


def ensemble_teacher(
    members: Sequence[Path],
    folder: Path,
    average: Average,
    temperature: float,
    flip: bool,
    content: Mapping[str, Any] | None,
    machine: Machine,
    spec: str = "",
) -> ModelCard:
    """Make a teacher folder of several teachers, measured on the select role if `content` says of what.

    Args:
        members: Their folders.
        folder: The folder to make.
        average: As in `make_ensemble`.
        temperature: As in `make_ensemble`.
        flip: As in `make_ensemble`.
        content: `data`, and perhaps `eval_scale`; none for an ensemble that is not measured.
        machine: Where the data lie.
        spec: The file that holds the content, for the errors.

    Raises:
        InputError: If members and data do not fit one another.
    """
    if content is None:
        return make_ensemble(members, folder, average, temperature, flip)
    measured = parsed(MeasuredOn, content, spec)
    images = open_role(measured.data, "select", machine.data_root, machine.cache)
    classes = read_card(members[0]).classes
    if classes != tuple(images.classes):
        raise InputError(
            f"teacher: {members[0]} has the classes {', '.join(classes)}, which are not those of the data; give "
            "teachers of the same classes"
        )
    make_ensemble(members, folder, average, temperature, flip)
    return _measure(folder, images, measured.eval_scale)


def measured_on(file: Path) -> DataConfig:
    """The data that a YAML file with `data`, or the spec of a sweep, names.

    Raises:
        InputError: If it names none.
    """
    content = {name: value for name, value in read_mapping(file).items() if name == "data"}
    return parsed(MeasuredOn, content, str(file)).data


def parsed(kind: type[_Content], content: Mapping[str, Any], file: str) -> _Content:
    """The content of a file for a command, which is no spec of a sweep.

    Raises:
        InputError: If it is one, a field is unknown or its value is not allowed, or it names code that is not trusted.
    """
    at = f"{file}: " if file else ""
    if is_spec(content):
        required, further = (
            ", ".join(name for name, field in kind.model_fields.items() if field.is_required() == is_required)
            for is_required in (True, False)
        )
        raise InputError(f"{at}is the spec of a sweep, but must hold {required} alone, and perhaps {further}")
    require_trust(references(content), "--spec ")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{at}{sentence(error, kind)}") from None


def _check_logits(network: TappedNetwork, images: Images, notice: Callable[[str], None]) -> None:
    """Look at what a network predicts for one image.

    Raises:
        InputError: If it gives NaN, infinity or probabilities, or other classes than the data have.
    """
    image, _ = load_batch(images, [0], torch.device("cpu"))
    with torch.inference_mode():
        logits = network.logits(image)
    if logits.shape[1] != len(images.classes):
        raise InputError(f"teacher: gives {logits.shape[1]} channels of logits for {len(images.classes)} classes")
    if bool(logits.isnan().any() | (logits == torch.inf).any()):
        raise InputError(
            "teacher: its logits of the first image are not finite, though its weights are; do network.mean, "
            "network.std and options fit the weights?"
        )
    if kind := is_probability(logits):
        raise InputError(
            f"teacher: the network gives probabilities ({kind}), and losses need logits: leave out its last "
            "activation, as in options: {activation: null}"
        )
    endless = (logits == -torch.inf).any(dim=3).any(dim=2).any(dim=0).nonzero().flatten().tolist()
    if endless:
        names = ", ".join(images.classes[index] for index in endless)
        notice(f"the logits of {names} hold minus infinity, which losses take as a probability of 0")


def _check_maps(network: TappedNetwork, images: Images, notice: Callable[[str], None]) -> None:
    """Look at the layers of an encoder for one image.

    Raises:
        InputError: If the encoder does not take the image, or a map is not finite.
    """
    layers: Mapping[str, str] = getattr(network.net, "layers", {})
    image, _ = load_batch(images, [0], torch.device("cpu"))
    shapes = layer_channels(network, layers, (image.shape[-2], image.shape[-1]))
    with torch.inference_mode():
        maps = network(image)
    if broken := [layer for layer, value in maps.items() if not bool(value.isfinite().all())]:
        raise InputError(
            f"teacher: its map at {broken[0]} is not finite for the first image, though its weights are; do "
            "network.mean, network.std and options fit the weights?"
        )
    notice(f"the encoder knows no classes; its layers are {network.layer_names}")
    if layers:
        channels, rows, columns = list(shapes.values())[-1]
        size = f"{image.shape[-2]} x {image.shape[-1]}"
        notice(f"an image of {size} gives a map of {channels} channels and {rows} x {columns} at the end")


def _measure(folder: Path, images: Images, eval_scale: float) -> ModelCard:
    """Write the score on the select role into the card of a teacher folder."""
    card, network = load_model(folder)
    evaluation = evaluate(network.logits, images, "select", 4, eval_scale, torch.device("cpu"))
    measured = {
        "miou": evaluation.miou,
        "role": "select",
        "iou": [None if math.isnan(iou) else float(iou) for iou in evaluation.iou],
    }
    card = ModelCard.model_validate(card.model_dump() | measured)
    write_card(folder, card)
    return card
