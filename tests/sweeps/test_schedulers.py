"""What each scheduler stops, and that a killed sweep stops the same trials."""

import random
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from kdtrain.errors import InputError
from sweeps.driver.allocation import search_over
from sweeps.driver.hyperband import bracket, bracket_shares
from sweeps.driver.median import running_averages
from sweeps.driver.scheduler import make_scheduler
from sweeps.driver.standings import Standing
from sweeps.ledger.ledger import read
from sweeps.ledger.state import SweepState
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import rows
from sweeps.spec import schedulers
from sweeps.spec.spec import parse_spec
from sweeps.study_plan import study_plan

KINDS = [
    {"name": "halving", "factor": 2},
    {"name": "hyperband", "factor": 2},
    {"name": "median", "rivals": 2},
    {"name": "patience", "evaluations": 1},
    {"name": "halving", "factor": 2, "mode": "pause"},
    {"name": "hyperband", "factor": 2, "mode": "pause"},
]


def title(settings):
    return " ".join(str(each) for each in settings.values() if isinstance(each, str))


@dataclass
class Seen:
    curve: dict[int, float]
    number: int = 0
    epochs: int = 9
    stopped_at: int | None = None

    @property
    def number_in_search(self):
        return self.number  # the study has a single search and no other trials


def others(*curves):
    return [Seen(dict(enumerate(curve, 1)), number) for number, curve in enumerate(curves, 1)]


def judged(settings, curve, rivals=(), **seen):
    trial, rule = Seen(dict(enumerate(curve, 1)), **seen), make_scheduler(settings)
    standing = Standing(rule)
    for each in (*rivals, trial):
        standing.update(each)
    return rule.judge(trial, len(curve), standing.lists)


def test_a_trial_below_the_median_of_running_averages_is_stopped():
    rivals = others([0.2, 0.4], [0.3, 0.5], [0.5, 0.7])  # averages 0.3, 0.4 and 0.6
    rule = schedulers.Median(rivals=3)
    assert judged(rule, [0.1, 0.39], rivals).action == "stop"
    assert judged(rule, [0.1, 0.41], rivals).action == "continue"
    assert judged(rule, [0.41, 0.1], rivals).action == "continue", "its best value counts, not its last"
    stop = judged(rule, [0.1, 0.39], rivals)
    assert (stop.rung, stop.entered, stop.kept) == (2, 4, 2)
    assert stop.reason == "its best value 0.39 is below 0.4, the median of 3 running averages, at epoch 2"


def test_the_median_waits_for_grace_and_for_rivals_that_have_come_as_far():
    rivals = others([0.5, 0.5], [0.5, 0.5], [0.9])
    assert judged(schedulers.Median(rivals=3), [0.1, 0.1], rivals).action == "continue"
    assert judged(schedulers.Median(rivals=2), [0.1, 0.1], rivals).action == "stop"
    assert judged(schedulers.Median(rivals=2, grace=3), [0.1, 0.1], rivals).action == "continue"
    assert running_averages({2: 0.2, 4: 0.4}) == pytest.approx({2: 0.2, 3: 0.2, 4: 0.3})
    assert running_averages({1: 0.2}) == {1: 0.2}


def test_patience_stops_a_curve_without_a_new_best_value():
    best = others([0.9])
    rule = schedulers.Patience(evaluations=2)
    assert judged(rule, [0.1, 0.3, 0.3, 0.2], best).action == "stop"
    assert judged(rule, [0.1, 0.3, 0.2, 0.31], best).action == "continue"
    assert judged(rule, [0.3, 0.2], best).action == "continue", "too few evaluations"
    assert judged(schedulers.Patience(evaluations=2, grace=5), [0.3, 0.2, 0.2, 0.1], best).action == "continue"
    assert judged(rule, [0.1, 0.3, 0.3, 0.2], best).reason == (
        "no better than 0.3 at epoch 2 for 2 evaluations, at epoch 4"
    )


def test_patience_never_stops_the_best_of_a_search():
    rule = schedulers.Patience(evaluations=1)
    assert judged(rule, [0.5, 0.4], others([0.4, 0.4])).action == "continue"
    assert judged(rule, [0.5, 0.4]).action == "continue"


