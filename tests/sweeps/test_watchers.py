"""Watchers are told of every record, and cannot stop a sweep."""

import pytest

from sweeps.launch.inline import run_inline
from sweeps.ledger.ledger import read


def small(fake):
    return fake.make_spec(studies=["none"], budget={"trials": 2}, confirm={"top": 0})


def test_every_record_is_told_with_the_state_after_it(fake, tmp_path):
    told = []

    def watch(event, state):
        told.append((event.kind, state.last.n, len(state.trials)))

    with fake.open_driver(small(fake), tmp_path, watchers=[watch]) as driver:
        run_inline(driver, fake.FakeTrain())
    records = read(tmp_path)
    assert [(kind, n) for kind, n, _ in told] == [(record.kind, record.n) for record in records]
    assert [trials for kind, _, trials in told if kind == "proposed"] == [1, 2], "the state is that after the record"


def test_a_watcher_that_fails_is_reported_once_and_stops_neither_the_sweep_nor_the_others(fake, tmp_path):
    calls, told, notices = [], [], []

    class Broken:
        def __call__(self, event, state):
            calls.append(event.kind)
            raise ZeroDivisionError("no trials yet")

    watchers = [Broken(), lambda event, state: told.append(event.kind)]
    with fake.open_driver(small(fake), tmp_path, watchers=watchers, notice=notices.append) as driver:
        run_inline(driver, fake.FakeTrain())
        assert driver.state.finished
    (notice,) = notices
    assert "Broken failed at a record of kind sweep (ZeroDivisionError: no trials yet); the sweep goes on" in notice
    assert calls == told == [record.kind for record in read(tmp_path)], "a watcher that failed is called again"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_watcher_passes(fake, tmp_path, stop):
    def interrupted(event, state):
        raise stop

    with pytest.raises(stop):
        fake.open_driver(small(fake), tmp_path, watchers=[interrupted])
    fake.run(small(fake), tmp_path)
