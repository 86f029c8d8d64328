"""Third-party samplers, and the checks that all samplers pass."""

import pytest

from kdtrain.errors import InputError
from kdtrain.foreign import imported_modules
from sweeps.driver.sampler import OURS, make_sampler
from sweeps.spec.settings import Sampler
from sweeps.testing import check_sampler

MODULE = """
import random


class Draw:
    '''Draws from the lower part of every range.'''

    def __init__(self, share=1.0):
        if not 0 < share <= 1:
            raise ValueError(f"share: must be above 0 and at most 1, got {share}")
        self.share = share

    def propose(self, study, space, trials, seed):
        source = random.Random(f"{seed} {len(trials)}")
        return {path: self.value(domain, source) for path, domain in space.items()}

    def value(self, domain, source):
        if hasattr(domain, "choices"):
            return source.choice(domain.choices)
        high = domain.low + self.share * (domain.high - domain.low)
        return source.randint(int(domain.low), int(high)) if domain.integer else source.uniform(domain.low, high)


class OutOfRange(Draw):
    def value(self, domain, source):
        return 5.0


class Forgetful(Draw):
    def propose(self, study, space, trials, seed):
        return {}


class Restless(Draw):
    def propose(self, study, space, trials, seed):
        return super().propose(study, space, trials, random.random())


class Rewriting(Draw):
    def propose(self, study, space, trials, seed):
        for trial in trials:
            trial.params["optimizer.lr"] = 0.05
        return super().propose(study, space, trials, seed)


class Broken(Draw):
    def propose(self, study, space, trials, seed):
        raise ZeroDivisionError("division by zero")


class Satisfied(Draw):
    def propose(self, study, space, trials, seed):
        return None if len(trials) > 1 else super().propose(study, space, trials, seed)


nothing = 7
"""


@pytest.fixture(autouse=True)
def _their_module(tmp_path, monkeypatch):
    (tmp_path / "their_samplers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("name", [*OURS, "their_samplers:Draw"])
def test_ours_and_theirs_pass_the_bench(name):
    if name == "cmaes":
        pytest.importorskip("cmaes")
    check_sampler(name)


def test_the_bench_takes_options():
    check_sampler("their_samplers:Draw", share=0.5)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("Restless", "the same trials and seed must give one proposal"),
        ("Rewriting", "propose must not change the trials"),
    ],
)
def test_the_bench_finds_what_would_break_a_resumed_sweep(name, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_sampler(f"their_samplers:{name}")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("OutOfRange", r"OutOfRange must propose for optimizer\.lr a value of .*0\.1.*, got 5\.0"),
        ("Forgetful", r"Forgetful must propose a value for each of optimizer\.lr, .*got \{\}"),
        (
            "Broken",
            r"Broken failed for the study study \(ZeroDivisionError: division by zero at their_samplers.py:\d+\);",
        ),
    ],
)
def test_a_proposal_that_no_trial_could_have_is_refused(name, complaint):
    with pytest.raises(InputError, match=complaint):
        check_sampler(f"their_samplers:{name}")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"name": "their_samplers:Draw", "options": {"share": 7}}, r"share: must be above 0 and at most 1, got 7"),
        ({"name": "their_samplers:Draw", "options": {"luck": 7}}, "unexpected keyword argument 'luck'"),
        ({"name": "their_samplers:nothing"}, "must be a class of samplers, got int"),
        ({"name": "their_samplers:random"}, "must be a class of samplers, got module"),
        ({"name": "tpee"}, r"unknown sampler 'tpee': known are tpe, random.*did you mean tpe"),
        ({"name": "random", "options": {"startup": 3}}, "random cannot be made with the options"),
    ],
)
def test_a_sampler_that_cannot_be_made_is_refused_in_one_sentence(settings, complaint):
    with pytest.raises(InputError, match=complaint) as refusal:
        make_sampler(Sampler(**settings))
    assert "\n" not in str(refusal.value)


def spec(fake, name, **options):
    sampler = {"name": f"their_samplers:{name}", "options": options}
    return fake.make_spec(studies=["none"], budget={"trials": 4}, sampler=sampler, confirm={"top": 0})


def searched(state):
    return [trial.params["optimizer.lr"] for trial in state.trials.values()]


def test_a_sweep_searches_with_a_sampler_of_other_people(fake, tmp_path):
    whole = fake.run(spec(fake, "Draw", share=0.1), tmp_path / "whole")
    first, *others = searched(whole)
    assert first == 0.02, "the published value comes first"
    assert len(set(others)) == 3
    assert all(0.001 <= lr <= 0.001 + 0.1 * 0.099 for lr in others)
    assert "their_samplers" in imported_modules()

    class Killed(BaseException):
        pass

    def die(config, epoch):
        if config.optimizer.lr == others[1] and epoch == 3:
            raise Killed

    with pytest.raises(Killed):
        fake.run(spec(fake, "Draw", share=0.1), tmp_path / "killed", fake.FakeTrain(before=die))
    assert searched(fake.run(spec(fake, "Draw", share=0.1), tmp_path / "killed")) == [first, *others]


def test_a_sampler_that_has_nothing_to_propose_ends_the_search(fake, tmp_path):
    state = fake.run(spec(fake, "Satisfied"), tmp_path)
    assert (len(state.trials), state.finished) == (2, True)
    assert "none" in state.searches.exhausted


def test_a_sampler_is_made_before_anything_is_written(fake, tmp_path):
    with pytest.raises(InputError, match="share"):
        fake.open_driver(spec(fake, "Draw", share=7), tmp_path / "sweep")
    assert not (tmp_path / "sweep" / "ledger").exists()


def test_another_sampler_is_no_growth(fake, tmp_path):
    fake.run(spec(fake, "Draw"), tmp_path)
    with pytest.raises(InputError, match=r"sampler\.options"):
        fake.open_driver(spec(fake, "Draw", share=0.5), tmp_path)
