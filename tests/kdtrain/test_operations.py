"""What losses and steps ask of a GPU: few operations, and no wait. Counted on tensors without content."""

import operations
import pytest
import torch
from loss_checks import labels_for, maps
from operations import ALLOWED, SIZES, definition_of, passes

from kdtrain import losses
from kdtrain.data.crops import finished
from kdtrain.loop.batches import moved
from kdtrain.loop.placebo import in_order
from kdtrain.loop.schedules import Clock
from kdtrain.loop.setup import build
from kdtrain.loop.step import TrainStep
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.losses import blocks
from kdtrain.losses.attention import random_projections
from kdtrain.methods import METHODS, options_of
from kdtrain.runtime.operations import OperationCounter
from kdtrain.runtime.process_group import ALONE

SIZE = "45x60"
LAYERS = ("student_layer", "teacher_layer")
TERMS = {str(options_of(term)): term for method in METHODS.values() for term in method.terms}
FORMS = {
    f"{loss} {field}={value!r}": next(term for term in TERMS.values() if term.loss == loss).model_copy(
        update={field: value}
    )
    for loss, field, values in (
        ("csc", "form", ("A0", "B", "C", "D", "E")),
        ("adaptive_cross_entropy", "form", ("soft", "threshold", "swap")),
        ("cam_cka", "samples", ("pixels",)),
        ("grid_pam_cka", "samples", ("pixels",)),
        ("local_affinity", "neighbours", (24,)),
    )
    for value in values
}
LIMITS = {"cross_image_relation": 1400, "memory_relation": 430}
"""Operations of the losses whose definition has thousands: some 25 for each block of pairs that memory asks for."""
TRAINS_A_NETWORK = ("holistic",)
"""Losses that take a training step of a discriminator, which is most of their operations."""


@pytest.mark.parametrize("term", [*TERMS.values(), *FORMS.values()], ids=lambda term: term.name)
def test_a_loss_launches_few_operations_and_never_waits(term):
    forward, backward = passes(term, SIZE)
    assert [*forward.waits, *backward.waits] == []
    launched = forward.launched + backward.launched
    if launched > ALLOWED and term.loss not in TRAINS_A_NETWORK:
        limit = LIMITS.get(term.loss)
        assert launched <= (ALLOWED + (definition_of(term, SIZE) or 0) if limit is None else limit)


def test_the_limit_is_that_of_the_definition():
    """A loss that is computed in the small blocks of a CPU breaks it."""
    before, blocks.ACCELERATOR_ELEMENTS = blocks.ACCELERATOR_ELEMENTS, 2**18
    try:
        row = operations.count_term("cwd_feature", METHODS["cwd_feature"].terms[1], SIZE)
    finally:
        blocks.ACCELERATOR_ELEMENTS = before
    assert row.beyond > ALLOWED


STUDENT, TEACHER = maps((3, 5, 8, 12))
_, WIDER = maps((3, 7, 8, 12), seed=1)
LABELS = labels_for((3, 16, 24), 5)
PROJECTIONS = tuple(random_projections(1, side.shape[1], torch.Generator().manual_seed(1)) for side in (STUDENT, WIDER))
IN_BOTH_WAYS = {
    "pixel_kd": lambda s: losses.pixel_kd(s, TEACHER, 2.0),
    "channel_wise": lambda s: losses.channel_wise(s, TEACHER),
    **{
        f"csc {form} {first}": lambda s, form=form, first=first: losses.csc(s, TEACHER, form, include_zero_shift=first)
        for form, first in (("A", True), ("A", False), ("A0", True), ("A0", False), ("B", True), ("C", True))
    },
    "ace": lambda s: losses.adaptive_cross_entropy(s, TEACHER, LABELS),
    "pairwise": lambda s: losses.pairwise(s, WIDER),
    "cross_image_relation": lambda s: losses.cross_image_relation(s, WIDER),
    "cross_image_relation, cold": lambda s: losses.cross_image_relation(s, TEACHER, 0.01),
    "attention_transfer": lambda s: losses.attention_transfer(s, WIDER),
    **{
        f"local_affinity {count} {contrast}": lambda s, count=count, contrast=contrast: losses.local_affinity(
            s, TEACHER, neighbours=count, contrast=contrast
        )
        for count in (8, 24)
        for contrast in ("absolute", "relative")
    },
    "cam_cka": lambda s: losses.cam_cka(s, WIDER, 2.0, 0.5),
    "grid_pam_cka": lambda s: losses.grid_pam_cka(s, WIDER, 2.0, 0.5, 3, projection=PROJECTIONS),
}


