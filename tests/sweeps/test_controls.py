from pathlib import Path

import pytest

from kdtrain.errors import InputError
from sweeps.designs import Options, TimeRatio, ablation
from sweeps.driver.growth import growth
from sweeps.spec.controls import control_kinds
from sweeps.spec.spec import load_spec, parse_spec

SPACE = {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}}
PLACEBO = {"name": "cwd_placebo", "method": "cwd", "set": {"teacher_order": "shuffled"}}
LONGER = {"name": "longer", "method": "none", "set": {"epochs": 11}}
SMOOTHED = {"name": "smoothed", "method": "none", "set": {"terms.cross_entropy.smoothing": 0.1}}


def kinds(spec):
    return {study: str(kind) for study, kind in control_kinds(spec).items()}


def test_controls_of_a_comparison_are_known_by_what_they_train(fake):
    spec = fake.make_spec(studies=["none", "cwd", PLACEBO, LONGER, SMOOTHED, {"name": "again", "method": "none"}])
    expected = {"cwd_placebo": "placebo", "longer": "none_equal_time", "smoothed": "smoothed", "again": "none"}
    assert kinds(spec) == expected


def test_the_spec_has_the_last_word(fake):
    studies = ["none", "cwd", {**LONGER, "control": False}, {"name": "kd", "method": "kd", "control": True}]
    assert kinds(fake.make_spec(studies=studies)) == {"kd": "other"}


def test_without_a_teacher_nothing_is_a_control_and_other_losses_on_labels_are_none(fake):
    assert kinds(fake.make_spec(teacher=None, studies=["none", LONGER, SMOOTHED])) == {}
    dice = {"name": "dice", "terms": [{"loss": "cross_entropy"}, {"loss": "dice"}]}
    assert kinds(fake.make_spec(studies=["none", "kd", dice])) == {}


@pytest.mark.parametrize("design", ["leave-one-out", "add-one-in", "factorial"])
def test_cross_entropy_is_a_control_of_every_design_and_the_whole_config_of_none(fake, design):
    spec = fake.make_spec()
    content = spec.config_for(spec.study("cskd")).model_dump(mode="json")
    made = ablation(design, content, spec, options=Options(time_ratio=TimeRatio(2.0, "as given")))
    assert kinds(made) == {"none": "none", "none_equal_time": "none_equal_time", "placebo": "placebo"}


def test_a_recipe_of_cross_entropy_has_no_controls():
    assert kinds(load_spec(Path(__file__).parents[2] / "sweeps/specs/papers/recipe.yaml")) == {}


@pytest.mark.parametrize(
    ("studies", "message"),
    [
        ([{"name": "none", "method": "none", "baseline": True, "control": True}, "kd"], "for the baseline, got true"),
        ([{"name": "none", "method": "none", "control": True}, "kd"], "studies.none.control: .*first study without a"),
        (["none", {"name": "kd", "method": "kd", "control": "maybe"}], "control"),
    ],
)
def test_what_cannot_be_a_control_is_refused(fake, studies, message):
    with pytest.raises(InputError, match=message):
        fake.make_spec(studies=studies)


def test_a_declared_control_is_no_baseline(fake):
    longer = {"name": "longer", "method": "none", "set": {"epochs": 9}, "control": True}
    spec = fake.make_spec(studies=[longer, "none", "kd"])
    assert spec.baseline.name == "none"
    assert set(control_kinds(spec)) == {"longer"}


def test_a_begun_sweep_may_declare_its_controls(fake):
    begun = fake.content(studies=["none", "kd", "cwd"])
    later = fake.make_spec(studies=["none", {"name": "kd", "method": "kd", "control": True}, "cwd"])
    assert growth(begun, later, "D") == ["studies.kd.control: null -> true"]
    assert growth(begun, parse_spec(begun), "D") == []
