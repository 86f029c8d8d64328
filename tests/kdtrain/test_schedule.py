"""Weights that change over a training."""

import pytest
import torch

from kdtrain import InputError, train
from kdtrain.loop import step
from kdtrain.loop.frozen_teacher import FrozenTeacher
from kdtrain.loop.gradients import looks_at_gradients
from kdtrain.methods import METHODS, parse_term
from kdtrain.methods.schedule import WeightSchedule


def factors(steps=20, **options):
    schedule = WeightSchedule(**options)
    return [schedule.factor(step, steps) for step in range(steps)]


def test_constant_by_default():
    assert factors() == [1.0] * 20


def test_warm_up_rises_in_equal_steps():
    assert factors(warmup=0.2)[:6] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


def test_decay_falls_from_the_warm_up_to_the_stop():
    linear = factors(warmup=0.1, decay="linear", stop=0.6)
    assert linear[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert linear[7] == pytest.approx(0.5)
    assert linear[12:] == [0.0] * 8
    cosine = factors(decay="cosine")
    assert cosine[0] == 1.0
    assert cosine[10] == pytest.approx(0.5)
    assert cosine == sorted(cosine, reverse=True)


def test_stop_alone_cuts_off():
    assert factors(stop=0.5) == [1.0] * 10 + [0.0] * 10


def test_what_makes_no_sense_is_refused(make_config):
    with pytest.raises(InputError, match=r"schedule: warmup must end before stop, got warmup 0\.5 and stop 0\.5"):
        parse_term({"loss": "csc", "schedule": {"warmup": 0.5, "stop": 0.5}})
    with pytest.raises(InputError, match=r"schedule\.decay"):
        parse_term({"loss": "csc", "schedule": {"decay": "exponential"}})
    with pytest.raises(InputError, match="at least one schedule must have stop 1"):
        make_config(terms=[{"loss": "cross_entropy", "schedule": {"stop": 0.5}}])


def test_an_unchanged_schedule_leaves_the_identity_of_old_configs(make_config):
    config = make_config("kd")
    terms = [term.model_dump() for term in METHODS["kd"].terms]
    changed = make_config("kd", terms=[terms[0], terms[1] | {"schedule": {"stop": 0.5}}])
    assert config.config_id != changed.config_id
    assert make_config("kd", terms=[terms[0], terms[1] | {"schedule": {}}]).config_id == config.config_id


def test_a_term_that_has_stopped_is_not_computed_nor_is_the_teacher(make_config, machine, monkeypatch):
    questions = []
    ask = FrozenTeacher.ask
    monkeypatch.setattr(FrozenTeacher, "ask", lambda *args: (questions.append(1), ask(*args))[1])
    terms = [term.model_dump() for term in METHODS["kd"].terms]
    schedule = {"decay": "linear", "stop": 0.5}
    config = make_config("kd", terms=[terms[0], terms[1] | {"schedule": schedule, "weight": 3.0}])
    result = train(config, machine)
    shapes = 1  # the question for the shapes of its layers
    assert len(questions) == shapes + 8, "2 of 4 epochs of 4 steps"
    first, second, third, last = (past.losses["pixel_kd"] for past in result.reports)
    assert first["weighted"] < 3 * first["raw"]
    assert second["weighted"] < first["weighted"]
    assert third == last == {"weighted": 0.0}
    assert "teacher" not in result.reports[2].seconds


def test_the_gradient_of_every_term_is_measured(make_config, machine, monkeypatch):
    seen = []
    norms = step.gradient_norms

    def measured(weighted, student, scaler, group):
        lengths = norms(weighted, student, scaler, group)
        for name, value in weighted.items():
            student.zero_grad()
            value.backward(retain_graph=True)
            flat = torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None])
            seen.append((lengths[name], float(flat.norm())))
        return lengths

    alone = train(make_config("kd", epochs=5), machine)
    monkeypatch.setattr(step, "gradient_norms", measured)
    result = train(make_config("kd", epochs=5), machine)
    assert [length for length, _ in seen] == pytest.approx([expected for _, expected in seen], rel=1e-4)
    looked = [past.epoch for past in result.reports if "gradient" in past.losses["pixel_kd"]]
    assert looked == [1, 5]
    for past in (result.reports[0], result.reports[4]):
        assert sum(term["gradient_share"] for term in past.losses.values()) == pytest.approx(1)
        assert all(term["gradient"] > 0 for term in past.losses.values())
    assert alone.reports[-1].losses == result.reports[-1].losses


def test_gradients_are_looked_at_early_and_last_but_never_often():
    looks = {epochs: [n for n in range(1, epochs + 1) if looks_at_gradients(n, epochs)] for epochs in (1, 2, 4, 30)}
    assert looks == {1: [1], 2: [2], 4: [1, 4], 30: [1, 2, 4, 30]}
