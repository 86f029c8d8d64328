"""The report in a real browser: what a reader sees, sorts, and does not have to wait for."""

import pytest

from analysis.report.sweep_report import write_report

pytestmark = pytest.mark.slow

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def test_a_reader_finds_the_verdict_and_sorts_a_table(realistic, visit):
    seen = visit(write_report(realistic), viewport=DESK)
    headline = seen.page.locator("h1").inner_text()
    assert any(study in headline for study in ("cwd", "cskd"))
    assert "points" in headline
    assert "Against the baseline" in seen.page.locator("dl.verdict").inner_text()

    table = "#comparison table"
    head = seen.page.locator(f"{table} th", has_text="mIoU")
    for direction, reverse in (("descending", True), ("ascending", False)):
        head.click()
        assert head.get_attribute("aria-sort") == direction
        scores = [float(text) for text in seen.column(table, 2)]
        assert scores == sorted(scores, reverse=reverse)
    study = seen.page.locator(f"{table} th", has_text="Study")
    study.focus()
    study.press("Enter")
    names = seen.column(table, 1)
    assert names == sorted(names, reverse=True)

    assert seen.page.locator("svg.plot").count() > 10
    assert seen.errors == []
    assert [url for url in seen.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_without_scripts_the_tables_are_all_there(realistic, visit):
    seen = visit(write_report(realistic), viewport=DESK, java_script_enabled=False)
    assert len(seen.column("#comparison table", 2)) == 5
    assert seen.page.locator("#curves svg.plot").first.is_visible()
    assert "Fingerprint" in seen.page.locator("#rebuild").inner_text()
    seen.page.locator("#classes summary").click()
    assert seen.page.locator("#classes table").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_nothing_runs_over_the_edge_and_text_is_told_from_its_ground(realistic, visit, viewport, scheme):
    seen = visit(write_report(realistic), viewport=viewport, color_scheme=scheme)
    assert seen.page.evaluate(OVERFLOW) <= 0
    ink, paper = seen.page.evaluate(
        "['color', 'backgroundColor'].map(name => getComputedStyle(document.body)[name].match(/\\d+/g).map(Number))"
    )
    assert abs(sum(ink[:3]) - sum(paper[:3])) > 400
    assert (sum(paper[:3]) > 600) == (scheme == "light")


def test_a_reader_looks_around_in_the_runs(realistic, visit):
    """Filters, parts of an axis, details on a click; the page is small."""
    path = write_report(realistic)
    assert path.stat().st_size < 1_500_000
    seen = visit(path, viewport=DESK)
    assert seen.first_paint_s() < 1
    page, rows = seen.page, "table.runs tbody tr:not([hidden])"
    assert page.locator(rows).count() == 60
    page.select_option("select[name=study]", "cwd")
    page.select_option("select[name=phase]", "search")
    assert page.locator("#runs output").inner_text() == "6 of 60 runs"
    assert page.locator("[data-of]:visible").count() == 1
    zone = page.locator("[data-of=cwd] .zone").last
    zone.scroll_into_view_if_needed()
    box = zone.bounding_box()
    page.mouse.move(box["x"] + 14, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 14, box["y"] + 30, steps=3)
    page.mouse.up()
    kept = page.locator(rows).count()
    assert 0 < kept < 6
    assert page.locator("#parameters circle.off").count() > 0
    page.locator(rows).first.click()
    shown = page.locator("dialog.run").inner_text()
    trial = page.locator("dialog.run h3").inner_text()
    assert f"kdsweep train {path.parent.parent} --trial {trial} --dir student-{trial}" in shown
    assert "mIoU from" in shown
    assert "method: cwd" in shown
    page.keyboard.press("Escape")
    page.click("button[type=reset]")
    page.wait_for_function("document.querySelector('#runs output').textContent === '60 of 60 runs'")
    mark = page.locator("#parameters circle[data-trial]").first
    mark.hover()
    assert "gives" in page.locator("#tip").inner_text()
    mark.click()
    assert page.locator("dialog.run h3").inner_text() == mark.get_attribute("data-trial")
    assert seen.errors == []


def test_a_phone_shows_verdict_and_tables_whole(realistic, visit):
    seen = visit(write_report(realistic), viewport=PHONE)
    seen.page.evaluate("document.querySelectorAll('details.fold').forEach(each => { each.open = true; })")
    assert seen.page.evaluate(OVERFLOW) <= 0
    for part in ("dl.verdict", "#comparison table", "#costs table", "#selection table", "#runs .filters"):
        box = seen.page.locator(part).first.bounding_box()
        assert box["x"] >= 0, part
        assert box["x"] + box["width"] <= PHONE["width"], part
    wider = "each => each.filter(one => one.scrollWidth > one.clientWidth + 1).length"
    assert seen.page.locator(".scroll:has(table)").evaluate_all(wider) == 0
    cell = seen.page.locator("#comparison tbody tr").first.locator("td").nth(1)
    assert seen.page.evaluate("cell => getComputedStyle(cell, '::before').content", cell.element_handle()) == '"mIoU: "'
    sizes = "[...document.querySelectorAll('.plot text')].map(text => parseFloat(getComputedStyle(text).fontSize))"
    assert min(seen.page.evaluate(sizes)) >= 12


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_phone_folds_what_the_verdict_does_not_say(realistic, visit, scripts):
    seen = visit(write_report(realistic), viewport=PHONE, java_script_enabled=scripts)
    page = seen.page
    assert page.locator("#comparison table").is_visible()
    assert not page.locator("#costs table").first.is_visible()
    assert page.locator("main").bounding_box()["height"] < 12 * PHONE["height"]
    page.locator("#costs summary").first.click()
    assert page.locator("#costs table").first.is_visible()
    if scripts:
        page.locator("nav a[href='#selection']").click()
        page.locator("#selection details.fold[open]").wait_for()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_wide_screen_folds_no_section(realistic, visit, scripts):
    seen = visit(write_report(realistic), viewport=DESK, java_script_enabled=scripts)
    assert all(
        seen.page.locator(f"#{name} {part}").first.is_visible()
        for name, part in (("costs", "table"), ("selection", "table"))
    )
