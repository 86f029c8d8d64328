"""`kdsweep serve` in a real browser: a sweep that grows while somebody looks, filters, details, two sweeps at once."""

import threading

import pytest

from kdtrain.loop.reports import EpochReport
from sweeps.ledger import ledger
from sweeps.show import served
from sweeps.show.served import ServedSweep
from sweeps.show.server import Server

pytestmark = pytest.mark.slow

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
ROWS = "table.runs tbody tr:not([hidden])"
TRANSFERRED = "performance.getEntries().reduce((sum, entry) => sum + (entry.transferSize ?? 0), 0)"
LOOK_AGAIN = "document.dispatchEvent(new Event('visibilitychange'))"
"""What the page does every few seconds, at once."""


@pytest.fixture(autouse=True)
def _no_record_waits(monkeypatch):
    monkeypatch.setattr(ledger, "_WAIT_S", 0.0)


@pytest.fixture
def serve():
    """Starts a server of sweeps, and ends it after the test; gives its address."""
    servers = []

    def start(*folders):
        server = Server([ServedSweep(str(folder), every=0) for folder in folders])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server.url

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def report_epoch(driver, trial, epoch, miou):
    losses = {"cross_entropy": {"raw": 1 / epoch, "weighted": 1 / epoch}}
    driver.report(trial.id, EpochReport(epoch, 6, {"miou": miou}, losses, 0.1, {"total": 10.0}, 8))
    driver.tick()


def start_trial(driver, *curve):
    trial = driver.next()
    driver.started(trial.id)
    for epoch, miou in enumerate(curve, start=1):
        report_epoch(driver, trial, epoch, miou)
    return trial


def test_a_page_follows_a_sweep_that_grows_and_keeps_what_the_reader_chose(fake, serve, visit, tmp_path):
    with fake.open_driver(fake.make_spec(), tmp_path) as driver:
        first = start_trial(driver, 0.3)
        seen = visit(serve(tmp_path), viewport=DESK)
        page = seen.page
        page.wait_for_selector(f'tr[data-trial="{first.id}"]')
        assert seen.column("table.runs", 3) == ["30.00"]
        head = page.locator("table.runs th", has_text="mIoU")
        head.click()
        head.click()
        page.select_option("select[name=state]", "running")
        second = start_trial(driver, 0.2, 0.5)
        third = start_trial(driver, 0.4)
        page.wait_for_selector(f'tr[data-trial="{third.id}"]', timeout=60_000)  # without a touch
        assert seen.column("table.runs", 3) == ["30.00", "40.00", "50.00"]
        assert page.locator("table.runs th[aria-sort=ascending]").inner_text().startswith("mIoU")
        assert page.input_value("select[name=state]") == "running"
        assert "3 running" in page.locator("#overview").inner_text()
        fake.finish(driver, driver.next())
        report_epoch(driver, first, 2, 0.6)
        page.evaluate(LOOK_AGAIN)
        page.locator("#runs output", has_text="3 of 4 runs").wait_for()
        assert seen.column("table.runs", 3) == ["40.00", "50.00", "60.00"]
        page.locator(ROWS).nth(1).click()
        assert page.locator("dialog.run h3").inner_text() == second.id
    assert seen.errors == []
    assert all(url.startswith(page.url) for url in seen.requests)


