"""The defaults of all methods pull alike on maps of any size and batches of any number of images."""

import pytest
import torch

from kdtrain.methods import METHODS
from kdtrain.methods.modules.base import TermInput

torch.set_num_threads(1)

CLASSES, FEATURES = 7, (6, 8)
"""Channels of class maps, and of the features of student and teacher."""
IMAGES, SIZE = 3, (5, 10)
FACTOR = {"masked_generation": 2.0, "memory_relation": 1.5, "local_affinity": 1.5}
"""How much the length may change: more for masks and pixels that are drawn, and for neighbours, which the border has
fewer of; see `test_a_gradient_keeps_its_length`."""
USUAL = 1.1


def _terms():
    terms = {}
    for name, method in METHODS.items():
        for term in method.terms:
            key = term.model_dump_json(exclude={"name", "weight", "schedule"})
            terms.setdefault(key, pytest.param(term, id=f"{name}-{term.name}"))
    return list(terms.values())


def length(term, enlarged=2, repeated=1):
    """The length of the gradient with respect to small maps that are shown `enlarged` times as high and as wide.

    Every pixel becomes a square of pixels, and every image stands `repeated` times in the batch.
    """
    source = torch.Generator().manual_seed(0)

    def drawn(layer, channels):
        classes = layer in ("logits", "aux") or term.equal_channels
        values = torch.randn(IMAGES, CLASSES if classes else channels, *SIZE, generator=source)
        return 2 * values if classes else values.relu()

    def shown(values):
        large = values.repeat_interleave(enlarged, -2).repeat_interleave(enlarged, -1)
        return torch.cat([large] * repeated)

    small = [drawn(layer, FEATURES[0]).requires_grad_() for layer in term.student_layers]
    students = tuple(map(shown, small))
    teachers = tuple(shown(drawn(layer, FEATURES[1])) for layer in term.teacher_layers)
    labels = shown(torch.randint(CLASSES, (IMAGES, *SIZE), generator=source))
    inputs = TermInput(students, teachers, labels, CLASSES, 255, torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    shapes = [
        {layer: tuple(values.shape[1:]) for layer, values in zip(layers, sides, strict=False)}
        for layers, sides in ((term.student_layers, students), (term.teacher_layers, teachers))
    ]
    value = term.build(*shapes, CLASSES)(inputs)
    gradients = torch.autograd.grad(value, small)
    return float(torch.cat([gradient.flatten() for gradient in gradients]).norm())


@pytest.mark.parametrize("term", _terms())
def test_a_gradient_keeps_its_length(term):
    usual, most = length(term), FACTOR.get(term.loss, USUAL)
    for change in ({"enlarged": 4}, {"enlarged": 8}, {"repeated": 2}):
        assert 1 / most < length(term, **change) / usual < most, change


@pytest.mark.parametrize(
    ("name", "term", "change", "least"),
    [
        ("at", "attention_transfer", {"enlarged": 4}, 3.9),
        ("dsd", "pixel_similarity", {"enlarged": 4}, 3.9),
        ("dsd", "category_similarity", {"enlarged": 4}, 15),
        ("mgd", "masked_generation", {"enlarged": 4}, 3),
        ("skd", "pixel_kd", {"repeated": 2}, 1.9),
    ],
)
def test_the_published_reductions_do_not(name, term, change, least):
    published = {each.name: each for each in METHODS[name].published}[term]
    ratio = length(published, **change) / length(published)
    assert max(ratio, 1 / ratio) > least


def test_what_is_published_differs_from_the_defaults():
    for method in METHODS.values():
        assert method.published != method.terms
