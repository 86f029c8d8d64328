"""Students in one line of a space: written out to dotted paths; those that cannot be built are counted in the plan."""

import pytest

from kdtrain.errors import InputError
from kdtrain.models import build_network
from kdtrain.space import Choice, Range
from sweeps.driver.limits import students_of
from sweeps.driver.space_check import check_space
from sweeps.spec.overrides import overridden
from sweeps.spec.spec import parse_spec

OPTIONS = {"encoder_depth": [3, 5], "decoder_pyramid_channels": [16, 64]}


def test_the_paths_below_a_part_of_a_path_are_written_out(fake):
    nested = {"student": {"encoder": ["resnet18", "resnet34"], "options": OPTIONS}, "optimizer": {"lr": [0.1, 0.2]}}
    dotted = {
        "student.encoder": ["resnet18", "resnet34"],
        "student.options.encoder_depth": [3, 5],
        "student.options.decoder_pyramid_channels": [16, 64],
        "optimizer.lr": [0.1, 0.2],
    }
    spec, same = (fake.make_spec(studies=["none"], space=space) for space in (nested, dotted))
    assert spec == same
    assert spec.digest == same.digest
    assert list(spec.space) == list(dotted)
    students = students_of(spec, spec.studies[0])
    assert len(students) == 8
    assert students[0].options == {"encoder_depth": 3, "decoder_pyramid_channels": 16}


def test_a_space_may_hold_the_scale_of_the_images(fake):
    space = {"student": {"encoder": ["resnet18"], "scale": [0.5, 0.75, 1.0]}}
    spec = fake.make_spec(studies=["none"], space=space)
    (study,) = spec.studies
    assert [student.scale for student in students_of(spec, study)] == [0.5, 0.75, 1.0]
    assert spec.config_for(study, {"student.scale": 1.0}) == spec.config_for(study)
    assert spec.published_outside(study) == {"student.encoder": spec.student.encoder}
    searched = fake.make_spec(studies=["none"], space={"student.scale": {"low": 0.5, "high": 1.0}})
    assert searched.defaults(searched.studies[0]) == {"student.scale": 1.0}


def test_a_study_writes_its_space_in_the_same_way(fake):
    lr = {"low": 0.01, "high": 0.1}
    study = {"name": "own", "method": "none", "space": {"student": {"encoder": ["resnet18"]}, "optimizer": {"lr": lr}}}
    spec = fake.make_spec(studies=[study], space={})
    assert spec.studies[0].space == {
        "student.encoder": Choice(choices=("resnet18",)),
        "optimizer.lr": Range(low=0.01, high=0.1),
    }


def test_a_changed_path_leads_into_what_is_written_out(fake):
    content = fake.content(studies=["none"], space={"student": {"encoder": ["resnet18", "resnet34"]}})
    changed = parse_spec(overridden(content, {"space.student.encoder": ["resnet50"], "space.student.arch": ["Unet"]}))
    assert changed.space == {
        "student.encoder": Choice(choices=("resnet50",)),
        "student.arch": Choice(choices=("Unet",)),
    }


@pytest.mark.parametrize(
    ("space", "error"),
    [
        ({"student": {"encoder": ["a"]}, "student.encoder": ["b"]}, "student.encoder: is given twice"),
        ({"optimizer.lr": {"lo": 0.001, "high": 0.1}}, "lo: unknown key; did you mean low?"),
        ({"student": {"encodr": ["resnet18"]}}, "student has no encodr; did you mean encoder?"),
        ({"student": {}}, "space: student"),
        ({"student": {"encoder": "resnet18"}}, "space: student: a range is a list of choices or a mapping"),
    ],
)
def test_a_wrong_space_is_refused(fake, space, error):
    with pytest.raises(InputError) as raised:
        fake.make_spec(studies=["none"], space=space)
    assert error in str(raised.value)


def test_the_plan_counts_the_students_that_cannot_be_built(fake):
    space = {
        "student": {"arch": ["FPN", "Unet"], "encoder": ["tu-mobilenetv3_small_050"], "options": {"upsampling": [4, 2]}}
    }
    spec = fake.make_spec(studies=["none"], space=space)
    said = check_space(spec, spec.studies[0], lambda config: build_network(config.student, 3)).sentence()
    assert said.startswith("none: 2 of 4 students of its space cannot be built; ")
    assert (
        "The first: student.arch=Unet, student.encoder=tu-mobilenetv3_small_050, student.options.upsampling=4: " in said
    )
    fine = fake.make_spec(studies=["none"], space={"student": {"encoder": ["tu-mobilenetv3_small_050"]}})
    assert check_space(fine, fine.studies[0], lambda config: build_network(config.student, 3)).sentence() is None
