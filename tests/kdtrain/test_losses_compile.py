"""The losses of the source papers compile without a graph break, their options as tensors."""

import pytest
import torch
from loss_checks import compiles, labels_for, maps, serves_all

from kdtrain.losses import (
    adaptive_cross_entropy,
    blocks,
    cam_cka,
    channel_wise,
    cross_entropy,
    csc,
    divergence,
    grid_pam_cka,
    pixel_kd,
)
from kdtrain.losses.attention import draw_projections

torch.set_num_threads(1)

STUDENT, TEACHER = maps((4, 5, 6, 7))
LABELS = labels_for((4, 12, 14), 5)
TEMPERATURE, GAMMA = torch.tensor(2.0), torch.tensor(0.5)
PROJECTIONS = tuple(draw_projections(1, 5, "fixed", None, side) for side in ("student", "teacher"))


@pytest.mark.parametrize(
    ("loss", "given", "options"),
    [
        (cross_entropy, (LABELS,), {}),
        (pixel_kd, (TEACHER, TEMPERATURE), {}),
        (pixel_kd, (TEACHER, TEMPERATURE), {"labels": LABELS, "confidence": GAMMA, "reduction": "skd"}),
        (channel_wise, (TEACHER, TEMPERATURE), {"divergence": "symmetric"}),
        *((csc, (TEACHER, form), {}) for form in ("A", "B", "C", "E")),
        *((adaptive_cross_entropy, (TEACHER, LABELS, form), {"temperature": TEMPERATURE}) for form in ("soft", "swap")),
        (adaptive_cross_entropy, (TEACHER, LABELS, "threshold"), {"threshold": GAMMA, "ignored": "teacher"}),
        (cam_cka, (TEACHER, TEMPERATURE, GAMMA), {}),
        (cam_cka, (TEACHER, TEMPERATURE), {"samples": "pixels", "estimator": "unbiased", "distance": "one_minus"}),
        (grid_pam_cka, (TEACHER, TEMPERATURE, 0.0, 1), {}),
        (grid_pam_cka, (TEACHER, TEMPERATURE, GAMMA, 1), {"projection": PROJECTIONS}),
    ],
)
def test_one_graph(loss, given, options):
    compiles(loss, STUDENT, *given, **options)


@pytest.mark.parametrize(
    "loss", [pixel_kd, channel_wise, lambda s, t, T: csc(s, t, "A"), lambda s, t, T: csc(s, t, "A0")]
)
def test_one_graph_of_many_blocks(loss, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 100)
    monkeypatch.setattr(divergence, "BLOCK_ELEMENTS", 300)
    compiles(loss, STUDENT, TEACHER, TEMPERATURE)


@pytest.mark.parametrize(
    "loss",
    [
        pixel_kd,
        channel_wise,
        lambda s, t, value: adaptive_cross_entropy(s, t, LABELS, temperature=value),
        lambda s, t, value: cam_cka(s, t, gamma=GAMMA, temperature=value),
        lambda s, t, value: grid_pam_cka(s, t, value, GAMMA, 1, projection=PROJECTIONS),
    ],
)
def test_one_graph_serves_every_temperature(loss):
    serves_all(loss, STUDENT, TEACHER)
