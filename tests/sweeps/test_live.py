from kdtrain.loop.reports import EpochReport
from sweeps.outcome.tabulate import load_state
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
    assert "<polyline" in page
    assert "at the pace so far" in page
    assert "Plotly.newPlot" not in page.split("<script>")[0]
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
