import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from kdtrain.errors import InputError
from kdtrain.loop.reports import EpochReport
from sweeps.launch.inline import run_inline
from sweeps.show.progress import CONFIRMED, OPTIMISTIC, Display, line, summarize, table
from sweeps.show.status import show_status
from sweeps.store.store import Store


def text(renderable):
    console = Console(file=io.StringIO(), width=200)
    console.print(renderable)
    return console.file.getvalue()


def test_a_sweep_that_has_not_begun(fake, tmp_path):
    spec = fake.make_spec()
    with fake.open_driver(spec, tmp_path) as driver:
        summary = summarize(spec, driver.state)
    assert (summary.phase, summary.best, summary.seconds_left) == ("starting", None, None)
    assert "no trials yet" in line(summary)


def test_what_is_best_so_far_is_called_optimistic(fake, tmp_path):
    spec = fake.make_spec()
    state = fake.run(spec, tmp_path)
    summary = summarize(spec, state)
    searched = {trial.id: trial.score for trial in state.trials.values() if trial.phase == "search"}
    assert summary.best == max(searched.items(), key=lambda pair: pair[1])
    assert summary.phase == "finished"
    assert OPTIMISTIC in text(table(summary))
    searching = replace(summary, studies=tuple(replace(study, confirmed=None) for study in summary.studies))
    assert f"{OPTIMISTIC} {100 * summary.best[1]:.1f}" in line(searching)
    best = max(summary.studies, key=lambda study: study.confirmed)
    assert line(summary).endswith(f"highest {CONFIRMED} {100 * best.confirmed:.1f} {best.name} (n=2)")
    assert OPTIMISTIC not in line(summary), "the best of the search stands beside no score on fresh seeds"
    assert all(study.fresh_runs == 2 for study in summary.studies)
    ahead = replace(summary, studies=(replace(summary.studies[0], fresh_runs=3), *summary.studies[1:]))
    assert line(ahead).endswith("2 to 3 fresh seeds per study so far"), "means over other seeds are not compared"


def test_the_time_left_is_what_is_left_at_the_pace_so_far(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 3}, confirm={"top": 1, "seeds": 2})
    with fake.open_driver(spec, tmp_path) as driver:
        trial = driver.next()
        driver.started(trial.id)
        driver.report(trial.id, EpochReport(1, 6, {"miou": 0.4}, {}, 0.1, {"total": 10.0}, 8))
        summary = summarize(spec, driver.state)
    assert summary.seconds_left == 10.0 * (5 + 2 * 6 + 2 * 6)
    assert "about 4.8 min left" in line(summary)


def test_failures_are_shown(fake, tmp_path):
    def before(config, epoch):
        if config.optimizer.lr != 0.02:
            raise RuntimeError("out of memory")

    spec = fake.make_spec(studies=["none"], budget={"trials": 2}, retries=0)
    state = fake.run(spec, tmp_path, fake.FakeTrain(before=before))
    assert "failed none-1: RuntimeError: out of memory" in text(table(summarize(spec, state)))


def test_the_first_failure_of_a_study_is_told_at_once(fake, tmp_path):
    def before(config, epoch):
        raise RuntimeError(f"no {config.terms[-1].loss}")

    spec = fake.make_spec(studies=["none", "kd"], budget={"trials": 1}, retries=0, confirm={"top": 0})
    lines = []
    with fake.open_driver(
        spec, tmp_path, watchers=[Display(spec, lines.append, Console(file=io.StringIO()), folder="runs/a b")]
    ) as driver:
        run_inline(driver, fake.FakeTrain(before=before))
    failures = [each for each in lines if " failed: " in each]
    place = f"at {Path(__file__).name}:{before.__code__.co_firstlineno + 1}"
    assert failures == [
        f"{study}-0 failed: RuntimeError: no {loss} {place} (`kdsweep status 'runs/a b'` lists every failure)"
        for study, loss in (("none", "cross_entropy"), ("kd", "pixel_kd"))
    ]


def test_plain_lines_come_now_and_then_and_never_twice(fake, tmp_path):
    spec, said, time = fake.make_spec(), [], [0.0]
    display = Display(spec, said.append, Console(file=io.StringIO()), clock=lambda: time[0])
    with display, fake.open_driver(spec, tmp_path, watchers=[display]) as driver:
        for _ in range(100):
            time[0] += 0.1
            display.update()
        assert len(said) == 1
        run_inline(driver, fake.FakeTrain())
        assert len(said) == 1
        time[0] += 60
        display.update()
    assert len(said) == 2
    assert "finished" in said[-1]


