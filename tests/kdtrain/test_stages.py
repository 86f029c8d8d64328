"""Inner layers are compared first, and the task is learned after that."""

import pytest

from kdtrain import InputError, train
from kdtrain.loop.schedules import Clock, Schedules
from kdtrain.methods import METHODS, parse_term
from kdtrain.methods.stages import Stages
from kdtrain.runtime.checkpoints import load_checkpoint


def test_terms_of_inner_layers_come_first():
    def factors(compares_features, **options):
        return [Stages(**options).factor(compares_features, step, 10) for step in range(10)]

    for compares_features in (True, False):
        assert factors(compares_features) == factors(compares_features, features_after=False) == [1.0] * 10
    assert factors(True, features=0.35) == [1.0] * 10
    assert factors(True, features=0.35, features_after=False) == [1.0] * 4 + [0.0] * 6
    assert factors(False, features=0.35) == [0.0] * 4 + [1.0] * 6


@pytest.mark.parametrize(
    ("term", "compares_features"),
    [
        ({"loss": "cross_entropy"}, False),
        ({"loss": "pixel_kd"}, False),
        ({"loss": "attention_transfer", "student_layer": "encoder.3", "teacher_layer": "block.9"}, True),
        ({"loss": "attention_transfer", "student_layer": "encoder.3,logits", "teacher_layer": "a,b"}, False),
        ({"loss": "attention_transfer", "student_layer": "encoder.3", "teacher_layer": "logits"}, False),
        ({"loss": "cross_entropy", "student_layer": "aux"}, False),
    ],
)
def test_which_terms_compare_inner_layers(term, compares_features):
    assert parse_term(term).compares_features is compares_features


@pytest.mark.parametrize("features_after", [True, False])
def test_a_training_of_two_stages(make_config, machine, features_after):
    config = make_config("fitnet", stages={"features": 0.5, "features_after": features_after})
    result = train(config, machine)
    for report in result.reports[:2]:
        assert report.losses["cross_entropy"] == {"weighted": 0.0}
        assert report.losses["fitnet"]["weighted"] > 0
    for report in result.reports[2:]:
        assert report.losses["cross_entropy"]["weighted"] > 0
        assert (report.losses["fitnet"]["weighted"] > 0) is features_after
        assert ("teacher" in report.seconds) is features_after


def test_the_second_stage_begins_in_the_middle_of_an_epoch(make_config):
    config = make_config("fitnet", stages={"features": 0.4})
    schedules = Schedules(config, config.active_terms, {}, 4)
    weights = [schedules.term_weights(Clock(*divmod(step, 4)))["cross_entropy"] for step in range(16)]
    assert weights == [0.0] * 7 + [1.0] * 9


def test_the_classifier_stays_as_it_is_in_the_first_stage(make_config, machine, tmp_path):
    changes = {
        "optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1},
        "student": {"arch": "tiny_networks:tiny"},
    }
    states = []
    for calls, folder in ((1, "a"), (6, "b")):
        count = iter(range(100))
        config = make_config("fitnet", stages={"features": 0.5}, **changes)
        train(config, machine, workdir=tmp_path / folder, interrupt=lambda n=calls, c=count: next(c) == n)
        states.append(load_checkpoint(tmp_path / folder / "checkpoints")["student"])
    first, later = states
    same = {name for name in first if (first[name] == later[name]).all()}
    assert {"net.head.weight", "net.head.bias"} <= same
    assert "net.stem.0.weight" not in same


def test_a_training_without_such_a_term_has_one_stage(make_config, machine, tmp_path, outcome):
    plain = train(make_config("kd"), machine, workdir=tmp_path / "plain")
    staged = train(make_config("kd", stages={"features": 0.5}), machine, workdir=tmp_path / "staged")
    one, other = outcome(plain, tmp_path / "plain"), outcome(staged, tmp_path / "staged")
    assert one == other


def test_stages_that_leave_steps_without_a_loss_are_refused(make_config):
    terms = [term.model_dump() for term in METHODS["fitnet"].terms]
    stops = [terms[0], terms[1] | {"schedule": {"stop": 0.2}}]
    with pytest.raises(
        InputError, match=r"stages.features: must be at most schedule.stop of a term .*, 0.2, .* got 0.5"
    ):
        make_config("fitnet", terms=stops, stages={"features": 0.5})
    with pytest.raises(InputError, match="one schedule of a term that does not compare inner layers must have stop 1"):
        make_config("fitnet", terms=terms[1:], stages={"features": 0.5, "features_after": False})
    with pytest.raises(InputError, match=r"stages.features: input should be less than 1"):
        make_config("fitnet", stages={"features": 1})
    with pytest.raises(InputError, match=r"stages.feature: unknown key; did you mean features"):
        make_config("fitnet", stages={"feature": 0.5})


def test_stages_are_part_of_the_identity(make_config):
    ids = {make_config("fitnet", stages={"features": share}).config_id for share in (0.0, 0.1, 0.2)}
    assert len(ids) == 3
