"""A trial costs the driver no more in a long sweep than in a short one; a driver that is opened anew goes on alike."""

import itertools
import shutil
import statistics
import sys
from bisect import insort
from collections import Counter, deque

import pytest

from kdtrain.errors import InputError
from kdtrain.loop.reports import EpochReport, TrainResult
from sweeps.driver.driver import WAIT, Idle
from sweeps.driver.fresh_scores import failed_by_method
from sweeps.driver.median import MedianRule, running_averages
from sweeps.driver.samplers import gp, prior
from sweeps.driver.samplers.ranking import Ranked
from sweeps.ledger.ledger import Ledger, read
from sweeps.ledger.read_state import read_state
from sweeps.ledger.sharing import Shared
from sweeps.ledger.state import SweepState
from sweeps.ledger.sweep_events import Note
from sweeps.ledger.tally import Tally
from sweeps.ledger.trial_record import InvalidProposal, TrialRecord
from sweeps.ledger.trial_state import Phase, TrialState
from sweeps.show.live_page import live_page
from sweeps.show.progress import line, summarize
from sweeps.spec.schedulers import Median

EPOCHS = 5
PAUSE = {"name": "halving", "mode": "pause"}


def make_spec(fake, sampler, scheduler, **changes):
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    return fake.make_spec(
        studies=["none", "kd"],
        train={"epochs": EPOCHS},
        budget={"trials": 130},
        sampler={"name": sampler, "startup": 4},
        scheduler=scheduler,
        **{"confirm": {"top": 0}, **changes},
    )


def sometimes_not_valid(config):
    if int(config.optimizer.lr * 1e6) % 7 == 0:
        raise InputError("optimizer.lr: not this one")


class Cluster:
    """Trials that run at once, an epoch of each in turn; some of them diverge."""

    def __init__(self, fake, driver, at_once=3):
        self.draw, self.driver, self.at_once, self.running, self.ended = fake.draw, driver, at_once, deque(), 0
        self.ask = lambda name, *given: getattr(driver, name)(*given)

    def run(self, trials):
        until = self.ended + trials
        while self.ended < until:
            self.fill()
            self.step()

    def fill(self):
        while len(self.running) < self.at_once:
            if isinstance(trial := self.ask("next"), Idle):
                assert trial is WAIT
                assert self.running
                return
            self.ask("started", trial.id)
            self.running.append(trial)

    def step(self):
        trial = self.running.popleft()
        epoch = len(trial.reports) + 1
        if epoch == 3 and trial.number % 11 == 5:
            self.end(trial, TrainResult("diverged", 2, tuple(trial.reports.values()), "not finite"))
            return
        miou = (0.3 + 0.5 * self.draw(trial.id)) * (1 - 0.5**epoch)
        report = EpochReport(epoch, EPOCHS, {"miou": miou}, {}, 0.1, {"total": 1.0}, 8)
        if self.ask("report", trial.id, report) == "stop":
            self.end(trial, None)
        elif epoch == EPOCHS:
            self.end(trial, TrainResult("complete", EPOCHS, tuple(trial.reports.values())))
        else:
            self.running.append(trial)

    def end(self, trial, outcome):
        self.ask("ended", trial.id, outcome)
        self.ended += 1


def counted(function, *given):
    """What a function returns, and how many functions are called for it, so that a walk over all trials shows."""
    calls = 0

    def profile(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        value = function(*given)
    finally:
        sys.setprofile(None)
    return value, calls


def costs(cluster, trials):
    """The usual number of calls of each method of the driver, while so many trials end.

    Studies have configs of different lengths, which are read where a trial starts, so starts are counted apart.
    """
    ask, calls = cluster.ask, {}

    def counting(name, *given):
        value, count = counted(ask, name, *given)
        study = cluster.driver.state.trials[given[0]].study if name == "started" else "all studies"
        calls.setdefault((name, study), []).append(count)
        return value

    cluster.ask = counting
    cluster.run(trials)
    cluster.ask = ask
    return {call: statistics.median(counts) for call, counts in calls.items()}


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [
        ("random", PAUSE),
        ("grid", {"name": "median"}),
        ("cmaes", {"name": "patience", "evaluations": 2}),
        ("sobol", {"name": "halving"}),
        ("prior", {"name": "hyperband"}),
        ("tpe", {"name": "none"}),
        ("gp", {"name": "halving"}),
    ],
)
def test_a_trial_and_a_display_cost_as_much_in_a_long_sweep(fake, tmp_path, monkeypatch, sampler, scheduler):
    monkeypatch.setattr(Ranked.bounded, "__defaults__", (2, 6))
    monkeypatch.setattr(prior, "GOOD", 2)
    monkeypatch.setattr(gp, "GOOD", 2)
    monkeypatch.setattr(gp, "NEWEST", 6)
    spec = make_spec(fake, sampler, scheduler)
    with fake.open_driver(spec, tmp_path, check_config=sometimes_not_valid) as driver:
        cluster, costs_of, shown = Cluster(fake, driver), [], []
        for _ in range(2):
            cluster.run(20)
            costs_of.append(costs(cluster, 15))
            shown.append(counted(show, spec, driver.state)[1])
            cluster.run(40)
    for call, calls in costs_of[0].items():
        assert costs_of[1].get(call, 0) < 1.2 * calls + 20, call
    assert shown[1] < 1.2 * shown[0]