def test_brackets_follow_from_the_number_in_the_shares_of_hyperband():
    assert bracket_shares(2, 3) == pytest.approx([9 / 17, 5 / 17, 3 / 17])  # Li et al. 2018: ceil((s + 1) / ...)
    counts = Counter(bracket(number, 2, 3) for number in range(1700))
    assert [counts[each] for each in range(3)] == pytest.approx([900, 500, 300], abs=3)
    every_second = Counter(bracket(number, 2, 3) for number in range(0, 3400, 2))
    assert [every_second[each] for each in range(3)] == pytest.approx([900, 500, 300], abs=10)


def test_hyperband_compares_trials_of_one_bracket_alone():
    rule = schedulers.Hyperband(factor=2)
    in_bracket = {each: [n for n in range(60) if bracket(n, 4, 2) == each] for each in range(5)}
    strong = [Seen({1: 0.9, 2: 0.9}, number) for number in in_bracket[0]]
    assert judged(rule, [0.1], strong, number=in_bracket[0][0]).action == "stop"
    assert judged(rule, [0.1, 0.1], strong, number=in_bracket[1][0]).action == "continue"
    assert judged(rule, [0.1], strong, number=in_bracket[4][0]).rung is None, "the last bracket has no rungs"


def test_every_search_of_a_study_has_the_brackets_of_a_single_one(fake, tmp_path):
    def brackets(repeats):
        """Of every search, the brackets of its trials: none for a trial whose bracket has no rungs."""
        spec = fake.make_spec(
            studies=["none"],
            budget={"trials": repeats * 8},
            repeats=repeats,
            scheduler={"name": "hyperband", "factor": 2, "audit": 1.0},
            sampler={"name": "random"},
        )
        state, rule = fake.run(spec, tmp_path / str(repeats)), make_scheduler(spec.scheduler)
        searches = [state.of_study("none", "search", number) for number in range(1, repeats + 1)]
        return [[{rung.bracket for rung in rule.places(trial)} for trial in trials] for trials in searches]

    (single,) = brackets(1)
    assert [bracket(number, 3, 2) for number in range(8)] == [(*each, 3)[0] for each in single]
    assert brackets(3) == [single] * 3


@pytest.mark.parametrize("settings", KINDS, ids=title)
def test_places_kept_from_report_to_report_are_those_of_all_curves(settings):
    rule, luck = make_scheduler(parse_spec_of(settings)), random.Random(7)
    trials = [Seen({}, number) for number in range(12)]
    kept = Standing(rule)
    for _ in range(80):
        trial = luck.choice(trials)
        if (epoch := max(trial.curve, default=0) + luck.choice((1, 2))) < trial.epochs:
            trial.curve[epoch] = luck.choice((0.1, 0.2, 0.3))
        kept.update(trial)
        anew = Standing(rule)
        for each in trials:
            anew.update(each)
        assert {key: places for key, places in kept.lists.items() if places} == anew.lists


def parse_spec_of(settings):
    return schedulers.SCHEDULERS[settings["name"]](**settings)


