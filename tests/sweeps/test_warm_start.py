"""Priors from earlier sweeps."""

import shutil

import pytest

from kdtrain.errors import InputError
from sweeps.driver.growth import as_begun, growth
from sweeps.driver.idle_settings import idle_settings
from sweeps.driver.warm_start import lines_about, warm_started
from sweeps.ledger.ledger import read
from sweeps.ledger.state import SweepState
from sweeps.spec.settings import TakenOver, WarmStart
from sweeps.spec.spec import load_spec

LR = {"low": 0.001, "high": 0.1, "log": True}
TEMPERATURE = {"low": 1, "high": 10}


def quality(config):
    """Best at a learning rate of 0.02, and with kd at a temperature of 8."""
    term = next((term for term in config.terms if term.name == "pixel_kd"), None)
    return 0.8 - abs(config.optimizer.lr - 0.02) * 5 - (0 if term is None else abs(term.temperature - 8) / 50)


@pytest.fixture
def earlier(fake, tmp_path):
    kd = {"method": "kd", "space": {"terms.pixel_kd.temperature": TEMPERATURE}}
    spec = fake.make_spec(studies=["none", kd], budget={"trials": 24}, confirm={"top": 0}, sampler={"name": "sobol"})
    fake.run(spec, tmp_path / "a", fake.FakeTrain(quality))
    return str(tmp_path / "a")


def make_spec(fake, earlier, **changes):
    space = {"terms.pixel_kd.temperature": TEMPERATURE, "terms.pixel_kd.weight": {"low": 0.1, "high": 10, "log": True}}
    studies = ["none", {"name": "mine", "method": "kd", "space": space}, "cwd"]
    settings = {"sampler": {"name": "prior"}, "confirm": {"top": 0}, "warm_start": earlier, "budget": {"trials": 5}}
    return fake.make_spec(**{"studies": studies, **settings, **changes})


def test_good_values_are_taken_over_and_what_is_not_is_said(fake, earlier):
    spec = warm_started(make_spec(fake, earlier))
    mine = spec.space_with_priors(spec.study("mine"))
    assert 0.01 < mine["optimizer.lr"].prior < 0.04
    assert 6 < mine["terms.pixel_kd.temperature"].prior < 10
    assert mine["optimizer.lr"].confidence != "low"
    assert mine["terms.pixel_kd.weight"].prior == spec.config_for(spec.study("mine")).terms[1].weight
    assert 0.01 < spec.space_with_priors(spec.study("cwd"))["optimizer.lr"].prior < 0.04  # the recipe, from all studies
    assert spec.warm_start.left_out == (
        "mine: terms.pixel_kd.weight (no complete trial of this method has it)",
        *(line for line in spec.warm_start.left_out if line.startswith("cwd: terms.")),
    )
    first, *lines = lines_about(spec)
    assert first == f"warm start from {earlier}:"
    assert lines[1].startswith("  mine: optimizer.lr 0.0")
    assert "  not taken over: mine: terms.pixel_kd.weight (no complete trial of this method has it)" in lines


def test_few_good_values_make_no_sure_prior(fake, tmp_path):
    fake.run(fake.make_spec(studies=["none"], budget={"trials": 1}, confirm={"top": 0}), tmp_path / "a")
    spec = warm_started(make_spec(fake, str(tmp_path / "a"), studies=["none"]))
    assert spec.warm_start.priors["none"]["optimizer.lr"].confidence == "medium"


def test_what_a_user_says_comes_before_an_earlier_sweep(fake, earlier):
    space = {"optimizer.lr": {**LR, "prior": 0.05}}
    spec = warm_started(make_spec(fake, [earlier], studies=["none"], space=space))
    assert spec.space_with_priors(spec.studies[0])["optimizer.lr"].prior == 0.05


def test_values_outside_of_the_range_are_not_taken_over(fake, earlier):
    space = {"optimizer.lr": {"low": 0.09, "high": 0.1}}
    spec = warm_started(make_spec(fake, earlier, studies=["none"], space=space))
    assert spec.warm_start.left_out == ("none: optimizer.lr (good values lie outside of the range)",)
    assert spec.warm_start.priors == {}


