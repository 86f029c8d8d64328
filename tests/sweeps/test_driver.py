"""Whole lives of a sweep on a fake training."""

from collections import Counter

import pytest

from kdtrain.config import TrainConfig
from kdtrain.errors import InputError
from kdtrain.loop.reports import EpochReport
from sweeps.driver.driver import DONE, WAIT, Driver, SweepAborted
from sweeps.driver.growth import check_begun
from sweeps.launch.inline import run_inline
from sweeps.ledger.failure import Crash
from sweeps.ledger.ledger import read
from sweeps.ledger.state import SweepState
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import rows
from sweeps.spec.spec import load_spec
from sweeps.store.store import Store

HALVING = {"name": "halving", "grace": 1, "factor": 2}


def small(fake, **changes):
    """Two studies with early stopping: few records."""
    return fake.make_spec(
        **{
            "studies": ["none", "kd"],
            "train": {"epochs": 3},
            "budget": {"trials": 4},
            "scheduler": HALVING,
            "confirm": {"top": 1, "seeds": 1},
            "seed": 6,
            **changes,
        }
    )


class Unlucky:
    """Some configs diverge, and one crashes on its first attempt."""

    def __init__(self, fake):
        self.fake = fake
        self.crashed = set()

    def __call__(self, config, epoch):
        luck = self.fake.draw(config.optimizer.lr)
        if luck < 0.2 and epoch == 2:
            return "nan"
        if luck > 0.9 and epoch == 2 and config.config_id not in self.crashed:
            self.crashed.add(config.config_id)
            raise RuntimeError("CUDA error: the device fell off the bus")
        return None


def test_every_study_gets_the_same_budget_and_its_best_config_fresh_seeds(fake, tmp_path):
    spec = fake.make_spec()
    state = fake.run(spec, tmp_path)
    assert state.finished
    searched = Counter(trial.study for trial in state.trials.values() if trial.phase == "search")
    assert searched == {"none": 4, "kd": 4, "cwd": 4, "csc_ace": 4, "cskd": 4}
    for study in spec.studies:
        searches = state.of_study(study.name, "search")
        best = max(searches, key=lambda trial: trial.score)
        confirmed = state.of_study(study.name, "confirm")
        assert [trial.seed for trial in confirmed] == [8, 9]
        assert {trial.candidate_of for trial in confirmed} == {best.id}
        assert {trial.config_id for trial in confirmed} == {best.config_id}
        assert {trial.seed for trial in searches} == {7}


def test_the_first_trial_of_a_study_is_the_published_default(fake, tmp_path):
    state = fake.run(fake.make_spec(), tmp_path)
    assert state.trials["cwd-0"].params["terms.channel_wise.weight"] == 3.0
    assert state.trials["cwd-0"].params["terms.channel_wise.temperature"] == 4.0
    assert state.trials["none-0"].params == {"optimizer.lr": 0.02}


def test_a_budget_of_epochs_is_spent_evenly_though_pruning_saves_some(fake, tmp_path):
    spec = fake.make_spec(budget={"epochs": 40}, scheduler=HALVING, confirm={"top": 0})
    state = fake.run(spec, tmp_path)
    for study in spec.studies:
        trials = state.of_study(study.name)
        assert abs(sum(trial.epochs_run for trial in trials) - 40) <= 3, "half a trial of 6 epochs"
        assert any(trial.state == "pruned" for trial in trials)
        assert len(trials) > 40 // 6


def test_a_fast_starter_of_one_study_prunes_nobody_of_another(fake, tmp_path):
    def quality(config):
        return 0.9 if not config.uses_teacher else 0.1 + config.optimizer.lr

    spec = small(fake, studies=["none", "kd"], scheduler={**HALVING, "factor": 3}, budget={"trials": 2})
    state = fake.run(spec, tmp_path, fake.FakeTrain(quality))
    assert {trial.state for trial in state.trials.values()} == {"complete"}


