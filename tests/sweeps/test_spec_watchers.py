"""The watchers that a spec names: built-in and third-party."""

import pytest

from kdtrain.errors import InputError
from sweeps.check import foreign_notice
from sweeps.driver.growth import growth
from sweeps.launch.inline import run_inline
from sweeps.show.watchers import find_watchers, make_watchers
from sweeps.store.store import Store

SMALL = {"studies": ["none"], "budget": {"trials": 2}, "confirm": {"top": 0}}
MODULE = """
def make(spec, sweep, loud=False):
    return lambda event, state: None

NOT_A_FUNCTION = 3

def makes_nothing(spec, sweep):
    return None
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "their_watchers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def test_the_live_page_is_a_watcher(fake, tmp_path):
    spec = fake.make_spec(**SMALL, watchers=[{"name": "live_page", "options": {"every": 1000}}])
    page, written = tmp_path / "report" / "live.html", []
    (watcher,) = make_watchers(spec, Store(tmp_path))

    def watch(event, state):
        watcher(event, state)
        written.append(page.read_text())

    with fake.open_driver(spec, tmp_path, watchers=[watch]) as driver:
        run_inline(driver, fake.FakeTrain())
    assert len(set(written)) == 2, "the first page and the last one, as nothing takes a thousand seconds"
    assert 'content="1000"' in written[0]
    assert "http-equiv" not in written[-1]


@pytest.mark.usefixtures("module")
def test_a_watcher_of_other_people_is_named_before_anything_runs(fake, tmp_path):
    spec = fake.make_spec(**SMALL, watchers=["their_watchers:make"])
    find_watchers(spec)
    assert "their_watchers" in foreign_notice()
    (watcher,) = make_watchers(spec, Store(tmp_path))
    assert watcher(None, None) is None


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("watcher", "message"),
    [
        ("live_paje", "unknown watcher 'live_paje': known are live_page, or package.module:name"),
        ("their_watchers:mak", "did you mean make"),
        ("no_such_module:make", "a module must be installed"),
        ("their_watchers:NOT_A_FUNCTION", "must be a function make.* got int"),
        ("their_watchers:makes_nothing", "must return a function of event and state, got NoneType"),
        ({"name": "live_page", "options": {"evry": 3}}, "does not take the options {'evry': 3} .*'evry'"),
    ],
)
def test_a_wrong_watcher_is_one_sentence(fake, tmp_path, watcher, message):
    spec = fake.make_spec(**SMALL, watchers=[watcher])
    with pytest.raises(InputError, match=message) as caught:
        make_watchers(spec, Store(tmp_path))
    assert "\n" not in str(caught.value)


def test_watchers_may_change_in_a_sweep_that_was_begun(fake):
    before = fake.make_spec(**SMALL).model_dump(mode="json")
    after = fake.make_spec(**SMALL, watchers=["live_page"])
    assert [change.partition(":")[0] for change in growth(before, after, "D")] == ["watchers"]
    del before["watchers"]  # a ledger of a version without watchers
    assert growth(before, fake.make_spec(**SMALL), "D") == []