def test_a_click_shows_config_curve_terms_and_the_command(fake, serve, visit, tmp_path):
    state = fake.run(fake.make_spec(), tmp_path)
    seen = visit(serve(tmp_path), viewport=DESK)
    page = seen.page
    page.wait_for_selector(ROWS)
    assert page.locator(ROWS).count() == len(state.trials)
    page.select_option("select[name=study]", "cwd")
    page.select_option("select[name=phase]", "search")
    of_study = [trial.id for trial in state.trials.values() if trial.study == "cwd" and trial.phase == "search"]
    assert sorted(seen.column("table.runs", 1)) == sorted(of_study)
    page.locator(ROWS).first.click()
    trial = page.locator("dialog.run h3").inner_text()
    shown = page.locator("dialog.run").inner_text()
    assert f"kdsweep train {tmp_path} --trial {trial} --dir student-{trial}" in shown
    assert "mIoU from" in shown
    assert "over 6 epochs" in shown
    assert page.locator("dialog.run svg.curve polyline").count() == 1
    assert page.locator("dialog.run tbody tr td:first-child").all_inner_texts() == ["cross_entropy", "channel_wise"]
    assert "terms.channel_wise.temperature: " in shown
    page.keyboard.press("Escape")
    page.fill("input[name=text]", of_study[0])
    assert seen.column("table.runs", 1) == [of_study[0]]
    assert seen.errors == []


def test_two_sweeps_on_one_page_have_filters_of_their_own(fake, serve, visit, tmp_path):
    for name in ("one", "two"):
        fake.run(fake.make_spec(name=name), tmp_path / name)
    seen = visit(serve(tmp_path / "one", tmp_path / "two"), viewport=DESK)
    page = seen.page
    page.wait_for_selector(f"#sweep-0 {ROWS}")
    assert seen.column("#overview table", 1) == ["one", "two"]
    assert page.locator("#sweep-1 table.runs").count() == 0
    page.locator("#sweep-1 summary").first.click()
    page.wait_for_selector(f"#sweep-1 {ROWS}")
    page.select_option("#sweep-0 select[name=study]", "kd")
    kept, all_of_them = (page.locator(f"#sweep-{place} {ROWS}").count() for place in (0, 1))
    assert 0 < kept < all_of_them
    page.locator(f"#sweep-1 {ROWS}").first.click()
    page.wait_for_selector("dialog.run[open]")
    assert f"kdsweep train {tmp_path / 'two'}" in page.locator("dialog.run").inner_text()
    assert seen.errors == []


def test_without_the_token_there_is_nothing_to_see(fake, serve, visit, tmp_path):
    fake.run(fake.make_spec(studies=["none"]), tmp_path)
    url = serve(tmp_path)
    for wrong in (url.rsplit("/", 2)[0] + "/", url[:-2] + "/"):
        text = visit(wrong).page.locator("body").inner_text()
        assert text.startswith("the token is wrong: open the address that kdsweep serve has printed")


def test_more_runs_are_shown_on_a_click(fake, serve, visit, tmp_path, monkeypatch):
    monkeypatch.setattr(served, "MOST_RUNS", 4)
    state = fake.run(fake.make_spec(), tmp_path)
    seen = visit(serve(tmp_path), viewport=PHONE)
    page = seen.page
    page.wait_for_selector(ROWS)
    assert page.locator(ROWS).count() == 4
    page.locator("button[data-runs]").click()
    page.locator("#runs output", has_text=f"8 of {min(8, len(state.trials))} runs").wait_for()
    assert page.locator(ROWS).count() == 8
    assert seen.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_the_page_is_small_quick_and_whole_on_every_screen(fake, serve, visit, tmp_path, viewport, scheme):
    fake.run(fake.make_spec(), tmp_path)
    seen = visit(serve(tmp_path), viewport=viewport, color_scheme=scheme)
    page = seen.page
    assert seen.first_paint_s() < 1
    page.wait_for_selector(ROWS)
    assert page.evaluate(OVERFLOW) <= 0
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (sum(paper[:3]) > 600) == (scheme == "light")
    assert 0 < page.evaluate(TRANSFERRED) < 1_500_000
    page.locator(ROWS).first.click()
    page.wait_for_selector("dialog.run[open]")
    box = page.locator("dialog.run").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= viewport["width"]
    if viewport is PHONE:
        label = "cell => getComputedStyle(cell, '::before').content"
        assert page.locator("dialog.run tbody td").nth(1).evaluate(label) == '"Raw, first: "'
    assert seen.errors == []