def test_confirm_runs_are_never_pruned(fake, tmp_path):
    state = fake.run(small(fake), tmp_path)
    assert any(trial.state == "pruned" for trial in state.trials.values())
    assert {trial.state for trial in state.trials.values() if trial.phase == "confirm"} == {"complete"}


def test_a_fresh_seed_on_which_a_config_does_badly_is_trained_to_its_end(fake, tmp_path):
    """Rungs compare the searched trials, which share a seed: a confirm run is no rival of theirs."""

    def quality(config):
        return fake.default_quality(config) if config.seed == 6 else 0.01

    state = fake.run(small(fake), tmp_path, fake.FakeTrain(quality))
    confirmed = state.of_phase("confirm")
    assert [(trial.state, trial.epochs_run) for trial in confirmed] == [("complete", 3)] * 2


def test_epochs_of_running_trials_count_against_the_budget(fake, tmp_path):
    """Else a cluster with many free places would begin far more trials than the budget pays for."""
    spec = fake.make_spec(studies=["none"], train={"epochs": 6}, budget={"epochs": 12}, confirm={"top": 0})
    with fake.open_driver(spec, tmp_path) as driver:
        assert [driver.next().id, driver.next().id] == ["none-0", "none-1"]
        assert driver.next() is WAIT


def test_a_study_with_nothing_to_search_goes_straight_to_its_seeds(fake, tmp_path):
    spec = fake.make_spec(space={}, studies=[{"method": "none"}, {"method": "kd", "space": {}}])
    state = fake.run(spec, tmp_path)
    assert [(t.study, t.phase, t.seed, t.candidate_of) for t in state.trials.values()] == [
        ("none", "confirm", 8, None),
        ("kd", "confirm", 8, None),
        ("none", "confirm", 9, None),
        ("kd", "confirm", 9, None),
    ]


def test_without_a_confirm_phase_a_single_config_is_run_once(fake, tmp_path):
    spec = fake.make_spec(space={}, studies=["none"], confirm={"top": 0})
    state = fake.run(spec, tmp_path)
    assert [trial.id for trial in state.trials.values()] == ["none-0"]


def test_a_finite_space_is_tried_out_once_and_then_left(fake, tmp_path):
    space = {"optimizer.lr": [0.01, 0.02, 0.05]}
    spec = fake.make_spec(space=space, studies=["none"], budget={"trials": 9}, confirm={"top": 0})
    state = fake.run(spec, tmp_path)
    assert sorted(trial.params["optimizer.lr"] for trial in state.trials.values()) == [0.01, 0.02, 0.05]
    assert "every config" in state.searches.exhausted["none"]
    assert state.finished


def test_two_trials_at_once_wait_for_what_they_need(fake, tmp_path):
    spec = small(fake, studies=["none"], budget={"trials": 2}, scheduler={"name": "none"})
    with fake.open_driver(spec, tmp_path) as driver:
        first, second = driver.next(), driver.next()
        assert {first.id, second.id} == {"none-0", "none-1"}
        assert driver.next() is WAIT
        train = fake.FakeTrain()
        for trial in (second, first):
            driver.started(trial.id)
            listen = lambda report, trial=trial: driver.report(trial.id, report)  # noqa: E731
            result = train(TrainConfig.parse(trial.config), report=listen, workdir=tmp_path / "trials" / trial.id)
            driver.ended(trial.id, result)
        run_inline(driver, train)
        assert driver.next() is DONE
        assert driver.state.finished


def test_a_crash_is_tried_again_and_its_text_kept(fake, tmp_path):
    broken = []

    def before(config, epoch):
        if epoch == 2 and config.epochs == 6 and not broken:
            broken.append(True)
            raise RuntimeError("the disk went away")

    train = fake.FakeTrain(before=before)
    state = fake.run(fake.make_spec(studies=["none"], budget={"trials": 2}), tmp_path, train)
    trial = state.trials["none-0"]
    assert (trial.state, trial.attempts, trial.retries, trial.crashes) == ("complete", 2, 1, {"error": 1})
    assert train.epochs_trained == 6 * len(state.trials)
    (retried,) = [record for record in read(tmp_path) if record.kind == "retried"]
    assert "the disk went away" in retried.data["reason"]
    assert "Traceback" in retried.data["reason"]