@pytest.mark.parametrize("settings", KINDS, ids=title)
def test_a_decision_costs_no_more_in_a_long_search(settings):
    rule = make_scheduler(parse_spec_of(settings))
    standing = Standing(rule)
    for number in range(10_000):
        standing.update(Seen({epoch: number % 97 + epoch / 100 for epoch in range(1, 9)}, number))
    seconds = []
    for number in range(20):
        trial, began = Seen({1: number / 20}, 10_000), time.thread_time()
        standing.update(trial)
        rule.judge(trial, 1, standing.lists)
        seconds.append(time.thread_time() - began)
    assert min(seconds) < 0.0003  # of this thread on a CPU: what else runs does not count


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"name": "median", "factor": 3}, r"scheduler.factor: is a setting of halving and hyperband, .* is median"),
        ({"name": "none", "rivals": 3}, r"scheduler.rivals: is a setting of median, and the scheduler is none"),
        ({"name": "halving", "evaluations": 3}, r"scheduler.evaluations: is a setting of patience"),
        ({"name": "patience", "evaluation": 3}, r"scheduler.evaluation: unknown key; did you mean evaluations\?"),
        ({"name": "asha"}, r"scheduler.name: must be one of none, halving, .*, got 'asha'"),
        ({"name": "median", "rivals": 0}, r"scheduler.rivals: .* greater than or equal to 1, got 0"),
    ],
)
def test_settings_of_another_scheduler_are_refused(fake, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        fake.make_spec(scheduler=settings)


@pytest.mark.parametrize("settings", [{"name": "none", "grace": 5, "factor": 3}, *KINDS], ids=title)
def test_a_spec_comes_back_from_its_dump(fake, settings):
    spec = fake.make_spec(scheduler=settings)
    assert parse_spec(spec.model_dump(mode="json")) == spec


def test_the_plan_says_where_trials_are_stopped(fake):
    def words(**settings):
        spec = fake.make_spec(scheduler=settings)
        return study_plan(spec, spec.studies[0]).early_stopping

    assert words(name="none") == ""
    assert words(name="halving", factor=2) == "rungs at epochs 1, 2, 4"
    assert words(name="hyperband", factor=2).startswith("rungs at epochs 1, 2, 4: 36% from epoch 1")
    assert words(name="median", rivals=2) == "from epoch 1 on, below the median of 2 rivals or more"
    assert words(name="patience", evaluations=2) == "from epoch 3 on, after 2 evaluations without a new best value"


def test_the_plan_says_from_which_evaluation_the_brackets_of_hyperband_are_stopped(fake, tmp_path):
    changes = {"studies": ["none"], "train": {"epochs": 10, "evaluate_every": 5}, "budget": {"trials": 40}}
    spec = fake.make_spec(**changes, scheduler={"name": "hyperband"}, sampler={"name": "random"})
    words = study_plan(spec, spec.studies[0]).early_stopping
    # rungs 1, 3 and 9 make brackets of 27, 12, 6 and 4 in 49; 1 and 3 are both evaluated at 5, and 9 only at the end
    assert words == "rungs at epochs 1, 3: 80% from epoch 5, 20% to the end"
    trials = fake.run(spec, tmp_path).of_study("none", "search")
    decided = {row.trial_id: row.epoch for row in load_state(tmp_path)[1].decisions if row.rung is not None}
    assert set(decided.values()) == {5}
    assert len(decided) / len(trials) == pytest.approx(0.80, abs=0.02)


class Bumpy:
    """Curves that fall now and then, so that every scheduler finds something to stop."""

    def __init__(self, fake):
        class Train(fake.FakeTrain):
            def __call__(self, config, machine=None, report=None, workdir=None, interrupt=None):
                def bumpy(each):
                    luck = fake.draw(config.config_id, each.epoch)
                    metrics = {name: value * (0.5 + 0.5 * luck) for name, value in each.metrics.items()}
                    return report(type(each)(**{**vars_of(each), "metrics": metrics}))

                return super().__call__(config, machine, bumpy, workdir, interrupt)

        self.make = Train


def vars_of(report):
    return {name: getattr(report, name) for name in report.__dataclass_fields__}


def told(folder):
    spec, state = load_state(folder)
    tables = rows(state, spec)
    lasting = ("proposed", "promoted", "stopped", "ended")
    decisions = [
        {key: value for key, value in row.items() if key != "n"}
        for row in tables["decisions"]
        if row["kind"] in lasting
    ]
    return decisions, [{**row, "attempts": 0} for row in tables["trials"]]


def went_on(state):
    """The trials that were stopped and later continued."""
    stopped = {row.trial_id for row in state.decisions if row.kind == "stopped"}
    return sorted(stopped & {trial.id for trial in state.trials.values() if not trial.stopped})


@pytest.mark.parametrize("settings", KINDS, ids=title)
def test_a_killed_sweep_stops_the_same_trials(fake, tmp_path, settings):
    pauses = settings.get("mode") == "pause"
    spec = fake.make_spec(
        studies=["none"],
        train={"epochs": 4},
        budget={"trials": 8 if pauses else 7},
        scheduler=settings,
        confirm={"top": 1, "seeds": 1},
        sampler={"name": "tpe", "startup": 3} if pauses else {"name": "random"},
    )
    make = Bumpy(fake).make
    state = fake.run(spec, tmp_path / "whole", make())
    pruned = [trial for trial in state.trials.values() if trial.state == "pruned"]
    assert pruned
    assert any(trial.state == "complete" and trial.phase == "search" for trial in state.trials.values())
    if pauses:
        assert went_on(state), "no trial went on after it was stopped"
    if settings["name"] in ("median", "patience"):
        assert f"at epoch {pruned[0].epochs_run}" in pruned[0].reason
    expected = told(tmp_path / "whole")
    for cut in range(1, len(read(tmp_path / "whole")) + 1):
        folder = tmp_path / f"cut{cut}"
        fake.resumed(folder, cut, lambda folder: fake.run(spec, folder, make()))
        assert told(folder) == expected, f"cut after record {cut}"


def test_a_sweep_that_is_killed_before_a_decision_takes_it_also_if_its_budget_has_grown(fake, tmp_path):
    def spec(trials):
        return fake.make_spec(
            studies=["none"],
            budget={"trials": trials},
            scheduler={"name": "halving", "factor": 2},
            sampler={"name": "random"},
        )

    fake.run(spec(6), tmp_path / "whole")
    records = read(tmp_path / "whole")
    cut, decision = next((each.n - 1, each) for each in records if each.kind == "stopped")
    with fake.killed_after(cut), pytest.raises(fake.Killed):
        fake.run(spec(6), tmp_path / "cut")
    fake.run(spec(8), tmp_path / "cut")
    after = read(tmp_path / "cut")[cut:]
    assert [each.kind for each in after[:3]] == ["stopped", "grown", "session"]
    assert after[0].data == decision.data


def standing_of(rule, trials):
    standing = Standing(rule)
    for each in trials:
        standing.update(each)
    return standing


PAUSE = schedulers.Halving(factor=3, mode="pause")


def test_only_the_best_of_the_first_trials_goes_on_at_once():
    assert judged(PAUSE, [0.1]).action == "continue", "alone, it is the best"
    assert judged(PAUSE, [0.1], [Seen({1: 0.9}, 1)], number=2).action == "stop"
    assert judged(PAUSE, [0.9], [Seen({1: 0.1}, 1)], number=2).action == "continue"
    assert judged(PAUSE, [0.9], [Seen({1: 0.9}, 1)], number=2).action == "stop", "of equals the earlier"
    assert judged(PAUSE, [0.9], [Seen({1: 0.9}, 1)], number=0).action == "continue"


def test_a_stopped_trial_goes_on_once_it_is_among_the_best_of_its_rung():
    rule = make_scheduler(PAUSE)
    running = [Seen({1: 0.9}, 0), Seen({1: 0.1}, 1), Seen({1: 0.2}, 2)]
    stopped = [Seen({1: 0.5}, 3, stopped_at=1), Seen({1: 0.4}, 4, stopped_at=1)]
    assert rule.promotion(standing_of(rule, [*running[:2], *stopped[:1]]).lists) is None, "one of three goes on"
    found = rule.promotion(standing_of(rule, [*running, *stopped]).lists)
    assert (found.number, found.rung, found.value, found.entered, found.kept) == (3, 1, 0.5, 5, 2)
    assert make_scheduler(schedulers.Halving()).promotion(standing_of(rule, [*running, *stopped]).lists)
    final = make_scheduler(schedulers.Halving())
    assert final.promotion(standing_of(final, [*running, *stopped]).lists) is None, "stopped for good"


def test_the_highest_rung_comes_first_and_a_complete_trial_counts_there():
    rule = make_scheduler(PAUSE)
    low = [Seen({1: 0.9}, 1, stopped_at=1)]
    high = [Seen({1: 0.5, 3: 0.3}, 2, stopped_at=3), Seen({1: 0.5, 3: 0.4}, 3, stopped_at=3)]
    assert rule.promotion(standing_of(rule, [*low, *high]).lists).number == 3
    ended = [Seen({1: 0.5, 3: 0.6, 9: 0.6}, 4)]
    assert rule.promotion(standing_of(rule, [*low, *high, *ended]).lists).number == 1


class InOrder:
    """Qualities of a list, to the configs in the order in which they are tried."""

    def __init__(self, *qualities):
        self.qualities, self.seen = qualities, {}

    def __call__(self, config):
        return self.seen.setdefault(config.config_id, self.qualities[min(len(self.seen), len(self.qualities) - 1)])


def pausing(fake, **budget):
    """A sweep with a single rung, at epoch 2 of 4."""
    return fake.make_spec(
        studies=["none"],
        train={"epochs": 4},
        budget=budget,
        scheduler={"name": "halving", "grace": 2, "factor": 2, "mode": "pause"},
        confirm={"top": 1, "seeds": 1},
        sampler={"name": "random"},
    )


def test_a_stopped_trial_goes_on_only_if_the_budget_allows_it_and_also_when_the_budget_has_grown(fake, tmp_path):
    def searched(epochs, folder):
        """Of every trial its state and epochs, in a sweep whose second config deserves to go on after the third."""
        state = fake.run(pausing(fake, epochs=epochs), tmp_path / folder, fake.FakeTrain(worth))
        return [(trial.state, trial.epochs_run, trial.reason) for trial in state.of_study("none", "search")]

    worth = InOrder(0.9, 0.8, 0.1)
    whole, lower = ("complete", 4, None), "not among the best {} of {} at the rung of epoch 2"
    first = ("pruned", 2, lower.format(1, 2))
    assert searched(6, "6") == [whole, first], "the budget is spent"
    assert searched(8, "8") == [whole, first, ("pruned", 2, lower.format(2, 3))], "two more epochs are too many"
    assert searched(9, "9") == [whole, whole, ("pruned", 2, lower.format(2, 3))]
    for folder in ("6", "8"):
        assert searched(9, folder) == searched(9, "9")


def test_a_trial_that_goes_on_is_trained_from_where_it_was(fake, tmp_path):
    train = fake.FakeTrain(InOrder(0.9, 0.8, 0.1))
    state = fake.run(pausing(fake, epochs=9), tmp_path, train)
    assert train.epochs_trained == sum(trial.epochs_run for trial in state.trials.values())
    second = state.trials["none-1"]
    assert (second.attempts, second.stopped, second.result.epochs_run) == (2, None, 4)
    kinds = [row.kind for row in state.decisions if row.trial_id == "none-1"]
    assert kinds == ["proposed", "started", "stopped", "ended", "promoted", "started", "ended"]


def test_no_new_config_is_tried_before_a_stopped_one_that_deserves_to_go_on(fake, tmp_path):
    state = fake.run(pausing(fake, trials=4), tmp_path, fake.FakeTrain(InOrder(0.9, 0.8, 0.1, 0.2)))
    order = [(row.kind, row.trial_id) for row in state.decisions if row.kind in ("proposed", "promoted")]
    assert order.index(("promoted", "none-1")) < order.index(("proposed", "none-3"))
    assert not [trial for trial in state.trials.values() if trial.state.is_unfinished]
    assert [trial.candidate_of for trial in state.of_study("none", "confirm")] == ["none-0"], "after the search is over"


def test_a_search_is_not_over_while_a_stopped_trial_may_go_on(fake, tmp_path):
    spec = pausing(fake, trials=3)
    fake.run(spec, tmp_path, fake.FakeTrain(InOrder(0.9, 0.8, 0.1)))
    records = read(tmp_path)
    at = next(
        number for number, each in enumerate(records) if each.kind == "promoted" and each.data["trial"] == "none-1"
    )
    before, after = SweepState.of(records[:at]), SweepState.of(records)
    assert not any(trial.state.is_unfinished for trial in before.trials.values())
    assert not search_over(spec, before, spec.studies[0])
    assert search_over(spec, after, spec.studies[0])


def test_the_plan_says_that_trials_pause(fake):
    words = make_scheduler(PAUSE).words([1, 3], 9)
    assert words == "rungs at epochs 1, 3, at which trials pause until they are among the best"
    assert make_scheduler(schedulers.Hyperband(mode="pause")).words([1, 3], 9).startswith(f"{words}: ")
    with pytest.raises(InputError, match=r"scheduler.mode: input should be 'stop' or 'pause', got 'freeze'"):
        fake.make_spec(scheduler={"name": "halving", "mode": "freeze"})
    with pytest.raises(InputError, match=r"scheduler.mode: is a setting of halving and hyperband"):
        fake.make_spec(scheduler={"name": "median", "mode": "pause"})