def test_on_a_terminal_a_table_is_drawn_in_place(fake, tmp_path):
    console = Console(file=io.StringIO(), force_terminal=True, width=160)
    spec, said = fake.make_spec(studies=["none"]), []
    display = Display(spec, said.append, console)
    with display, fake.open_driver(spec, tmp_path, watchers=[display]) as driver:
        run_inline(driver, fake.FakeTrain())
    assert said == []
    assert "finished" in console.file.getvalue()


def test_status_from_the_files_alone(fake, tmp_path):
    spec = fake.make_spec()
    with fake.open_driver(spec, tmp_path) as driver:
        driver.started(driver.next().id)
        assert "running, last record" in text(show_status(Store(tmp_path)))
    assert "not running here" in text(show_status(Store(tmp_path)))
    fake.run(spec, tmp_path)
    shown = text(show_status(Store(tmp_path)))
    assert "finished" in shown
    assert "not running" not in shown
    with pytest.raises(InputError, match="no sweep in"):
        show_status(tmp_path / "elsewhere")


def test_a_study_is_worth_the_best_mean_over_fresh_seeds_not_its_luckiest_run(fake, tmp_path):
    tried = set()

    def quality(config):
        if config.seed == 7:
            tried.add(config.optimizer.lr)
            return 0.4 + config.optimizer.lr
        return (0.9 if config.seed == 8 else 0.1) if config.optimizer.lr == max(tried) else 0.6

    spec = fake.make_spec(studies=["none"], budget={"trials": 3}, confirm={"top": 2, "seeds": 2})
    (study,) = summarize(spec, fake.run(spec, tmp_path, fake.FakeTrain(quality))).studies
    reached = 1 - 0.5**6
    assert (study.confirmed, study.fresh_runs) == (pytest.approx(0.6 * reached), 2)
    assert study.best == pytest.approx((0.4 + max(tried)) * reached)


def test_of_two_budgets_the_one_that_ends_the_search_is_shown(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 4, "epochs": 12}, confirm={"top": 0})
    (study,) = summarize(spec, fake.run(spec, tmp_path)).studies
    assert (study.spent, study.budget) == (1.0, "12/12 epochs")


def test_trials_that_run_at_once_share_the_time_left(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 3}, confirm={"top": 1, "seeds": 2})
    with fake.open_driver(spec, tmp_path) as driver:
        for _ in range(2):
            trial = driver.next()
            driver.started(trial.id)
            driver.report(trial.id, EpochReport(1, 6, {"miou": 0.4}, {}, 0.1, {"total": 10.0}, 8))
        assert summarize(spec, driver.state).seconds_left == 10.0 * (5 + 5 + 6 + 2 * 6) / 2


def test_the_budget_that_is_reached_first_limits_the_time_left(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 10, "epochs": 12}, confirm={"top": 0})
    with fake.open_driver(spec, tmp_path) as driver:
        trial = driver.next()
        driver.started(trial.id)
        driver.report(trial.id, EpochReport(1, 6, {"miou": 0.4}, {}, 0.1, {"total": 10.0}, 8))
        assert 10.0 * 5 < summarize(spec, driver.state).seconds_left <= 10.0 * (12 + 5)


def test_status_says_what_the_search_took_beside_the_fresh_seeds(fake, tmp_path):
    fake.run(fake.make_spec(), tmp_path)  # four trials of a search and two fresh seeds, all of six epochs
    assert "of the epochs so far the search took 67%" in text(show_status(Store(tmp_path)))


def test_a_trial_whose_outcome_was_taken_over_is_called_reused(fake, tmp_path):
    twins = ["none", {"name": "again", "method": "none"}]
    spec = fake.make_spec(studies=twins, budget={"trials": 1}, confirm={"top": 1, "seeds": 2})
    summary = summarize(spec, fake.run(spec, tmp_path))
    assert [study.states for study in summary.studies] == [{"complete": 3}, {"reused": 3}]
    assert "3 complete, 3 reused" in line(summary)
    assert "reused" in text(table(summary))