def test_a_trial_that_keeps_crashing_fails_and_the_sweep_goes_on(fake, tmp_path):
    def before(config, epoch):
        if config.optimizer.lr != 0.02:
            raise RuntimeError(f"no luck with {config.optimizer.lr}")

    spec = fake.make_spec(studies=["none"], budget={"trials": 3}, retries=2)
    state = fake.run(spec, tmp_path, fake.FakeTrain(before=before))
    assert [trial.state for trial in state.of_study("none", "search")] == ["complete", "failed", "failed"]
    assert [trial.attempts for trial in state.of_study("none", "search")] == [1, 3, 3]
    assert state.trials["none-1"].reason.startswith("RuntimeError: no luck with")
    assert state.finished


def test_wrong_input_is_not_tried_again(fake, tmp_path):
    def before(config, epoch):
        if config.optimizer.lr != 0.02:
            raise InputError("augment.crop: larger than the images")

    state = fake.run(fake.make_spec(studies=["none"], budget={"trials": 2}), tmp_path, fake.FakeTrain(before=before))
    assert (state.trials["none-1"].state, state.trials["none-1"].attempts) == ("failed", 1)


def test_a_sweep_in_which_everything_fails_alike_stops_and_can_be_mended(fake, tmp_path):
    def before(config, epoch):
        raise RuntimeError("libcuda.so is missing")

    spec = fake.make_spec(retries=0)
    with pytest.raises(SweepAborted, match="first 5 trials all failed, in every study: RuntimeError: libcuda"):
        fake.run(spec, tmp_path, fake.FakeTrain(before=before))
    aborted = SweepState.of(read(tmp_path))
    assert [trial.study for trial in aborted.trials.values()] == ["none", "kd", "cwd", "csc_ace", "cskd"]
    assert "libcuda" in aborted.aborted

    state = fake.run(spec, tmp_path)
    assert state.finished
    assert {trial.state for trial in state.trials.values()} == {"complete"}
    assert len(state.of_study("none", "search")) == 4


def test_divergence_is_an_end_of_its_own_and_is_not_searched_again(fake, tmp_path):
    def before(config, epoch):
        return "nan" if config.optimizer.lr > 0.03 and epoch == 3 else None

    spec = fake.make_spec(studies=["none"], budget={"trials": 16}, confirm={"top": 1, "seeds": 1})
    state = fake.run(spec, tmp_path, fake.FakeTrain(before=before))
    diverged = [trial for trial in state.trials.values() if trial.state == "diverged"]
    assert diverged
    assert {(trial.score, trial.epochs_run, trial.attempts) for trial in diverged} == {(None, 2, 1)}
    assert "kl was not finite" in diverged[0].reason
    late = [trial.params["optimizer.lr"] for trial in state.of_study("none", "search")[8:]]
    assert sum(lr > 0.03 for lr in late) <= 2


def test_the_same_folder_refuses_another_sweep_and_names_the_difference(fake, tmp_path):
    spec = fake.make_spec()
    fake.open_driver(spec, tmp_path).close()
    other = fake.make_spec(train={"epochs": 7, "batch_size": 4})
    with pytest.raises(InputError, match=r"already holds the sweep five, in which train\.epochs is 6 and not 7"):
        fake.open_driver(other, tmp_path)
    with pytest.raises(InputError, match=r"train\.epochs is 6 and not 7"):
        check_begun(other, Store(tmp_path))
    fake.open_driver(fake.make_spec(resources={"cpu": 2}, retries=3), tmp_path).close()


def test_changed_data_and_another_teacher_are_refused(fake, tmp_path):
    spec = fake.make_spec()
    fake.open_driver(spec, tmp_path).close()
    with pytest.raises(InputError, match=r"data have changed .* digests\.train was 't1' and is 't2'"):
        Driver(spec, tmp_path, fake.context(digests={"train": "t2", "select": "d1"}))
    with pytest.raises(InputError, match="begun with the teacher feedfacefeedface"):
        Driver(spec, tmp_path, fake.context(teacher={"digest": "another"}))
    fake.open_driver(spec, tmp_path).close()


