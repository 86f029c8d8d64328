"""Whoever grows a sweep after its words were read looks again, and the ledger knows it."""

import io

import pytest
from rich.console import Console

from analysis import read_tables
from analysis.report.verdict import verdict_of
from analysis.stats.looks import Looks, looks_of
from sweeps.ledger.looks import before
from sweeps.ledger.trial_state import TrialState
from sweeps.outcome.freeze import freeze
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import write_tables
from sweeps.show.live_page import live_page
from sweeps.show.status import show_status
from sweeps.store.store import Store


@pytest.fixture
def small():
    return {"studies": ["none", "kd"], "train": {"epochs": 2}, "budget": {"trials": 2}, "confirm": seeds(3)}


def seeds(number, top=1):
    return {"top": top, "seeds": number}


def looks(state):
    return before(state.looks, state.look_now()).seeds


def lives(fake, folder, small, *changes):
    """The looks before the present one, after each of several lives of a sweep."""
    found = []
    for change in changes:
        small = {**small, **change}
        found.append(looks(fake.run(fake.make_spec(**small), folder)))
    return found


def test_more_seeds_are_a_later_look(fake, tmp_path, small):
    found = lives(fake, tmp_path, small, {}, {"confirm": seeds(5)}, {"confirm": seeds(8)})
    assert found == [(), (3,), (3, 5)]
    write_tables(tmp_path)
    sweeps = read_tables(tmp_path)["sweeps"]
    assert list(sweeps["looks"][0]) == [3, 5]
    assert looks_of(sweeps) == Looks.unplanned((3, 5))


def test_to_run_a_finished_sweep_again_is_no_look(fake, tmp_path, small):
    assert lives(fake, tmp_path, small, {}, {}, {"resources": {"cpu": 2}}, {"notes": "read"}) == [()] * 4


def test_a_search_that_finds_no_other_finalist_is_no_look(fake, tmp_path, small):
    def quality(config):
        return 0.5 if config.optimizer.lr == 0.02 else 0.1  # the published value, which is tried first

    for trials in (2, 3):
        spec = fake.make_spec(**{**small, "budget": {"trials": trials}})
        state = fake.run(spec, tmp_path, fake.FakeTrain(lambda config: quality(config) + 0.01 * fake.draw(config.seed)))
    assert looks(state) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"budget": {"trials": 12}},
        {"confirm": seeds(3, top=2)},
        {"studies": ["none", "kd", "cwd"]},
        {"space": {"optimizer.lr": {"low": 0.0001, "high": 0.0005, "log": True}}},
    ],
    ids=["other finalists", "more finalists", "another study", "corrected space"],
)
def test_other_finalists_on_as_many_seeds_are_a_later_look(fake, tmp_path, small, change):
    assert lives(fake, tmp_path, small, {}, change) == [(), (3,)]
    grown = {**small, **change, "confirm": {**small["confirm"], **change.get("confirm", {}), "seeds": 4}}
    assert looks(fake.run(fake.make_spec(**grown), tmp_path)) == (3, 4)


@pytest.mark.parametrize(
    "first", [{"confirm": {"top": 0}}, {"confirm": seeds(1)}, {"studies": ["none"]}], ids=["none", "one seed", "alone"]
)
def test_where_nothing_could_be_compared_nothing_was_looked_at(fake, tmp_path, small, first):
    assert lives(fake, tmp_path, small, first, small) == [(), ()]


def test_a_training_that_runs_again_on_a_mended_machine_belongs_to_the_same_look(fake, tmp_path, small):
    def broken(config, epoch):
        if config.seed == 9 and config.uses_teacher:
            raise MemoryError("no memory")

    state = fake.run(fake.make_spec(**small, retries=0), tmp_path, fake.FakeTrain(before=broken))
    assert [trial.state for trial in state.of_study("kd", "confirm")].count("failed") == 1
    for trial in state.of_study("kd", "confirm"):
        trial.state = TrialState.COMPLETE
    assert looks(state) == ()


def test_a_sweep_that_runs_has_its_look_still_ahead(fake, tmp_path, small):
    fake.run(fake.make_spec(**small), tmp_path)
    with fake.open_driver(fake.make_spec(**{**small, "confirm": seeds(5)}), tmp_path) as driver:
        driver.next()
        assert looks(driver.state) == (3,)


def test_final_seeds_are_no_further_look_at_the_same_seeds(fake, tmp_path, small, monkeypatch):
    fake.run(fake.make_spec(**small), tmp_path)
    freeze(Store(tmp_path))
    monkeypatch.setattr("sweeps.attempt.attempt.measure", lambda student, config, *rest: fake.evaluation(config))
    assert looks(fake.run(load_state(tmp_path)[0], tmp_path)) == ()


def test_status_and_live_page_say_which_look_it_is(fake, tmp_path, small):
    fake.run(fake.make_spec(**small), tmp_path)
    assert "read before" not in told(tmp_path)
    with fake.open_driver(fake.make_spec(**{**small, "confirm": seeds(5)}), tmp_path) as driver:
        driver.next()
        assert "at 3 seeds per finalist; 25% of the allowed error is left for look 2" in told(tmp_path)
    spec = fake.make_spec(**{**small, "confirm": seeds(5)})
    state = fake.run(spec, tmp_path)
    write_tables(tmp_path)
    report = " ".join(line.text for line in verdict_of(read_tables(tmp_path)).lines)
    for text in (told(tmp_path), live_page(spec, state, "finished"), report):
        assert "ook 2: the words of this sweep were read before, at 3 seeds per finalist" in text
        assert "may be wrong in at most 0.42 instead of 5 of 100 sweeps" in text


def told(folder):
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(show_status(Store(folder)))
    return console.export_text()
