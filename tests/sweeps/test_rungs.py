from dataclasses import dataclass

import pytest

from sweeps.driver.asha import entry, milestones
from sweeps.driver.scheduler import make_scheduler
from sweeps.driver.standings import Standing
from sweeps.spec import schedulers


@dataclass
class Seen:
    curve: dict[int, float]
    number: int
    epochs: int


def decide(curve, epoch, others, epochs, factor):
    """What halving decides of a trial that has just reported an epoch."""
    rule = make_scheduler(schedulers.Halving(factor=factor))
    standing = Standing(rule)
    trials = [Seen(each, number, epochs) for number, each in enumerate([*others, curve])]
    for trial in trials:
        standing.update(trial)
    return rule.judge(trials[-1], epoch, standing.lists)


def test_milestones_grow_by_the_factor_and_end_before_the_last_epoch():
    assert milestones(1, 3, 10) == [1, 3, 9]
    assert milestones(2, 2, 8) == [2, 4]
    assert milestones(5, 3, 5) == []


def test_a_trial_enters_a_rung_with_its_first_evaluation_at_or_after_it():
    curve = {2: 0.1, 4: 0.3, 6: 0.2}
    assert entry(curve, 3) == (4, 0.3)
    assert entry(curve, 6) == (6, 0.2)
    assert entry(curve, 7) is None


def test_the_first_arrivals_go_on_whatever_they_are_worth():
    assert decide({1: 0.0}, 1, [], 2, 3).action == "continue"
    assert decide({1: 0.0}, 1, [{1: 0.9}], 2, 3).action == "continue"
    assert decide({1: 0.0}, 1, [{1: 0.9}, {1: 0.8}], 2, 3).action == "stop"


@pytest.mark.parametrize(("value", "action"), [(0.81, "continue"), (0.79, "stop"), (0.8, "continue")])
def test_one_in_factor_goes_on_and_a_tie_is_no_defeat(value, action):
    others = [{1: 0.1}, {1: 0.5}, {1: 0.7}, {1: 0.8}, {1: 0.9}]
    assert decide({1: value}, 1, others, 2, 3).action == action


def test_only_the_report_that_enters_a_rung_decides():
    others = [{1: 0.9, 2: 0.9}] * 5
    curve = {1: 0.1, 2: 0.1, 3: 0.1}
    assert decide(curve, 3, others, 5, 2) == decide({}, 1, others, 2, 2)
    assert decide(curve, 3, others, 5, 2).rung is None
    assert decide(curve, 1, others, 5, 2).rung == 1


def test_an_evaluation_that_passes_two_rungs_is_judged_at_the_higher_one():
    others = [{5: 0.9}, {5: 0.8}]
    verdict = decide({5: 0.1}, 5, others, 9, 2)
    assert (verdict.action, verdict.rung, verdict.entered, verdict.kept) == ("stop", 4, 3, 2)


def test_trials_that_have_not_come_so_far_do_not_count():
    verdict = decide({3: 0.1}, 3, [{1: 0.9}, {1: 0.9}, {3: 0.9}], 9, 3)
    assert (verdict.action, verdict.entered) == ("continue", 2)