def test_a_second_driver_is_refused(fake, tmp_path):
    spec = fake.make_spec()
    with (
        fake.open_driver(spec, tmp_path),
        pytest.raises(InputError, match=r"another driver \(process \d+ on .*\) is running the sweep"),
    ):
        fake.open_driver(spec, tmp_path)


def test_the_spec_as_run_lies_in_the_folder_and_runs_again(fake, tmp_path):
    spec = fake.make_spec()
    fake.open_driver(spec, tmp_path).close()
    assert load_spec(tmp_path / "spec.yaml") == spec


def test_a_finished_sweep_run_again_does_nothing(fake, tmp_path):
    spec = small(fake)
    fake.run(spec, tmp_path)
    train = fake.FakeTrain()
    state = fake.run(spec, tmp_path, train)
    assert train.epochs_trained == 0
    assert state.finished


def test_reports_that_come_twice_or_late_change_nothing(fake, tmp_path):
    spec = small(fake, scheduler={"name": "none"})
    with fake.open_driver(spec, tmp_path) as driver:
        trial = driver.next()
        driver.started(trial.id)
        report = EpochReport(1, 3, {"miou": 0.4}, {}, 0.1, {"total": 1.0}, 8)
        assert driver.report(trial.id, report) == "continue"
        before = driver.state.last
        assert driver.report(trial.id, report) == "continue"
        assert driver.state.last is before
        driver.ended(trial.id, Crash("gone", failure="input"))
        assert driver.report(trial.id, report) == "stop"
        driver.ended(trial.id, None)
        assert driver.state.trials[trial.id].state == "failed"


def comparable(folder):
    """Everything that the tables say, but how often and in which record it was tried."""
    spec, state = load_state(folder)
    tables = rows(state, spec)
    for trial in tables["trials"]:
        del trial["attempts"]
    lasting = ("proposed", "promoted", "stopped", "ended", "exhausted")
    tables["decisions"] = [row for row in tables["decisions"] if row["kind"] in lasting]
    for decision in tables["decisions"]:
        del decision["n"]
    return tables


def torn(folder):
    """A record that was being written."""
    (file,) = (folder / "ledger").glob("*.jsonl")
    file.write_bytes(file.read_bytes() + b'{"n":9,"at":"20')


def test_a_sweep_killed_after_any_record_ends_as_if_it_had_not_been(fake, tmp_path):
    spec = small(fake)
    state = fake.run(spec, tmp_path / "whole", fake.FakeTrain(before=Unlucky(fake)))
    records = read(tmp_path / "whole")
    kinds = {record.kind for record in records}
    assert kinds >= {"sweep", "teacher", "proposed", "report", "promoted", "stopped", "retried", "finished"}
    assert {trial.state for trial in state.trials.values()} == {"complete", "pruned", "diverged"}
    expected = comparable(tmp_path / "whole")

    for cut in range(1, len(records) + 1):
        folder, train = tmp_path / f"cut{cut}", fake.FakeTrain(before=Unlucky(fake))
        fake.resumed(folder, cut, lambda folder, train=train: fake.run(spec, folder, train), torn if cut % 2 else None)
        found = comparable(folder)
        for name, table in expected.items():
            assert found[name] == table, f"cut after record {cut}: table {name}"


def test_a_sweep_killed_again_and_again_still_ends(fake, tmp_path):
    spec, train = small(fake), fake.FakeTrain(before=Unlucky(fake))
    fake.run(spec, tmp_path / "whole", fake.FakeTrain(before=Unlucky(fake)))
    lives = 0
    while lives < 200:
        lives += 1
        try:
            with fake.killed_after(len(read(tmp_path / "often")) + 7):
                fake.run(spec, tmp_path / "often", train)
            break
        except fake.Killed:
            pass
    assert lives > 5
    assert comparable(tmp_path / "often") == comparable(tmp_path / "whole")
