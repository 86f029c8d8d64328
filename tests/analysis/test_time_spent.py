"""Where the seconds went."""

import json

import pytest

from analysis.ablation.effects import ablate
from analysis.conditions.time_spent import PARTS, recording, time_spent
from analysis.report.findings import findings_of
from analysis.report.sections.time_spent import recording_sentence, section, teacher_sentence
from analysis.report.verdict import verdict
from analysis.selection.compare import compare

ONCE = {"record": 300.0, "record_teacher": 1200.0, "wait": 2.0}


@pytest.fixture
def timed(empty_sweep):
    """Two studies with a teacher that was asked in one trial and read in the others."""
    sweep = empty_sweep()
    sweep.study("none", is_baseline=True)
    sweep.study("kd")

    def trial(study, score, parts, asked=0, recorded=0, **fields):
        return sweep.trial(study, score, parts_json=json.dumps(parts), asked=asked, recorded=recorded, **fields)

    trial("none", 0.4, {"total": 10.0, "student": 4.0, "backward": 5.0, "start": 2.0, "optimizer": 0.01})
    trial("none", None, {"total": 6.0, "student": 2.0, "backward": 3.0, "checkpoint": 2.0, "unheard_of": 1.0})
    trial("kd", 0.5, {"total": 30.0, "teacher": 10.0, "student": 4.0, "backward": 5.0, **ONCE}, 1500, 1200)
    trial("kd", 0.5, {"total": 10.0, "data": 1.0, "student": 4.0, "backward": 5.0})
    trial("kd", 0.5, {"total": 10.0, "teacher": 10.0}, 900, 900, reused_from="kd-1")
    return sweep


def test_seconds_by_part_of_every_study(timed):
    frame = time_spent(timed.tables()).set_index("study")
    none, kd = frame.loc["none"], frame.loc["kd"]
    assert none[["trials", "seconds", "rest", "start", "checkpoint"]].tolist() == pytest.approx([2, 20, 1.99, 2, 2])
    assert (kd["trials"], kd["seconds"], kd["teacher"], kd["rest"]) == (2, 40, 10, 11)
    assert (kd["asked"], kd["recorded"]) == (1500, 1200)
    assert frame[list(PARTS)].sum(axis="columns").tolist() == pytest.approx(frame["seconds"].tolist())


def test_what_is_done_once_for_all_is_of_no_study(timed):
    assert recording(timed.tables()).to_dict() == ONCE
    html = section(findings_of(timed.tables()))
    assert "done once for all trials: 5.0 min for recording samples, 20.0 min for teacher maps, 2 s" in html


def test_the_section_shows_parts_that_matter_and_what_the_teacher_took(timed):
    html = section(findings_of(timed.tables()))
    for heading in ("One trial", "Data", "Teacher", "Student", "Backward", "Start", "The rest"):
        assert f">{heading}</th>" in html
    for missing in ("Optimizer", "Losses", "Evaluate", "Record"):
        assert f">{missing}</th>" not in html
    assert "shown 1,500 images, 1,200 of them once for all trials." in html
    assert "host" not in html


def test_where_the_tables_do_not_tell_there_is_no_section(sweep):
    assert time_spent(sweep.tables()).empty
    assert section(findings_of(sweep.tables())) == ""


def test_what_did_not_happen_is_not_spoken_of(sweep):
    assert recording_sentence(recording(sweep.tables())) == ""
    assert teacher_sentence(0, 0, 0) == ""
    assert teacher_sentence(float("nan"), 0, float("nan")) == ""
    assert "once for all" not in teacher_sentence(20, 0, 0)
    assert "20 images, all of them once for all trials" in teacher_sentence(20, 20, 0)
    assert "20 images, all of them once for all trials; recorded maps were read for 40." in teacher_sentence(20, 20, 40)
    assert teacher_sentence(0, 0, 40) == "The teacher was shown no image; recorded maps were read for 40. "


def test_the_budget_counts_what_the_teacher_took_once(timed):
    timed.teacher(0.6, seconds=300.0)
    tables = timed.tables()
    (budget,) = (line.text for line in verdict(tables, compare(tables), ablate(tables)).lines if line.label == "Budget")
    assert ", 5.0 min to fit the teacher, 25.0 min to record samples and teacher maps" in budget