def show(spec, state):
    return line(summarize(spec, state)), live_page(spec, state, "")


@pytest.mark.parametrize("sampler", ["cmaes", "grid", "sobol", "prior", "tpe", "gp"])
def test_a_driver_that_is_opened_anew_proposes_what_the_one_before_would(fake, tmp_path, monkeypatch, sampler):
    monkeypatch.setattr(Ranked.bounded, "__defaults__", (2, 6))
    spec = make_spec(fake, sampler, PAUSE)
    with fake.open_driver(spec, tmp_path / "one", check_config=sometimes_not_valid) as driver:
        cluster = Cluster(fake, driver)
        cluster.run(40)
        cluster.fill()
        driver._ledger.commit()
        shutil.copytree(tmp_path / "one" / "ledger", tmp_path / "two" / "ledger")
        with fake.open_driver(spec, tmp_path / "two", check_config=sometimes_not_valid) as anew:
            handed_out = [anew.next().id for _ in cluster.running]
            assert sorted(handed_out) == sorted(trial.id for trial in cluster.running)
            for _ in range(4):
                before, after = driver.next(), anew.next()
                assert (before.id, before.params) == (after.id, after.params)
        ends = Counter(id(end.proposal) for each in driver.state.searches.ends.values() for end in each)
        assert max(ends.values()) > 1, "no trial has gone on and ended again"
        assert driver.state.searches.invalid


def test_what_is_counted_is_what_a_walk_over_all_trials_finds(fake, tmp_path):
    spec = make_spec(fake, "random", PAUSE)
    with fake.open_driver(spec, tmp_path, check_config=sometimes_not_valid) as driver:
        cluster = Cluster(fake, driver)
        for _ in range(12):
            cluster.run(4)
            compare_with_a_walk(driver.state)


def compare_with_a_walk(state):
    trials, tally = list(state.trials.values()), state.tally
    assert tally == Tally.of(trials)
    assert [*tally.broken.values()] == [trial for trial in trials if trial.state in ("failed", "diverged")]
    assert {trial.id for trial in tally.stopped.values()} == {one.id for one in trials if one.stopped_at is not None}
    for study in state.by_study:
        of_search, searched = tally.of_search(study, 1), state.of_study(study, "search")
        scored = sorted((one for one in searched if one.score is not None), key=lambda one: -one.score)
        assert of_search.best(100) == scored
        assert of_search.best(2, skip=1) == scored[1:3]
        last = sorted((one for one in searched if one.curve), key=lambda one: -list(one.curve.values())[-1])
        assert of_search.leading(3) == last[:3]
        assert of_search.unfinished == sum(trial.state.is_unfinished for trial in searched)
        counts = {key: count for key, count in tally.states[study].items() if count}
        assert counts == {(one.state, False): sum(other.state == one.state for other in searched) for one in searched}
    reached = [one.reached for one in trials if one.state in ("complete", "pruned") or failed_by_method(one)]
    lowest = min((value for value in reached if value is not None), default=None)
    assert min(tally.lowest_reached().values(), default=None) == lowest
    assert state.pace.epochs == sum(len(trial.reports) for trial in trials)


