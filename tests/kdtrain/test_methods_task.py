"""Terms against the labels, and the methods made of them."""

import pytest
import torch
from loss_checks import labels_for, maps

from kdtrain.errors import InputError
from kdtrain.losses import cross_entropy, dice, pixel_kd
from kdtrain.methods import METHODS, TermInput, parse_term

torch.set_num_threads(1)


def taps(teacher=False):
    student, taught = maps((2, 4, 6, 7))
    return TermInput((student,), (taught,) if teacher else (), labels_for((2, 12, 14), 4), 4, 255)


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (cross_entropy, {"keep_hardest": 0.1, "hard_below": 0.2, "smoothing": 0.1}),
        (cross_entropy, {"boundary_weight": 3.0, "boundary_radius": 2, "align_corners": False}),
        (dice, {}),
        (dice, {"scope": "image", "squared": True, "skip_absent": False, "smooth": 0.1, "align_corners": False}),
    ],
)
def test_terms_hand_their_options_on(loss, options):
    inputs = taps()
    value = parse_term({"loss": loss.__name__, **options}).value(inputs)
    assert value == loss(inputs.student, inputs.labels, **options)
    if options:
        assert value != loss(inputs.student, inputs.labels)


def test_distillation_from_confident_pixels():
    inputs = taps(teacher=True)
    term = parse_term({"loss": "pixel_kd", "temperature": 2.0, "confidence": 0.6, "mask_ignored": True})
    options = {"confidence": 0.6, "labels": inputs.labels}
    assert term.value(inputs) == pixel_kd(inputs.student, inputs.teachers[0], 2.0, **options)
    with pytest.raises(InputError, match=r"confidence: .* less than or equal to 1"):
        parse_term({"loss": "pixel_kd", "confidence": 1.5})


@pytest.mark.parametrize("name", ["none", "dice_ce", "ohem", "boundary_ce"])
def test_methods_that_need_no_teacher(name):
    method, inputs = METHODS[name], taps()
    assert not method.needs_teacher
    values = [term.build({"logits": (4, 6, 7)}, {}, 4)(inputs) for term in method.terms]
    assert all(value > 0 for value in values)
    sum(values).backward()
    assert inputs.student.grad.abs().max() > 0
