"""What the report says about roles that lack classes."""

from analysis.ablation.effects import ablate
from analysis.conditions.one_sided import missing_classes, single_class
from analysis.report.sweep_report import write_report
from analysis.report.verdict import verdict
from analysis.selection.compare import compare


def lacking(empty_sweep, *roles):
    """A sweep whose evaluations on some roles are of the class road alone, though car was predicted."""
    sweep = empty_sweep()
    sweep.study("none", is_baseline=True)
    trial = sweep.trial("none", 0.5)
    sweep.rows["evaluations"].clear()
    for role in ("select", "test"):
        sweep.evaluation(trial, 0.5, [1.0, 0.0], role)
        sweep.rows["evaluations"][-1]["recall"] = [1.0, None if role in roles else 0.4]
    return sweep


def test_an_miou_over_one_class_is_said_in_the_verdict_and_the_report(empty_sweep, tmp_path):
    sweep = lacking(empty_sweep, "select")
    tables = sweep.tables()
    said = "the mIoU on the role select is over one class, road: a network that always predicts this class scores 100"
    assert single_class(tables) == [said]
    warnings = next(line for line in verdict(tables, compare(tables), ablate(tables)).lines if line.label == "Warnings")
    assert (said in warnings.text, warnings.mark) == (True, "red")
    page = write_report(sweep.write(tmp_path)).read_text()
    assert "over one class, road" in page
    assert "The role select has no labelled pixel of 1 of 2 classes (car): its mIoU does not measure them." in page


def test_every_evaluated_role_is_looked_at(empty_sweep):
    assert missing_classes(lacking(empty_sweep).tables()) == single_class(lacking(empty_sweep).tables()) == []
    (said,) = missing_classes(lacking(empty_sweep, "test").tables())
    assert said.startswith("The role test has no labelled pixel of 1 of 2 classes (car)")