def test_a_proposal_that_is_not_valid_is_as_old_as_it_is():
    bad = [InvalidProposal({"x": -1.0}, "not valid"), InvalidProposal({"x": -2.0}, "not valid")]
    good = [made(number, {1: number / 20}) for number in range(12)]
    shown = Ranked([bad[0], *good[:11], bad[1], good[11]]).bounded(2, 3)
    assert shown == [good[8], good[9], good[10], good[11], bad[1]]


def made(number, curve, state="complete"):
    reports = {epoch: EpochReport(epoch, 9, {"miou": value}, {}, 0.1, {}, 8) for epoch, value in curve.items()}
    params, config = {"x": number}, {"epochs": 9}
    trial = TrialRecord(f"s-{number}", "s", number, Phase.SEARCH, None, 0, params, config, "c", reports=reports)
    trial.state = TrialState(state)
    return trial


@pytest.mark.parametrize("rivals", [1, 2, 3])
def test_the_median_is_that_of_the_rivals(rivals):
    rule = MedianRule(Median(name="median", rivals=rivals))
    for values in itertools.product((0.1, 0.2, 0.3), repeat=4):
        trials = [made(number, {1: value}) for number, value in enumerate(values)]
        lists = {1: []}
        for one in trials:
            insort(lists[1], (running_averages(one.curve)[1], -one.number))
        for one in trials:
            middle = statistics.median(other.curve[1] for other in trials if other is not one)
            verdict = rule.judge(one, 1, lists)
            assert (verdict.action == "stop") == (one.curve[1] < middle)
            if verdict.action == "stop":
                assert verdict.kept == sum(other.curve[1] >= middle for other in trials if other is not one)


def test_reports_that_come_with_the_result_alone_decide_what_they_would_have_decided(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], train={"epochs": 3}, budget={"trials": 4}, scheduler={"name": "halving"})
    actions = []
    for folder, in_time in (("in time", True), ("late", False)):
        with fake.open_driver(spec, tmp_path / folder) as driver:
            for number in range(4):
                trial = driver.next()
                driver.started(trial.id)
                miou = [0.5, 0.4, 0.3, 0.2][number]
                reports = [EpochReport(epoch, 3, {"miou": miou}, {}, 0.1, {"total": 1.0}, 8) for epoch in (1, 2, 3)]
                answers = [driver.report(trial.id, report) for report in reports] if in_time else []
                result = TrainResult("complete", 3, tuple(reports))
                driver.ended(trial.id, None if "stop" in answers else result)
            of_trials = [(one.kind, one.trial_id, one.epoch) for one in driver.state.decisions if one.rung is not None]
            actions.append((of_trials, [trial.state for trial in driver.state.trials.values()]))
    assert actions[0] == actions[1]
    assert "pruned" in actions[1][1]


def test_a_ledger_that_was_read_is_not_read_again_unless_it_has_grown(fake, tmp_path):
    spec = make_spec(fake, "random", {"name": "none"})
    with fake.open_driver(spec, tmp_path) as driver:
        Cluster(fake, driver).run(3)
        driver._ledger.commit()
        known = read_state(tmp_path)
        driver.stop("enough")
    ledger = Ledger(tmp_path, known=known.found)
    assert not ledger.is_known, "the last file has grown"
    ledger.close()
    known = read_state(tmp_path)
    assert known.state == SweepState.of(read(tmp_path))
    taken = []
    ledger = Ledger(tmp_path, take=taken.append, known=known.found)
    assert (ledger.is_known, ledger.records, taken) == (True, (), [])
    number = ledger.append(Note("more")).n
    ledger.close()
    ledger = Ledger(tmp_path, take=taken.append, known=known.found)
    assert (ledger.is_known, len(taken)) == (False, number)
    ledger.close()
    with fake.open_driver(spec, tmp_path, known=known) as driver:
        assert driver.state is not known.state
        assert [decision.detail for decision in driver.state.decisions if decision.kind == "note"] == ["more"]
    known = read_state(tmp_path)
    with fake.open_driver(spec, tmp_path, known=known) as driver:
        assert driver.state is known.state


def test_equal_parts_are_shared_and_no_value_changes():
    shared = Shared()
    first, same, other = ({"data": {"name": "a"}, "lr": [lr], "n": 1} for lr in (1, 1, True))
    assert shared(first) == first
    assert shared(same)["data"] is first["data"]
    assert shared(same)["lr"] is first["lr"]
    assert shared(other)["lr"][0] is True
