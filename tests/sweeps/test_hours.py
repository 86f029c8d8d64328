"""The hours of a sweep: timed steps, the cost, and what is said where nothing was timed."""

from types import SimpleNamespace

import pytest

from kdtrain.config import Machine
from kdtrain.errors import InputError
from kdtrain.loop.rehearsal import Rehearsal
from sweeps.hours import StudyHours, hour_lines, price_of, study_hours, trials_at_a_time


def planned(fake, **rehearsals):
    spec = fake.make_spec(studies=["none", "kd"])
    studies = [
        SimpleNamespace(name=name, search_epochs=24, confirm_runs=2, epochs=6, audit_epochs=0)
        for name in ("none", "kd")
    ]
    made = SimpleNamespace(studies=studies, checked=SimpleNamespace(images={"train": 40, "select": 8}))
    return study_hours(spec, made, rehearsals)


def test_an_epoch_is_its_steps_and_its_evaluation(fake):
    timed = planned(fake, none=Rehearsal(9.0, 0.5, None, steady_s=2.0), kd=Rehearsal(9.0, None, None, steady_s=3.0))
    assert [(study.name, study.epochs) for study in timed] == [("none", 36), ("kd", 36)]
    evaluation = timed[0].epoch_s - 10 * 2.0
    assert 0 < evaluation <= 4.0
    assert timed[1].epoch_s == pytest.approx(10 * 3.0 + evaluation), "one student is evaluated for all studies"


def test_a_study_that_was_not_rehearsed_has_no_hours(fake):
    assert [study.name for study in planned(fake, none=Rehearsal(9.0, 0.5, None, steady_s=2.0))] == ["none"]


def test_a_study_without_timed_steps_takes_its_first_step_and_says_so(fake):
    timed = planned(fake, none=Rehearsal(9.0, 0.5, None), kd=Rehearsal(9.0, None, None, steady_s=9.0))
    assert timed[0].epoch_s == timed[1].epoch_s
    lines = list(hour_lines(timed, 1, 1.0, ""))
    assert "by its first step alone" in lines[1]
    assert "by its first step" not in lines[2]
    assert "the timed steps of the others took 20 s" in lines[-1]


def test_time_and_cost_of_each_study_and_in_all():
    studies = (StudyHours("none", 36.0, 100), StudyHours("kd", 72.0, 100))
    lines = list(hour_lines(studies, 2, 3.0, ""))
    assert "with 2 trials at a time" in lines[0]
    assert lines[1:] == [
        "  none: 30.0 min, cost 1.50 (100 epochs of 36 s)",
        "  kd: 60.0 min, cost 3.00 (100 epochs of 72 s)",
        "  in all: 1.5 h, cost 4.50, without the teacher's fit",
    ]
    assert any("--price" in line for line in hour_lines(studies, 2, None, ""))


def test_what_was_not_timed_is_said():
    assert list(hour_lines((), 1, None, "--no-rehearsal takes no step")) == [
        "time: not measured, because --no-rehearsal takes no step"
    ]


def test_the_price_is_given_or_a_setting(monkeypatch):
    monkeypatch.delenv("KDSWEEP_PRICE", raising=False)
    assert price_of(None) is None
    monkeypatch.setenv("KDSWEEP_PRICE", "2.5")
    assert (price_of(None), price_of(1.0)) == (2.5, 1.0)
    for text in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("KDSWEEP_PRICE", text)
        with pytest.raises(InputError, match=r"KDSWEEP_PRICE: must be the price of an hour.* got "):
            price_of(None)


def test_trials_side_by_side(fake, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert trials_at_a_time(fake.make_spec(resources={"cpu": 3}), Machine(device="cpu")) == 2
    assert trials_at_a_time(fake.make_spec(resources={"cpu": 16}), Machine(device="cpu")) == 1
    for most, found in ((3, 3), (100, 8)):
        assert trials_at_a_time(fake.make_spec(resources={"concurrent": most}), Machine(device="cpu")) == found
