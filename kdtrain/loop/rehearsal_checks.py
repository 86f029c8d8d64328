"""What one step of a training shows about its networks: whether they are what they seem to be."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from kdtrain.errors import InputError
from kdtrain.loop.run_files import STUDENT
from kdtrain.loop.setup import Run
from kdtrain.loop.step import StepResult
from kdtrain.loop.stop import what_diverged
from kdtrain.methods import Term
from kdtrain.models import TappedNetwork, build_network
from kdtrain.models.outputs import AUX, LOGITS, is_probability
from kdtrain.runtime.checkpoints import load_checkpoint, save_checkpoint
from kdtrain.runtime.scratch import scratch_folder
from kdtrain.teacher import load_model, save_model

_RANDOM = 1e-2
"""Differences between two passes of the same images above which they are random, in standard deviations of logits."""
_TRIES = 8
"""Passes in training mode before a parameter counts as one without a gradient: some networks skip blocks at random."""


@dataclass
class Seen:
    """What a network gave while it was watched.

    Attributes:
        maps: By layer, of its last pass.
        repeated: Layers whose module ran more than once in a pass.
        rivals: The most maps with the channels of the logits, without a name, that it returned in a pass.
        endless: Layers with minus infinity.
        broken: Layers with NaN or plus infinity.
        has_logits: Whether logits lay outside of 0 to 1 in a pass.
        probabilities: What every map of logits looked like, `softmax` or `sigmoid`; None if one did not.
    """

    maps: dict[str, Tensor] = field(default_factory=dict)
    rivals: int = 0
    repeated: set[str] = field(default_factory=set)
    endless: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    has_logits: bool = False
    probabilities: set[str | None] = field(default_factory=set)


@contextmanager
def watched(network: TappedNetwork) -> Iterator[Seen]:
    """Watch what a network gives in the block."""
    seen = Seen()

    def look(_module: nn.Module, _inputs: object, maps: dict[str, Tensor]) -> None:
        seen.maps = {layer: value.detach() for layer, value in maps.items()}
        seen.rivals = max(seen.rivals, network.rivals)
        seen.repeated |= network.repeated
        if (logits := maps.get(LOGITS)) is not None:
            seen.probabilities.add(is_probability(logits))
            seen.has_logits |= bool(((logits < 0) | (logits > 1)).any())
        for layer, value in seen.maps.items():
            if not bool(value.isfinite().all()):
                (seen.endless if bool((value < torch.inf).all()) else seen.broken).add(layer)

    hook = network.register_forward_hook(look)
    try:
        yield seen
    finally:
        hook.remove()


def check_teacher(seen: Seen, layers: set[str]) -> Iterator[str]:
    """Notes on a teacher after a step of its student.

    Args:
        seen: What the teacher gave.
        layers: Its layers that the terms compare.

    Raises:
        InputError: If its maps hold NaN, or its logits are probabilities.
    """
    if broken := sorted(seen.broken & layers):
        raise InputError(
            f"teacher: its map at {broken[0]} holds NaN or infinity for images of the role train; import or fit the "
            "teacher again"
        )
    if LOGITS in layers:
        if kind := _kind(seen.probabilities):
            raise InputError(_not_logits("teacher: it", kind))
        if seen.rivals > 1:
            yield (
                f"the teacher returns {seen.rivals} maps with one channel per class, of which the first one teaches; "
                "name the logits out if another one is the prediction"
            )
    for layer in sorted(seen.repeated & layers):
        yield f"the teacher's module {layer} runs more than once in a pass: the map of its last run is taken"
    if endless := sorted(seen.endless & layers):
        yield f"the teacher's map at {endless[0]} holds minus infinity, which losses take as a probability of 0"


def check_built(run: Run) -> Iterator[str]:
    """Notes on a student of the user's before the first step: whether it can be built again, with the same weights.

    Raises:
        InputError: If the second network is the first one, so that trainings would go on with each other's weights.
    """
    config = run.config.student
    if not config.is_custom:
        return
    net = run.student.net
    again = build_network(config, run.num_classes, run.config.seed).net
    if {id(value) for value in net.parameters()} & {id(value) for value in again.parameters()}:
        raise InputError(
            f"arch: {config.arch} must build a new network in every call, got the same one twice, which would go on "
            "from the weights of other trainings; build the network inside of the function"
        )
    first, second = ([value for value in of.state_dict().values() if isinstance(value, Tensor)] for of in (net, again))
    if not all(torch.equal(one, two.to(one)) for one, two in zip(first, second, strict=True)):
        yield (
            f"the starting weights of {config.arch} differ from one build to the next with one seed, so that trainings "
            "cannot be repeated; draw them with torch's generator, or set the seed of another one in the function"
        )


def check_step(result: StepResult, run: Run, seen: Seen, teacher: Seen) -> None:
    """Raise InputError if a map of the student, a loss, or a weight after the step is not finite.

    Args:
        result: Of the step.
        run: The training.
        seen: What the student gave.
        teacher: What the teacher gave.
    """
    if endless := sorted(seen.broken | seen.endless):
        raise InputError(
            f"the student's map at {endless[0]} holds NaN or infinity in the first step; look for a division, a "
            "logarithm or a mask of infinity in it"
        )
    for name, value in result.raw.items():
        if not bool(value.isfinite().all()):
            if layers := teacher.endless & set(_term(run, name).teacher_layers):
                raise InputError(
                    f"teacher: its map at {sorted(layers)[0]} holds minus infinity, which {name} cannot compare; give "
                    "the teacher finite logits, such as -100 for a class that it leaves out"
                )
            raise InputError(
                f"the loss of {name} is {float(value):g} in the first step; look at the term's options, the labels and "
                "the layers that it compares"
            )
    if diverged := what_diverged(None, run.trained):
        raise InputError(
            f"{diverged} not finite after the first step, though all losses were; look for a square root, a logarithm "
            "or a division in the student that has no finite gradient at 0, or lower optimizer.lr"
        )


def check_logits(run: Run, images: Tensor, seen: Seen) -> None:
    """Raise InputError if the student's logits in training mode have other classes than the data, or another shape.

    Args:
        run: The training.
        images: The images of the step.
        seen: What the student gave in the step.
    """
    for layer in (LOGITS, AUX):
        if layer in seen.maps and (channels := seen.maps[layer].shape[1]) != run.num_classes:
            raise InputError(
                f"the student's map at {layer} must have {run.num_classes} channels in training mode, one per class, "
                f"got {channels}"
            )
    (height, width), (rows, columns) = images.shape[-2:], seen.maps[LOGITS].shape[-2:]
    if rows == columns == 1 < min(height, width):
        raise InputError(
            f"the student must return a map of logits, got one value per class for images of {height} x {width}, as a "
            "network that classifies whole images does"
        )
    if (height - width) * (rows - columns) < 0:
        raise InputError(
            f"the student must return logits of the form (N, classes, height, width), got maps of {rows} x {columns} "
            f"for images of {height} x {width}: height and width are exchanged"
        )


def check_student(run: Run, images: Tensor, seen: Seen) -> Iterator[str]:
    """Notes on the student after its first step.

    Args:
        run: The training, whose gradients are those of the step.
        images: Some images of the step's batch.
        seen: What the student gave in the step.

    Raises:
        InputError: If the prediction rests on parameters that are not trained, if one of several outputs had to be
            guessed, or if the logits are probabilities.
    """
    student = run.student
    untrained = {name: p for name, p in student.net.named_parameters() if p.requires_grad and p.grad is None}
    idle = _without_gradient(run, student.eval(), images[:1], untrained, of_logits=True)
    # idle parameters of the library's networks are not reported, and so not tried again
    untrained = _never_with_gradient(run, images, untrained, () if run.config.student.is_custom else idle)
    student.eval()
    if predicting := [name for name in untrained if name not in idle]:
        raise InputError(
            f"{_parameters(predicting)} of the student decide its prediction in evaluation mode, but get no "
            "gradient in training: another output is trained than is evaluated, or a part is meant to be frozen; "
            "return the logits that predict first, or as out, and set requires_grad to False on what is frozen"
        )
    with torch.no_grad(), run.autocast(), watched(student) as evaluated:
        student(images[:1])
    if kind := _kind(evaluated.probabilities):
        if None not in seen.probabilities:
            raise InputError(_not_logits("the student", kind))
        if seen.has_logits:
            yield (
                f"the student returns logits in training, and what looks like the output of a {kind} in evaluation "
                "mode: it cannot be a teacher"
            )
    elif kind := _kind(seen.probabilities):
        raise InputError(_not_logits("the student in training mode", kind))
    if evaluated.rivals > 1:
        several = f"the student returns {evaluated.rivals} maps with one channel per class"
        if untrained:
            raise InputError(
                f"{several}, and {_parameters(untrained)} get no gradient, because the first map is taken as the "
                "prediction; return the prediction alone, or a dict with out, and perhaps aux for another head that is "
                "to be trained"
            )
        yield f"{several}, of which the first one is its prediction; name the logits out if another one is"
    if untrained and run.config.student.is_custom:  # a shallow encoder of the library leaves blocks out
        yield f"{_parameters(untrained)} of the student get no gradient and stay as they are"
    for layer in sorted(seen.repeated):
        yield f"the student's module {layer} runs more than once in a pass: the map of its last run is taken"
    if student.contiguous:
        yield "the student does not take maps in channels-last order and is trained in contiguous order, perhaps slower"


def check_saved(run: Run, images: Tensor, folder: Path) -> Iterator[str]:
    """Save a checkpoint and the student, and compare the loaded student with this one; notes on it.

    Raises:
        InputError: If the student has state that cannot be saved, or computes something else once it is loaded.
    """
    student = run.student.eval()
    with scratch_folder(folder) as place:
        _check_state(student.net)
        save_checkpoint(place, 1, run.state_dict())
        run.load_state_dict(load_checkpoint(place) or {})
        student.tap(())
        with torch.no_grad():
            before = student.logits(images[:1]).float()
            again = student.logits(images[:1]).float()
        network = run.config.student.model_copy(update={"weights": "none"})
        facts = {"network": network, "classes": run.classes, "trained_on": run.config.data.name_with_roles}
        save_model(place / STUDENT, student.net, facts)
        _, loaded = load_model(place / STUDENT, seed=run.config.seed + 1)
        with torch.no_grad():
            after = loaded.place(run.device).logits(images[:1]).float()
    scale = before.std() + 1e-6
    noise = (again - before).abs().max() / scale
    if (after - before).abs().max() / scale > 0.05 + 4 * noise:
        raise InputError(
            "the student computes other logits once it is saved and loaded: it has state that is in none of its "
            "parameters and buffers, or in a buffer with persistent=False, which training changes or which is drawn at "
            "random; register the state as a buffer"
        )
    if noise > _RANDOM:
        yield (
            "the student computes other logits each time in evaluation mode, so scores depend on luck; use dropout of "
            "torch.nn, which evaluation mode turns off"
        )


def _check_state(net: nn.Module) -> None:
    for name, value in net.state_dict().items():
        if not isinstance(value, Tensor):
            raise InputError(
                f"the student cannot be saved: its state {name} must be a tensor, got {type(value).__name__}; return "
                "a tensor from get_extra_state, or leave it out"
            )


def _never_with_gradient(
    run: Run, images: Tensor, parameters: dict[str, nn.Parameter], idle: Collection[str]
) -> dict[str, nn.Parameter]:
    """The idle parameters, and those on which the maps of several passes in training mode do not depend."""
    student = run.student.train()
    tried = {name: parameter for name, parameter in parameters.items() if name not in idle}
    for number in range(_TRIES if tried else 0):
        torch.manual_seed(number)
        tried = _without_gradient(run, student, images, tried)
    return {name: parameter for name, parameter in parameters.items() if name in tried or name in idle}


def _without_gradient(
    run: Run, student: TappedNetwork, images: Tensor, parameters: Mapping[str, nn.Parameter], of_logits: bool = False
) -> dict[str, nn.Parameter]:
    """The parameters on which the maps of a pass (or its logits alone) do not depend."""
    if not parameters:
        return {}
    with torch.enable_grad(), run.autocast(), run.group.whole_batch_norm():
        maps = student(images)
    used = {LOGITS} if of_logits else {layer for term in run.schedules.terms for layer in term.student_layers}
    total = torch.stack([maps[layer].float().sum() for layer in sorted(used)]).sum()
    gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    return {
        name: parameter
        for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True)
        if gradient is None
    }


def _term(run: Run, name: str) -> Term:
    return next(term for term in run.schedules.terms if term.name == name)


def _kind(probabilities: set[str | None]) -> str | None:
    """`softmax` or `sigmoid`, if all maps looked like one of them."""
    if not probabilities or None in probabilities:
        return None
    return "sigmoid" if "sigmoid" in probabilities else "softmax"


def _not_logits(what: str, kind: str) -> str:
    return (
        f"{what} must return logits, but what it returns looks like the output of a {kind} (all values lie between 0 "
        f"and 1{', and add up to 1 over the classes' if kind == 'softmax' else ''}); leave the activation out"
    )


def _parameters(names: Mapping[str, object] | list[str]) -> str:
    first, count = next(iter(names)), len(names)
    return f"the parameter {first}" if count == 1 else f"{count} parameters (first: {first})"
