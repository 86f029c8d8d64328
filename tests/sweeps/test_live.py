from datetime import timedelta

import pytest

from kdtrain.loop.reports import EpochReport
from sweeps.outcome.loaded import load_state
from sweeps.show import live_page as live
from sweeps.show.live_page import OPTIMISTIC, live_page, watch_page
from sweeps.store.store import Store


def page_of(folder, refresh=10):
    spec, state = load_state(Store(folder))
    return live_page(spec, state, "running", refresh)


def test_a_running_sweep_is_told_without_a_verdict(fake, tmp_path):
    spec = fake.make_spec()
    with fake.open_driver(spec, tmp_path) as driver:
        trial = driver.next()
        driver.started(trial.id)
        for epoch, miou in ((1, 0.31), (2, 0.37)):
            driver.report(trial.id, EpochReport(epoch, 6, {"miou": miou}, {}, 0.1, {"total": 10.0}, 8))
        page = live_page(spec, driver.state, "running")
    assert '<meta http-equiv="refresh" content="10">' in page
    assert "1 running" in page
    assert f"{trial.id} (running)" in page
    assert "in epoch 2</title>" in page
    assert "at the pace so far" in page
    assert len(page) < 60_000
    for claim in ("separated", "equivalent", "came out first", "beat the baseline", "over the baseline"):
        assert claim not in page


def test_a_sweep_before_its_first_trial(fake, tmp_path):
    with fake.open_driver(fake.make_spec(), tmp_path):
        page = page_of(tmp_path)
    assert "no trial of a search is complete yet" in page
    assert "not known before the first epoch" in page


def test_failures_and_what_is_best_so_far(fake, tmp_path):
    def before(config, epoch):
        if config.optimizer.lr != 0.02:
            raise RuntimeError("out of <memory>")

    spec = fake.make_spec(studies=["none"], budget={"trials": 2}, retries=0)
    fake.run(spec, tmp_path, fake.FakeTrain(before=before))
    page = page_of(tmp_path)
    assert OPTIMISTIC in page
    assert "RuntimeError: out of &lt;memory&gt;" in page
    assert "ended trials (" in page


def test_watching_ends_with_the_sweep_and_stops_the_refreshing(fake, tmp_path):
    fake.run(fake.make_spec(studies=["none"]), tmp_path)
    said, target = [], tmp_path / "report" / "live.html"
    watch_page(Store(tmp_path), target, 0.1, said.append)
    assert said == [str(target)]
    assert "http-equiv" not in target.read_text()


def test_the_share_of_failures_is_of_the_trials_that_have_ended(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 4}, retries=0)
    with fake.open_driver(spec, tmp_path) as driver:
        fake.take_down(driver, "error")
        driver.started(driver.next().id)
        assert "1 of 1 ended trials (100 %)" in live_page(spec, driver.state, "running")


def test_the_curves_are_those_of_the_highest_scores(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 8}, confirm={"top": 0})
    state = fake.run(spec, tmp_path)
    ranked = sorted(state.trials.values(), key=lambda trial: trial.score, reverse=True)
    page = live_page(spec, state, "finished", None)
    assert [f"{trial.id} (complete)" in page for trial in ranked] == [True] * 5 + [False] * 3


@pytest.mark.parametrize(("silent", "said"), [(490, False), (510, True)])
def test_a_trial_is_silent_after_five_usual_epochs(fake, tmp_path, monkeypatch, silent, said):
    spec = fake.make_spec(studies=["none"])
    with fake.open_driver(spec, tmp_path) as driver:
        trial = driver.next()
        driver.started(trial.id)
        driver.report(trial.id, EpochReport(1, 6, {"miou": 0.4}, {}, 0.1, {"total": 100.0}, 8))
        monkeypatch.setattr(live, "now", lambda: fake.noon() + timedelta(seconds=100 + silent))
        assert (f"{trial.id} reported nothing for about" in live_page(spec, driver.state, "running")) is said


def test_an_edge_is_named_for_the_best_trial_alone(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 30}, sampler={"name": "random"}, confirm={"top": 0})
    state = fake.run(spec, tmp_path, fake.FakeTrain(lambda config: config.optimizer.lr))
    best = max(state.trials.values(), key=lambda trial: trial.params["optimizer.lr"])
    assert best.params["optimizer.lr"] > 0.08  # on the log scale within 5 % of 0.1
    page = live_page(spec, state, "finished", None)
    assert f"{best.id}: optimizer.lr = {best.params['optimizer.lr']:.3g}, at the upper edge of 0.001 to 0.1" in page
    assert page.count(" edge of 0.001") == 1
