"""The frozen selection on final seeds, from tables in which every number differs."""

import html
import json

import pytest
from scipy import stats

from analysis.formats import signed
from analysis.report.best_evidence import best_evidence
from analysis.report.findings import findings_of
from analysis.report.paper.tables import final_sheets
from analysis.report.sweep_report import report_page
from analysis.report.verdict import verdict_of
from analysis.selection.final_seeds import final_difference, final_scores

SELECT = {"none": (0.41, 0.40, 0.43), "cwd": (0.48, 0.49, 0.47)}
TEST = {"none": (0.31, 0.32, 0.30), "cwd": (0.35, 0.37, 0.38)}


@pytest.fixture
def frozen(sweep):
    """The sweep frozen with role test; its final seeds are 21 to 23."""

    def build(role):
        ids = {study: {"study": study, "config_id": f"{study}-config-{n}"} for study, n in (("none", 1), ("cwd", 0))}
        content = {"chosen": ids["cwd"], "baseline": ids["none"], "why": "frozen", "seeds": [21, 22, 23]}
        sweep.rows["sweeps"][0]["frozen_json"] = json.dumps({**content, "role": role, "at": "2026"})
        for study, origin in (("none", "none-1"), ("cwd", "cwd-0")):
            for seed, select, test in zip((21, 22, 23), SELECT[study], TEST[study], strict=True):
                trial = sweep.trial(study, select, seed=seed, of=origin, phase="final")
                sweep.evaluation(trial, test, [test, test], role="test")
                rows = sweep.rows["evaluations"]
                rows[-2:] = rows[:-3:-1]  # in whatever order they come
        return sweep.tables()

    return build


def failing(frozen, sweep, role, **trial):
    """The same sweep with the training of cwd on the last final seed replaced."""
    frozen(role)
    lost = next(row for row in sweep.rows["trials"] if row["study"] == "cwd" and row["seed"] == 23)
    sweep.rows["evaluations"] = [row for row in sweep.rows["evaluations"] if row["trial_id"] != lost["trial_id"]]
    lost.update(score=None, **trial)
    return sweep.tables()


@pytest.mark.parametrize(("role", "at"), [("select", 0.12), ("test", 0.12)])
def test_a_final_seed_that_diverged_counts_at_the_score_that_it_had_reached(frozen, sweep, role, at):
    tables = failing(frozen, sweep, role, state="diverged", reached=0.12)
    chosen, difference = final_scores(tables), final_difference(tables)
    assert (chosen.seeds, chosen.failed) == ((21, 22, 23), (23,))
    assert chosen.scores[-1] == pytest.approx(at)
    assert (len(difference.each), difference.withheld) == (3, "")
    line = next(line for line in verdict_of(tables).lines if line.label == "After the freeze")
    assert "seed 23 failed and counts at 12.00" in line.text
    assert line.mark == "amber"


def test_a_failed_training_counts_on_role_test_no_higher_than_those_that_ended(frozen, sweep):
    tables = failing(frozen, sweep, "test", state="diverged", reached=0.45)
    assert final_scores(tables).scores[-1] == pytest.approx(min(*TEST["none"], *TEST["cwd"][:2]))


def test_a_final_seed_that_a_machine_lost_takes_the_word(frozen, sweep):
    tables = failing(frozen, sweep, "test", state="failed", failure="node")
    assert final_scores(tables).failed == ()
    assert final_difference(tables).withheld == "study cwd lacks the score of 1 of 3 final seeds"
    assert ", no verdict: study cwd lacks" in verdict_of(tables).headline


@pytest.mark.parametrize(("role", "scores"), [("test", TEST), ("select", SELECT)])
def test_final_scores_are_those_of_their_role(frozen, role, scores):
    chosen = final_scores(frozen(role))
    assert (chosen.study, chosen.seeds, chosen.role) == ("cwd", (21, 22, 23), role)
    assert chosen.scores == pytest.approx(scores["cwd"])
    assert chosen.select_mean == pytest.approx(0.48)


@pytest.mark.parametrize(("role", "scores"), [("test", TEST), ("select", SELECT)])
def test_the_difference_on_final_seeds_is_a_paired_t_test(frozen, role, scores):
    found = final_difference(frozen(role))
    theirs = stats.ttest_rel(scores["cwd"], scores["none"]).confidence_interval(1 - 0.05 * 3 / 4)
    assert found.each == pytest.approx([mine - base for mine, base in zip(scores["cwd"], scores["none"], strict=True)])
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))


def test_the_frozen_page_has_the_final_seeds_first_and_marks_the_selection(frozen):
    found = findings_of(frozen("test"))
    words, page = verdict_of(found.tables), html.unescape(report_page(found))
    assert words.stage == "final seeds"
    assert words.lines[0].label == "After the freeze"
    assert "Selection: against the baseline" in {line.label for line in words.lines}
    assert page.index("Held out, on role test: config cwd-0") < page.index("These are the numbers of the selection")
    (sheet,) = final_sheets(found)
    difference = final_difference(found.tables)
    assert sheet.rows[0][2].startswith(f"{signed(difference.mean)} [")
    assert sheet.rows[0][3] == words.said.in_table == difference.word
    said = best_evidence(found.tables)["evidence"]
    assert (said["verdict"]["word"], said["verdict"]["difference"]) == (difference.word, difference.mean)
    assert list(said)[:2] == ["verdict", "test"]


def test_a_frozen_baseline_is_compared_with_nothing(frozen, sweep):
    frozen("test")
    content = json.loads(sweep.rows["sweeps"][0]["frozen_json"])
    sweep.rows["sweeps"][0]["frozen_json"] = json.dumps({**content, "chosen": content["baseline"]})
    words = verdict_of(sweep.tables())
    assert words.headline.startswith("Held out, on role test: the baseline was chosen, none, config none-1")
    assert words.headline.endswith("31.00 mIoU over 3 final seeds")
    assert words.said is None
