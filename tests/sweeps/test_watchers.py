"""Watchers are told of every record, and cannot stop a sweep."""

import io
import re
import sys
from typing import get_args

import pytest
from rich.console import Console

from sweeps.launch.inline import run_inline
from sweeps.ledger.events import Event
from sweeps.ledger.ledger import read
from sweeps.show.progress import Display
from sweeps.testing import check_watcher, example_events


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
    cause = (
        r"Broken failed at a record of kind sweep \(ZeroDivisionError: no trials yet at test_watchers\.py:\d+\); the"
    )
    assert re.search(cause, notice)
    assert calls == told == [record.kind for record in read(tmp_path)], "a watcher that failed is called again"


def test_a_watcher_that_exits_stops_no_sweep(fake, tmp_path):
    notices = []
    with fake.open_driver(small(fake), tmp_path, watchers=[lambda event, state: sys.exit(3)], notice=notices.append):
        pass
    (notice,) = notices
    assert re.search(r"\(SystemExit: 3 at test_watchers\.py:\d+\); the sweep continues", notice)


def test_an_interrupt_in_a_watcher_passes(fake, tmp_path):
    def interrupted(event, state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fake.open_driver(small(fake), tmp_path, watchers=[interrupted])
    fake.run(small(fake), tmp_path)


def test_our_watchers_pass_the_bench():
    check_watcher("live_page", every=0.0)
    console = Console(file=io.StringIO())
    check_watcher(lambda spec, sweep: Display(spec, lambda text: None, console, iter(range(0, 10**6, 10)).__next__))


class Meddling:
    """Changes what it is shown."""

    def __init__(self, spec, sweep, greeting):
        self.greeting = greeting

    def __call__(self, event, state):
        state.searches.exhausted["none"] = self.greeting


def writing(spec, sweep):
    sweep.write("ledger/000000001.jsonl", b"mine")
    return lambda event, state: None


def failing(spec, sweep):
    def watch(event, state):
        next(iter(state.trials))

    return watch


@pytest.mark.parametrize(
    ("make", "options", "complaint"),
    [
        (Meddling, {"greeting": "hello"}, "Meddling: it must not change the state, but did at an event of kind sweep"),
        (writing, {}, "writing: a watcher must not write to the ledger"),
        (failing, {}, r"failing: it must take an event of kind sweep, got StopIteration"),
    ],
)
def test_the_bench_finds_what_a_watcher_must_not_do(make, options, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_watcher(make, **options)


def test_the_examples_of_the_bench_are_all_events_that_there_are():
    assert {type(event) for event in example_events()} == set(get_args(Event))