def test_a_begun_sweep_does_not_need_the_earlier_one(fake, tmp_path, earlier):
    spec = make_spec(fake, earlier)
    whole = fake.run(spec, tmp_path / "whole")
    assert whole.trials["none-1"].params["optimizer.lr"] == pytest.approx(0.02, rel=0.6)

    def resume(folder):
        shutil.rmtree(earlier, ignore_errors=True)
        return fake.run(spec, folder)

    fake.run(spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": 2})}), tmp_path / "cut")
    state = resume(tmp_path / "cut")
    assert [trial.params for trial in state.trials.values()] != []
    assert {trial.id: trial.params for trial in state.trials.values()} == {
        trial.id: trial.params for trial in whole.trials.values()
    }
    assert load_spec(tmp_path / "whole" / "spec.yaml").warm_start == as_begun(spec, whole).warm_start
    with pytest.raises(InputError, match=r"warm_start: .*holds no sweep"):
        fake.run(spec, tmp_path / "new")


def test_a_begun_sweep_keeps_its_warm_start(fake, tmp_path, earlier):
    fake.run(make_spec(fake, earlier), tmp_path / "b")
    with pytest.raises(InputError, match="already holds the sweep five, in which warm_start"):
        fake.run(make_spec(fake, None), tmp_path / "b")
    assert SweepState.of(read(tmp_path / "b")).sweep.spec["warm_start"]["sweeps"] == [earlier]


def joined(fake, earlier):
    """A sweep of one study, and the same with a second study and a second path of the first one."""
    space = {"optimizer.lr": LR, "optimizer.momentum": {"low": 0.5, "high": 0.99}}
    first = make_spec(fake, earlier, studies=["none"], budget={"trials": 2})
    return first, make_spec(fake, earlier, studies=["none", "kd"], space=space, budget={"trials": 2})


def test_a_study_that_joins_has_a_warm_start_and_the_others_keep_theirs(fake, tmp_path, earlier):
    first, then = joined(fake, earlier)
    before = fake.run(first, tmp_path / "b").sweep.spec["warm_start"]
    fake.run(make_spec(fake, None, studies=["none"], budget={"trials": 9}, seed=5), tmp_path / "other")
    shutil.rmtree(earlier)
    shutil.copytree(tmp_path / "other", earlier)  # what is recorded does not follow the earlier sweep any more
    state = fake.run(then, tmp_path / "b")
    after = state.sweep.spec["warm_start"]
    assert after["priors"]["none"] == before["priors"]["none"]
    assert after["priors"]["kd"].keys() == {"optimizer.lr"}
    assert state.trials["kd-1"].params["optimizer.lr"] == after["priors"]["kd"]["optimizer.lr"]["value"]
    assert "none: optimizer.momentum (no complete trial of this method has it)" in after["left_out"]
    (grown,) = (record.data["changes"] for record in read(tmp_path / "b") if record.kind == "grown")
    assert "study kd is new" in grown
    assert any(change.startswith("warm_start: kd: optimizer.lr 0.0") for change in grown)
    assert "warm_start: not taken over: none: optimizer.momentum (no complete trial of this method has it)" in grown

    shutil.rmtree(earlier)
    own = load_spec(tmp_path / "b" / "spec.yaml")
    old = then.model_copy(update={"warm_start": WarmStart.model_validate(before)})
    for spec in (then, own, old):  # a resume has the same numbers, whichever spec it is given
        assert as_begun(spec, state).warm_start == own.warm_start
        assert growth(state.sweep.spec, as_begun(spec, state), "b") == []
    assert any(line.startswith("  kd: optimizer.lr 0.0") for line in lines_about(as_begun(then, state)))


def test_a_study_that_joins_after_the_earlier_sweep_is_gone_has_no_warm_start_and_that_is_said(fake, tmp_path, earlier):
    first, then = joined(fake, earlier)
    before = fake.run(first, tmp_path / "b").sweep.spec["warm_start"]
    shutil.rmtree(earlier)
    after = fake.run(then, tmp_path / "b").sweep.spec["warm_start"]
    assert after["priors"] == before["priors"]
    assert f"kd: optimizer.lr ({earlier} cannot be read any more)" in after["left_out"]
    assert f"none: optimizer.momentum ({earlier} cannot be read any more)" in after["left_out"]


def test_priors_of_what_was_searched_before_cannot_be_changed_beside_a_new_study(fake, tmp_path, earlier):
    first, then = joined(fake, earlier)
    state = fake.run(first, tmp_path / "b")
    recorded = WarmStart.model_validate(state.sweep.spec["warm_start"])
    priors = {"none": {"optimizer.lr": TakenOver(value=0.09, confidence="high")}}
    changed = then.model_copy(update={"warm_start": recorded.model_copy(update={"priors": priors})})
    with pytest.raises(InputError, match=r"warm_start\.priors\.none\.optimizer\.lr"):
        growth(state.sweep.spec, as_begun(changed, state), "b")


def test_a_path_that_is_searched_again_has_what_was_recorded(fake, tmp_path, earlier):
    spec, other = (
        make_spec(fake, earlier, studies=["none"], space=space, budget={"trials": 1})
        for space in ({"optimizer.lr": LR}, {"optimizer.momentum": {"low": 0.5, "high": 0.99}})
    )
    fake.run(spec, tmp_path / "b")
    recorded = as_begun(other, fake.run(other, tmp_path / "b")).warm_start
    shutil.rmtree(earlier)
    assert recorded.priors.keys() == {"none"}
    assert len(recorded.left_out) == 1
    state = fake.run(spec, tmp_path / "b")
    assert as_begun(spec, state).warm_start == recorded
    assert as_begun(other, state).warm_start == recorded


def test_a_study_that_joined_without_a_warm_start_gets_none_later(fake, tmp_path, earlier):
    """An earlier version took the recorded priors whole; a search does not change in its middle."""
    first, then = joined(fake, earlier)
    state = fake.run(first, tmp_path / "b")
    recorded = WarmStart.model_validate(state.sweep.spec["warm_start"])
    whole = then.model_copy(update={"warm_start": recorded})
    state.sweep.spec.update(whole.model_dump(mode="json"))
    assert as_begun(then, state).warm_start == recorded


def test_an_earlier_sweep_that_is_none_is_said(fake, tmp_path):
    with pytest.raises(InputError, match=r"warm_start: .*nothing holds no sweep; give the folder of an earlier sweep"):
        warm_started(make_spec(fake, str(tmp_path / "nothing")))
    with pytest.raises(InputError, match="warm_start"):
        make_spec(fake, [])
    said = list(idle_settings(make_spec(fake, "runs/a", sampler={"name": "tpe"})))
    assert "warm_start: only the sampler prior looks at it, and the sampler is tpe" in said