@pytest.mark.parametrize("name", IN_BOTH_WAYS)
def test_the_way_of_a_gpu_gives_the_values_of_that_of_a_cpu(name, monkeypatch):
    def computed():
        student = STUDENT.detach().clone().requires_grad_()
        value = IN_BOTH_WAYS[name](student)
        return value.detach(), torch.autograd.grad(value, student)[0]

    small = computed()
    monkeypatch.setattr(blocks, "WITHOUT_LAUNCHES", frozenset())
    large = computed()
    torch.testing.assert_close(large[0], small[0], rtol=2e-6, atol=0)
    torch.testing.assert_close(large[1], small[1], rtol=1e-4, atol=1e-6 * float(small[1].abs().max()))


def on_tiny_layers(term):
    """A term at layers that the tiny network has."""
    tiny = {"encoder.4": "decoder", "encoder.last": "decoder", "aux": "logits"}
    layers = {side: ",".join(tiny.get(layer, layer) for layer in term[side].split(",")) for side in LAYERS}
    return term | layers


@pytest.mark.parametrize("method", METHODS)
def test_a_whole_step_never_waits(method, make_config, machine):
    terms = [on_tiny_layers(term.model_dump()) for term in METHODS[method].terms]
    config = make_config(method, augment={"photometric": 0.2}, batch_size=4, terms=terms)
    run = build(config, machine.model_copy(update={"device": "meta"}), ALONE)
    run.trained.train()
    step = TrainStep(run)
    batch = next(moved(run.source.epoch(0), torch.device("cpu")))
    batch = batch._replace(images=batch.images.to("meta"), labels=batch.labels.to("meta"))
    with OperationCounter():
        step(batch, Clock(0, 0), Stopwatch())  # the first step prepares what later ones use
    with OperationCounter() as counter:
        step(batch, Clock(1, 1), Stopwatch())
    assert counter.launched > 50
    assert counter.waits == []


def test_a_batch_is_finished_on_the_device_without_a_wait(make_config, machine):
    run = build(make_config("none", augment={"photometric": 0.2}), machine, ALONE)
    crops = next(run.source.epoch(0)).crops.with_tensors(lambda values: values.to("meta"))
    with OperationCounter() as counter:
        finished(crops)
    assert 0 < counter.launched <= 20
    assert counter.waits == []


def test_placebo_never_waits():
    maps = {"logits": torch.empty(4, 2, 3, 3, device="meta")}
    with OperationCounter() as counter:
        in_order("shuffled", maps, 0, 0, 0)
    assert counter.waits == []
    assert counter.launched > 0


class TestCounter:
    @pytest.mark.parametrize(
        "ask",
        [
            lambda x: float(x.sum()),
            lambda x: bool((x > 0).any()),
            lambda x: x[x > 0],
            lambda x: x.nonzero(),
            lambda x: torch.ones(3).to("meta"),
            lambda x: x[[0, 1]],
            lambda x: x.index_put((x > 0,), x.new_zeros(())),
        ],
    )
    def test_finds_a_wait(self, ask):
        x = torch.empty(3, 4, device="meta")
        with OperationCounter() as counter:
            ask(x)
        assert len(counter.waits) == 1

    def test_views_and_allocations_launch_nothing(self):
        x = torch.empty(3, 4, device="meta")
        with OperationCounter() as counter:
            x.view(4, 3).mT[:2].unflatten(1, (2, -1)).expand(2, -1, -1).new_empty(3)
            torch.ones(3).to("meta", non_blocking=True)
            torch.ones(3) + 1
        assert dict(counter.operations) == {"_to_copy": 1}
        assert counter.waits == []

    def test_counts_the_backward_pass(self):
        x = torch.empty(3, 4, device="meta", requires_grad=True)
        with OperationCounter() as counter:
            (x * x).sum().backward()
        assert counter.operations["mul"] == 3
        assert counter.launched == counter.operations.total() > 4

    def test_says_where(self):
        with OperationCounter() as counter:
            losses.maps.root(torch.empty(2, device="meta")).sum().item()
            losses.dist(torch.empty(2, 3, 4, 5, device="meta"), torch.empty(2, 3, 4, 5, device="meta"))
        (wait,) = counter.waits
        assert wait.startswith("_local_scalar_dense at ")


def test_sizes_are_those_of_the_benchmark():
    assert SIZE in SIZES
