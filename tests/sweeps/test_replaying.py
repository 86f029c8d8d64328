"""What a sweep plans to record."""

import pytest
from sweep_command import LIBRARY_NETWORK

from kdtrain.config import Machine, TrainConfig
from sweeps.attempt.replay_plan import plan_replay
from sweeps.check import check
from sweeps.spec.spec import parse_spec

IMAGES, SIZE = 100, (32, 48)
SHAPES = {"logits": (5, 8, 12), "decoder": (16, 8, 12), "encoder.4": (64, 2, 3)}
SAMPLES = IMAGES * 32 * 48 * 4  # three colors and labels, a byte each
BYTES = {"logits": IMAGES * 5 * 8 * 12 * 4, "decoder": IMAGES * 16 * 8 * 12 * 4, "encoder.4": IMAGES * 64 * 2 * 3 * 4}


def kd(**changes):
    content = {"terms": [{"loss": "cross_entropy"}, {"loss": "pixel_kd"}], "teacher": "feedfacefeedface", "epochs": 10}
    return TrainConfig.parse(content | changes)


@pytest.fixture
def plan(fake):
    def made(size, *configs, shapes=SHAPES, kernels=None, half=False):
        spec = fake.make_spec(replay={"gigabytes": size / 1e9})
        return plan_replay(spec, configs or [kd()], IMAGES, SIZE, shapes, kernels or {}, half)

    return made


def test_all_views_of_all_layers_where_there_is_room(plan):
    found = plan(10 * (SAMPLES + sum(BYTES.values())))
    assert (found.views, found.stored, found.live) == (10, 10, ())
    assert (found.sample_bytes, dict(found.layer_bytes)) == (SAMPLES, BYTES)
    (line,) = found.lines()
    assert "10 of 10 views recorded once per seed" in line


def test_the_largest_layer_is_live_first(plan):
    found = plan(10 * (SAMPLES + BYTES["logits"] + BYTES["encoder.4"]))
    assert found.live == ("decoder",)
    assert found.stored == 10
    assert found.lines()[-1].endswith("every trial computes them with the teacher: decoder")


def test_where_not_even_the_smallest_layer_fits_some_views_of_it_do(plan):
    found = plan(4 * (SAMPLES + BYTES["encoder.4"]) + 1)
    assert (found.views, found.stored, found.live) == (10, 4, ("logits", "decoder"))
    assert "the other views are made live" in found.lines()[1]


def test_views_that_come_again_are_recorded_once(plan):
    room = 10 * (SAMPLES + sum(BYTES.values()))
    assert plan(room, kd(views=3)).stored == 3
    assert plan(room, kd(views=30)).stored == 10
    assert plan(room, kd(views=3), kd(views=3, epochs=2)).stored == 3


def test_rounded_answers_take_half_unless_a_study_wants_them_whole(plan):
    room = 10 * (SAMPLES + sum(BYTES.values()))
    rounded, untaught = kd(teacher_rounding="bfloat16"), TrainConfig(epochs=10)
    assert plan(room, rounded, untaught).layer_bytes["logits"] == BYTES["logits"] / 2
    assert plan(room, rounded, kd()).layer_bytes["logits"] == BYTES["logits"]


def test_maps_of_half_precision_take_half(plan):
    room = 10 * (SAMPLES + sum(BYTES.values()))
    assert plan(room, kd(), half=True).layer_bytes == {layer: size / 2 for layer, size in BYTES.items()}


def test_without_room_nothing_is_recorded(plan, tmp_path):
    found = plan(0)
    assert found.stored == 0
    assert "off" in found.lines()[0]


def test_what_a_loss_needs_beside_maps_has_its_room(plan, tmp_path):
    kernels = {"cam_cka": 200, "grid_pam_cka": 5000}
    found = plan(10 * (SAMPLES + BYTES["logits"] + BYTES["encoder.4"] + IMAGES * 5200), kernels=kernels)
    assert (found.stored, found.live) == (10, ("decoder",))
    assert found.view_bytes == SAMPLES + BYTES["logits"] + BYTES["encoder.4"] + IMAGES * 5200
    assert "cam_cka and grid_pam_cka need 0.52 MB" in found.lines()[0]
    assert "(but for cam_cka and grid_pam_cka, which are recorded by themselves)" in found.lines()[-1]
    assert found.on(Machine(cache=tmp_path)).replay.kernels
    assert not plan(10**9).on(Machine(cache=tmp_path)).replay.kernels


@pytest.mark.parametrize(
    ("space", "recorded"),
    [
        ({}, True),
        ({"terms.cam_cka.temperature": {"choices": [1, 2]}}, True),
        ({"terms.cam_cka.temperature": {"low": 1, "high": 4}}, False),
    ],
)
def test_kernels_that_no_two_trials_share_are_not_recorded(space, recorded, tmp_path):
    spec = parse_spec(
        {
            "name": "kernels",
            "data": {"name": "streets", "size": [64, 96], "counts": {"train": 16, "select": 2, "test": 1}},
            "student": LIBRARY_NETWORK,
            "teacher": {"fit": {"network": LIBRARY_NETWORK, "epochs": 1}},
            "train": {"epochs": 2, "batch_size": 8},
            "studies": ["kd", {"method": "cskd", "space": space}],
            "budget": {"trials": 2},
        }
    )
    found = check(spec, Machine(cache=tmp_path)).replay
    rows = {"cam_cka": 16 * 8 * 3 * 8, "grid_pam_cka": 16 * 8 * 3 * 8 * 20}
    assert dict(found.kernel_bytes) == (rows if recorded else {})
