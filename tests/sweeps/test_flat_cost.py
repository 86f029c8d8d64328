"""What is counted as events arrive, so that a proposal costs the same in a long search, is what a recount gives."""

from collections import Counter

import pytest

from sweeps.driver import driver, new_trials, proposals
from sweeps.driver.proposals import Proposals
from sweeps.driver.samplers import ranking
from sweeps.ledger.ledger import read
from sweeps.ledger.record import Record
from sweeps.ledger.state import SweepState
from sweeps.ledger.tally import Tally
from sweeps.spec.spec import SweepSpec
from sweeps.testing import example_events

LIFE = {"studies": ["none", "kd"], "repeats": 2, "train": {"epochs": 9}, "scheduler": {"name": "halving"}}


def recount(state):
    assert state.tally == Tally.of(state.trials.values())
    assert state.tally.unfinished == [trial for trial in state.trials.values() if trial.state.is_unfinished]
    for study in state.by_study:
        for search in (1, 2):
            of_search = state.tally.of_search(study, search)
            trials = [trial for trial in state.of_study(study, "search") if trial.search == search]
            assert of_search.trials == trials == state.of_study(study, "search", search)
            assert of_search.epochs == sum(trial.committed for trial in trials)


def test_counts_are_those_of_a_recount_after_every_event():
    state = SweepState()
    for number, event in enumerate(example_events(), start=1):
        state.apply(Record(number, "2026-01-01T12:00:00+00:00", event.kind, event.to_json()))
        recount(state)
        for trial in state.trials.values():
            assert (trial.curve, trial.score) == (fresh(trial).curve, fresh(trial).score)


def fresh(trial):
    return type(trial)(**{name: value for name, value in vars(trial).items() if name != "_read"})


def broken(config, epoch):
    if epoch == 2 and config.optimizer.lr < 0.003:
        raise RuntimeError("a bug")
    return "nan" if epoch == 2 and config.optimizer.lr > 0.06 else None


@pytest.mark.parametrize("cut", [None, 60, 140])
def test_what_was_proposed_is_what_the_ledger_says_at_every_proposal(fake, tmp_path, monkeypatch, cut):
    dropped, drivers = [], []
    proposed, made = new_trials.propose, driver.Driver.__init__

    def propose(study, space, sampler, seed, tried, default, search, *others):
        name, _, number = search.partition("/")
        whole = Proposals(space, drivers[-1].state.searches.proposed(name, int(number or 1)))
        assert list(tried.inside) == list(whole.inside)
        assert list(tried.inside.bounded(2, 3)) == list(whole.inside.bounded(2, 3))
        assert (tried.number, tried.configs) == (whole.number, whole.configs)
        dropped.append(len(whole.inside) - len(whole.inside.bounded(2, 3)))
        return proposed(study, space, sampler, seed, tried, default, search, *others)

    def remember(self, *args, **options):
        drivers.append(self)
        made(self, *args, **options)

    monkeypatch.setattr(new_trials, "propose", propose)
    monkeypatch.setattr(driver.Driver, "__init__", remember)
    spec = fake.make_spec(**LIFE, budget={"trials": 24})
    train = fake.FakeTrain(before=broken)
    if cut is None:
        fake.run(spec, tmp_path, train)
    else:
        fake.resumed(tmp_path, cut, lambda folder: fake.run(spec, folder, fake.FakeTrain(before=broken)))
    recount(drivers[-1].state)
    states = Counter(trial.state for trial in drivers[-1].state.trials.values())
    assert min(states[name] for name in ("complete", "pruned", "diverged", "failed")) > 0
    assert max(dropped) > 0


def test_each_trial_is_looked_at_a_few_times_however_long_the_search(fake, tmp_path, monkeypatch):
    looks = Counter()

    def counted(name, function):
        def count(*args):
            looks[name] += 1
            return function(*args)

        return count

    monkeypatch.setattr(proposals, "identity", counted("identity", proposals.identity))
    monkeypatch.setattr(ranking, "worth", counted("worth", ranking.worth))
    per_trial = []
    for trials in (20, 60):
        looks.clear()
        spec = fake.make_spec(
            studies=["none"], budget={"trials": trials}, confirm={"top": 0}, sampler={"name": "random"}
        )
        fake.run(spec, tmp_path / str(trials))
        per_trial.append({name: count / trials for name, count in looks.items()})
    assert per_trial[1] == pytest.approx(per_trial[0], abs=0.2)


def test_a_ledger_that_is_read_counts_every_trial_once(fake, tmp_path, monkeypatch):
    fake.run(fake.make_spec(**LIFE, budget={"trials": 12}), tmp_path, fake.FakeTrain(before=broken))
    records, counted = read(tmp_path), Counter()
    update = Tally.update
    monkeypatch.setattr(Tally, "update", lambda self, trial: counted.update([trial.id]) or update(self, trial))
    state = SweepState.of(records)
    assert state.tally.unfinished == []
    assert set(counted.values()) == {1}
    assert len(counted) == len(state.trials)
    monkeypatch.undo()
    recount(state)


def test_a_config_is_made_once_for_each_new_trial(fake, tmp_path, monkeypatch):
    made, config_for = [], SweepSpec.config_for
    with fake.open_driver(fake.make_spec(studies=["kd"], sampler={"name": "random"}), tmp_path) as driver:
        driver.next()
        monkeypatch.setattr(SweepSpec, "config_for", lambda *given: made.append(given[1].name) or config_for(*given))
        driver.next()
    assert made == ["kd"]
