"""What a section of the report gets: short tables whole, rows of long tables by name."""

import re

import pytest

from analysis import read_tables
from analysis.report.contents import SECTIONS, Section
from analysis.report.findings import LONG, findings_of, read_findings
from analysis.report.sweep_report import report_page
from analysis.tables.schemas import SCHEMAS


@pytest.fixture
def detailed(sweep):
    """The sweep of two studies with values of loss terms, and confusion matrices of every trial."""
    for trial in sweep.rows["trials"]:
        for epoch in (1, 2):
            row = {"sweep_id": "s1", "trial_id": trial["trial_id"], "epoch": epoch, "name": "term/kd/raw", "value": 1.0}
            sweep.rows["metrics"].append(row)
        right = round(1000 * trial["score"])
        for image in range(12):
            for label in (0, 1):
                row = {"eval_id": f"{trial['trial_id']}/select", "image_id": f"i{image:02d}", "gt": label}
                row |= {"group_id": f"g{image // 2}", "n": right + image}
                missed = {**row, "pred": 1 - label, "n": 1000 - right + image % 3}
                sweep.rows["confusion"] += [{**row, "pred": label}, missed]
    return sweep


def test_a_long_table_is_never_given_as_if_it_were_whole(tables):
    short = findings_of(tables).tables
    assert set(short) == set(SCHEMAS) - set(LONG)
    for name in LONG:
        with pytest.raises(KeyError, match=r"Findings\.rows"):
            short[name]


def test_every_section_says_the_same_of_a_folder_as_of_whole_tables(detailed, tmp_path):
    folder = detailed.write(tmp_path)
    read, whole = read_findings(folder), findings_of(read_tables(folder), folder)
    bodies = {section.anchor: section.body(read) for section in SECTIONS}
    assert bodies == {section.anchor: section.body(whole) for section in SECTIONS}
    for anchor in ("curves", "terms", "noise", "classes"):  # those that read rows of long tables
        assert bodies[anchor]


def test_a_section_reads_only_the_rows_that_it_names(detailed, tmp_path):
    read = read_findings(detailed.write(tmp_path))
    assert set(read.checkpoint_confusion["eval_id"]) == {"cwd-4/select", "none-3/select"}
    assert set(read.curves["trial_id"]) == {trial["trial_id"] for trial in detailed.rows["trials"]}
    assert read.representatives == {"cwd": "cwd-4", "none": "none-3"}


def test_a_section_is_shown_by_being_listed_and_left_out_while_it_has_nothing_to_show(tables, monkeypatch):
    listed = (
        Section("size", "Size", lambda findings: f"<p>{len(findings.tables['trials'])} rows</p>"),
        Section("nothing", "Nothing", lambda findings: ""),
    )
    monkeypatch.setattr("analysis.report.sweep_report.SECTIONS", listed)
    page = report_page(findings_of(tables))
    assert '<a href="#size">Size</a>' in page
    assert '<section id="size"><h2>Size</h2><p>10 rows</p></section>' in page
    assert "Nothing</h2>" not in page


def test_an_ablation_leaves_out_the_sections_of_a_search(sweep, monkeypatch):
    sweep.rows["sweeps"][0]["purpose"] = "ablation"
    listed = (Section("a", "A", lambda findings: "a", in_ablation=False), Section("b", "B", lambda findings: "b"))
    monkeypatch.setattr("analysis.report.sweep_report.SECTIONS", listed)
    page = report_page(findings_of(sweep.tables()))
    assert '<section id="b">' in page
    assert '<section id="a">' not in page


def test_anchors_and_titles_of_sections_are_unique():
    assert (
        len({section.anchor for section in SECTIONS}) == len({section.title for section in SECTIONS}) == len(SECTIONS)
    )


def body(findings, anchor):
    return next(section for section in SECTIONS if section.anchor == anchor).body(findings)


def test_the_budget_shows_what_the_teacher_took(sweep):
    assert "fitting the teacher 5.0 min" in body(findings_of(sweep.tables()), "budget")


def test_every_reading_of_the_test_images_is_listed(sweep):
    assert "No trial was evaluated on the role test." in body(findings_of(sweep.tables()), "fairness")
    sweep.evaluation("cwd-3", 0.4, [0.4, 0.4], role="test")
    sweep.evaluation("cwd-4", 0.4, [0.4, 0.4], role="test")
    shown = body(findings_of(sweep.tables()), "fairness")
    cells = re.sub(r" data-label=\"[^\"]*\"", "", shown)
    assert '<td>cwd</td><td>confirm</td><td class="n" data-sort="2">2</td>' in cells


def test_classes_have_intervals_over_images(detailed, tmp_path):
    read = read_findings(detailed.write(tmp_path))
    classes = body(read, "classes")
    assert "A claim about two checkpoints on such images" in classes
    assert "Holm over 2 classes" in classes
    assert "6 sequences" in classes
    assert ">Two checkpoints</th>" in classes
