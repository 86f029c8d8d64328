"""Teacher folders: a network that can be rebuilt anywhere, identified by its digest.

A folder holds `model.json` (a `ModelCard`) and `weights.safetensors`. Trained students are saved in the same
way, so a student can be the teacher of another one.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from pydantic import Field, ValidationError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from kdtrain.config_base import Strict
from kdtrain.errors import InputError, MissingError
from kdtrain.explain import sentence
from kdtrain.foreign import references, require_trust
from kdtrain.methods.base import CLASS_MAPS, Term
from kdtrain.models import ENSEMBLE, Ensemble, Network, TappedNetwork, build_network
from kdtrain.models.ensemble import Average, EnsembleNetwork
from kdtrain.models.torch_files import Found, is_torch_file, read_torch, without_wrappers
from kdtrain.models.weights import COUNTER, MisfitError, check_finite, load_into, read_safetensors
from kdtrain.runtime import sealed_json
from kdtrain.runtime.atomic_files import write_atomically

CARD, WEIGHTS = "model.json", "weights.safetensors"


class ModelCard(Strict):
    """The facts about a trained network."""

    network: Network
    classes: tuple[str, ...]
    """By channel of its logits; none for an encoder that knows no classes, and so has no logits."""
    trained_on: str
    """The data set that it was trained on."""
    weights_sha256: str
    source: str = "fitted"
    """`fitted` by this software, `imported`, an `ensemble` of teachers, a `probe`: a head on a layer of a teacher, or a
    `soup` of students: their mean weights."""
    members: tuple[str, ...] = ()
    """Digests of what an ensemble, a probe or a soup is made of."""
    data_digest: str | None = None
    """Of a probe, the digest of the images and labels that it was trained on."""
    params: int
    macs: int | None = None
    """Multiply-accumulates of one image at the evaluated size."""
    miou: float | None = None
    """Mean IoU as a fraction on `role`; None if it was not measured."""
    role: str | None = None
    iou: tuple[float | None, ...] = Field(default=())
    epochs: int | None = None
    seconds: float | None = None
    """Seconds of its training, or of its members' trainings."""

    @property
    def digest(self) -> str:
        """Identifies what the network computes: its weights, how it is built and what its channels mean."""
        network = self.network.model_dump(mode="json", exclude={"weights"})
        facts = [self.weights_sha256, network, list(self.classes)]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def save_model(folder: Path, net: nn.Module, card_facts: dict[str, object]) -> ModelCard:
    """Write a network and its card, of which `card_facts` are all fields but the weights' hash and the size."""
    # Copies, because safetensors takes no tensors that share their memory, as tied weights do.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in net.state_dict().items()
    }
    content = save_safetensors(tensors)
    card = ModelCard.model_validate(
        card_facts
        | {
            "weights_sha256": hashlib.sha256(content).hexdigest(),
            "params": sum(parameter.numel() for parameter in net.parameters()),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / WEIGHTS, content)
    write_card(folder, card)
    return card


def write_card(folder: Path, card: ModelCard) -> None:
    """Write the card of a teacher folder, with a checksum."""
    write_atomically(folder / CARD, card_bytes(card))


def card_bytes(card: ModelCard) -> bytes:
    """The content of a card's file."""
    return sealed_json.to_bytes(card.model_dump(mode="json"), indent=2)


def holds_network(folder: Path) -> bool:
    """Whether a folder has the files of a network: a teacher, or a student."""
    return (folder / CARD).is_file() and (folder / WEIGHTS).is_file()


def read_card(folder: Path, digest: str | None = None) -> ModelCard:
    """The card of a teacher folder.

    Args:
        folder: The teacher folder.
        digest: The digest that the teacher must have; None takes any.

    Raises:
        InputError: If the folder is not a teacher folder, its card is damaged, or it holds another teacher.
    """
    path = folder / CARD
    if not holds_network(folder):
        raise MissingError(
            f"teacher: {folder} is not a teacher folder, it must hold {CARD} and {WEIGHTS}; make one with "
            "`kdsweep teacher fit` or `kdsweep teacher import`"
        )
    card = parse_card(path.read_bytes(), str(path))
    if digest is not None and card.digest != digest:
        raise InputError(f"teacher: {folder} holds the teacher {card.digest}, but the config asks for {digest}")
    return card


def parse_card(content: bytes, path: str) -> ModelCard:
    """Read a card; `path` is where it comes from, for messages.

    Raises:
        InputError: If it is damaged, or its network is code that is not trusted.
    """
    try:
        facts, _ = sealed_json.parse(content)
        card = ModelCard.model_validate_json(json.dumps(facts))
    except sealed_json.AlteredError as error:
        raise InputError(
            f"teacher: {path} was edited or is damaged: {error}; put it back from a copy, or make the teacher again"
        ) from None
    except ValidationError as error:
        raise InputError(f"teacher: {path} is damaged, {sentence(error, ModelCard)}") from None
    except ValueError:
        raise InputError(f"teacher: {path} is damaged, it is not JSON; put it back from a copy") from None
    require_trust(references(card.model_dump()), f"teacher: {path} ")
    return card


def check_classes_of(card: ModelCard, folder: object, classes: Sequence[str]) -> None:
    """Check that a teacher has the classes of the data, or knows none.

    Args:
        card: Of the teacher.
        folder: Where it lies, for the error.
        classes: Of the data.

    Raises:
        InputError: If it has other classes.
    """
    if card.classes and card.classes != tuple(classes):
        raise InputError(
            f"teacher: {folder} has {len(card.classes)} classes ({', '.join(card.classes[:4])}, ...), but the data "
            f"have {len(classes)} ({', '.join(classes[:4])}, ...)"
        )


def check_needs_no_logits(terms: Iterable[Term], teacher: Network) -> None:
    """Check that no term needs the logits of a teacher that knows no classes.

    Raises:
        InputError: If one does; it names the term.
    """
    for term in terms:
        if layers := CLASS_MAPS.intersection(term.teacher_layers):
            raise InputError(
                f"terms.{term.name}: needs {min(layers)!r} of the teacher {teacher.title}, which knows no "
                "classes; fit logits to it with `kdsweep teacher probe`, or set teacher_layer to one of its layers"
            )


def require_classes(card: ModelCard, folder: object) -> None:
    """Raise InputError if a network knows no classes, and so predicts nothing."""
    if not card.classes:
        raise InputError(
            f"{folder} is an encoder that knows no classes, and so predicts nothing; fit logits to it with `kdsweep "
            "teacher probe`"
        )


def is_whole(folder: Path, digest: str) -> bool:
    """Whether a folder holds the teacher of a digest, with the weights that its card names."""
    try:
        card = read_card(folder, digest)
        with (folder / WEIGHTS).open("rb") as weights:
            return hashlib.file_digest(weights, "sha256").hexdigest() == card.weights_sha256
    except (InputError, OSError):
        return False


def load_model(folder: Path, digest: str | None = None, seed: int = 0) -> tuple[ModelCard, TappedNetwork]:
    """Load a teacher and check its weights against its card.

    Args:
        folder: The teacher folder.
        digest: The digest that the teacher must have; None takes any.
        seed: Of the weights that are loaded over; it decides nothing, unless the network keeps state elsewhere.

    Raises:
        InputError: If the folder is not a teacher folder, is damaged, or has another digest.
    """
    card = read_card(folder, digest)
    content = (folder / WEIGHTS).read_bytes()
    if hashlib.sha256(content).hexdigest() != card.weights_sha256:
        raise InputError(
            f"teacher: {folder / WEIGHTS} is damaged, its hash is not the one in {CARD}; make the teacher again"
        )
    network = build_network(card.network, len(card.classes), seed, bare=True)
    tensors = load_safetensors(content)
    check_finite(tensors, folder / WEIGHTS)
    load_into(network.net, tensors, folder / WEIGHTS, whole=True)
    return card, network.eval().requires_grad_(False)


def import_model(
    weights: Path,
    network: Network,
    classes: tuple[str, ...],
    trained_on: str,
    folder: Path,
    notice: Callable[[str], None] = lambda _: None,
    check: Callable[[TappedNetwork], None] = lambda _: None,
) -> ModelCard:
    """Make a teacher folder from a file of weights that were trained elsewhere: safetensors, or made by `torch.save`.

    Args:
        weights: The file.
        network: The network that they belong to.
        classes: What the channels of its logits mean.
        trained_on: The data set.
        folder: The folder to make.
        notice: Told in words how the weights were found in the file and renamed.
        check: Called with the network before anything is written; what it raises ends the import.

    Raises:
        InputError: If the weights are not exactly those of the network, or not finite.
    """
    found = read_torch(weights) if is_torch_file(weights) else Found(read_safetensors(weights), ())
    built = build_network(network, len(classes), bare=True)
    state = built.net.state_dict()
    renamed = without_wrappers(found.tensors, state)
    for step in (*found.steps, *renamed.steps):
        notice(f"{weights}: {step}")
    tensors = renamed.tensors
    check_finite(tensors, weights)
    if halves := sum(tensor.dtype in (torch.float16, torch.bfloat16) for tensor in tensors.values()):
        notice(f"{weights}: {halves} tensors in half precision become float32")
    try:
        _check_cover(tensors, state, weights, network)
        load_into(built.net, tensors, weights, whole=True)
    except MisfitError as error:
        raise InputError(f"{error}{_advice(network, tensors, state, len(classes))}") from None
    check(built.eval().requires_grad_(False))
    facts: dict[str, object] = {
        "network": network.model_copy(update={"weights": "none"}),
        "classes": classes,
        "trained_on": trained_on,
        "source": "imported",
    }
    return save_model(folder, built.net, facts)


def _check_cover(tensors: Mapping[str, Tensor], state: Mapping[str, Tensor], weights: Path, network: Network) -> None:
    missing = [name for name in state if name not in tensors and not name.endswith(COUNTER)]
    if missing:
        raise MisfitError(
            f"teacher: {weights} does not cover {network.title}: "
            f"{len(missing)} of {len(state)} tensors are missing, first {missing[0]}"
        )


def _advice(network: Network, tensors: Mapping[str, Tensor], state: Mapping[str, Tensor], classes: int) -> str:
    """The end of a sentence about weights that do not fit: the likely reason."""
    shared = [name for name in state if name in tensors]
    others = {tensors[name].shape[0] for name in shared if tensors[name].shape != state[name].shape}
    ours = {state[name].shape[0] for name in shared if tensors[name].shape != state[name].shape}
    if len(others) == 1 and ours == {classes}:
        return f"; its classifier has {others.pop()} classes, and the data have {classes}"
    if not network.is_of_smp:
        return ""
    from kdtrain.models.library import likely_encoder  # takes seconds to import, which not every command needs

    return likely_encoder(network, tensors, classes)


def make_ensemble(
    members: Sequence[Path],
    folder: Path,
    average: Average = "probability",
    temperature: float = 1.0,
    flip: bool = False,
) -> ModelCard:
    """Make a teacher folder of several teachers, whose weights are copied into it.

    Args:
        members: Their folders; one is enough with `flip`.
        folder: The folder to make.
        average: Whether the mean is that of probabilities or of logits.
        temperature: Of the probabilities; terms of the same temperature see exactly their mean.
        flip: Whether every member also sees the mirrored image.

    Raises:
        InputError: If a member is not a teacher folder, is an ensemble itself, or has other classes than the first.
    """
    if len(members) < 2 - flip:
        raise InputError(f"an ensemble needs at least 2 teachers, or 1 and --flip, got {len(members)}")
    if folder.resolve() in {member.resolve() for member in members}:
        raise InputError(f"--dir: {folder} is one of the members; give the ensemble a folder of its own")
    loaded = [load_model(member) for member in members]
    first = loaded[0][0]
    for path, (card, _) in zip(members, loaded, strict=True):
        require_classes(card, path)
        if card.network.is_ensemble:
            raise InputError(f"teacher: {path} is an ensemble itself; name its members instead")
        if card.classes != first.classes:
            raise InputError(
                f"teacher: {path} has {len(card.classes)} classes ({', '.join(card.classes[:4])}, ...), but "
                f"{members[0]} has {len(first.classes)} ({', '.join(first.classes[:4])}, ...)"
            )
    cards = [card for card, _ in loaded]
    options = {
        "members": [card.network.model_dump(mode="json") for card in cards],
        "average": average,
        "temperature": temperature,
        "flip": flip,
    }
    try:
        config = Ensemble.model_validate(options)
    except ValidationError as error:
        raise InputError(sentence(error, Ensemble)) from None
    macs, seconds = _sum(card.macs for card in cards), _sum(card.seconds for card in cards)
    facts: dict[str, object] = {
        "network": Network(arch=ENSEMBLE, encoder="", options=options),
        "classes": first.classes,
        "trained_on": ", ".join(dict.fromkeys(card.trained_on for card in cards)),
        "source": "ensemble",
        "members": tuple(card.digest for card in cards),
        "macs": None if macs is None else int(macs) * (1 + flip),
        "seconds": seconds,
    }
    return save_model(folder, EnsembleNetwork((network for _, network in loaded), config).net, facts)


def _sum(values: Iterable[float | None]) -> float | None:
    all_values = list(values)
    return None if None in all_values else sum(value for value in all_values if value is not None)
