"""Of what attempts die, and what is made of it."""

import contextlib
import json
import signal

import pytest

from kdtrain.config import TrainConfig
from kdtrain.errors import StorageError
from kdtrain.loop.reports import EpochReport
from sweeps.attempt.signals import StopRequest
from sweeps.driver.driver import DONE, SweepAborted
from sweeps.driver.retry import MOST_NODE_LOSSES
from sweeps.launch.inline import run_inline
from sweeps.ledger.failure import Crash
from sweeps.ledger.ledger import Ledger, read
from sweeps.ledger.trial_events import EpochReported
from sweeps.ledger.trial_state import Phase
from sweeps.outcome.failures import failed_by_cause
from sweeps.outcome.loaded import load_state
from sweeps.outcome.tabulate import rows


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("shape mismatch"), "error"),
        (StorageError("disk full"), "storage"),
    ],
)
def test_kinds_of_errors(error, failure):
    assert Crash.of(error).failure == failure


def test_out_of_memory_is_tried_once_more_with_a_whole_gpu(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 1}, resources={"gpu": 0.25}, retries=3)
    with fake.open_driver(spec, tmp_path) as driver:
        fake.take_down(driver, "out_of_memory")
        trial = driver.state.trials["none-0"]
        assert (trial.state, trial.failure, trial.gpu, trial.retries) == ("planned", "out_of_memory", 1, 1)
        fake.take_down(driver, "out_of_memory")
        assert (trial.state, trial.failure) == ("failed", "out_of_memory")


def test_memory_and_lost_nodes_take_nothing_from_the_retries(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 1}, retries=1, confirm={"top": 0})
    with fake.open_driver(spec, tmp_path) as driver:
        fake.take_down(driver, "node_lost", times=3)
        fake.take_down(driver, "out_of_memory")
        fake.take_down(driver, "lost")
        trial = driver.state.trials["none-0"]
        assert (trial.state, trial.retries) == ("planned", 5)
        run_inline(driver, fake.FakeTrain())
        assert (trial.state, trial.failure, trial.attempts) == ("complete", None, 6)


@pytest.mark.parametrize("failure", ["error", "lost", "out_of_memory"])
def test_a_resume_gives_no_retry_back(fake, tmp_path, failure):
    spec = fake.make_spec(studies=["none"], budget={"trials": 1}, retries=1)
    with fake.open_driver(spec, tmp_path) as driver:
        fake.take_down(driver, failure)
    with fake.open_driver(spec, tmp_path) as driver:
        fake.take_down(driver, failure)
        trial = driver.state.trials["none-0"]
        assert (trial.state, trial.failure, trial.retries) == ("failed", failure, 1)


@pytest.mark.parametrize(
    ("failure", "state"), [("out_of_memory", "complete"), ("lost", "complete"), ("error", "failed")]
)
def test_a_fresh_seed_whose_machine_failed_runs_again_on_a_resume(fake, tmp_path, failure, state):
    spec = fake.make_spec(studies=["none"], budget={"trials": 1}, retries=1)
    with fake.open_driver(spec, tmp_path) as driver:
        run_one = driver.next()
        driver.started(run_one.id)
        driver.ended(run_one.id, fake.FakeTrain()(TrainConfig.parse(run_one.config), workdir=tmp_path / "one"))
        fake.take_down(driver, failure, times=2)
        trial = next(iter(driver.state.of_study("none", Phase.CONFIRM)))
        assert trial.state == "failed"
        run_inline(driver, fake.FakeTrain())
        (failed,) = failed_by_cause(driver.state.trials.values())
        assert failed.runs_again == (state == "complete")
        assert not failed_by_cause(driver.state.trials.values(), frozen=True)[0].runs_again
    with fake.open_driver(spec, tmp_path) as driver:
        run_inline(driver, fake.FakeTrain())
        assert driver.state.trials[trial.id].state == state
        assert driver.state.finished


def test_damaged_files_take_nothing_from_the_retries(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 1}, retries=1)
    with fake.open_driver(spec, tmp_path) as driver:
        fake.take_down(driver, "damaged")
        fake.take_down(driver, "lost")
        assert driver.state.trials["none-0"].state == "planned"


def test_a_sweep_that_was_aborted_gives_its_trials_their_retries_back(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 3}, retries=1)
    with fake.open_driver(spec, tmp_path) as driver, pytest.raises(SweepAborted):
        fake.take_down(driver, "error", times=6)
    with fake.open_driver(spec, tmp_path) as driver:
        fake.take_down(driver, "error")
        assert {trial.state for trial in driver.state.trials.values()} == {"planned"}


def test_a_trial_that_fails_after_its_last_epoch_has_no_score(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 1}, retries=0, train={"epochs": 1})
    with fake.open_driver(spec, tmp_path) as driver:
        trial = driver.next()
        driver.started(trial.id)
        driver.report(trial.id, EpochReport(1, 1, {"miou": 0.9}, {}, 0.1, {"total": 1.0}, 8))
        driver.ended(trial.id, Crash("the student could not be saved"))
        assert (trial.state, trial.curve, trial.score) == ("failed", {1: 0.9}, None)
        assert driver.next() is DONE, "there is nothing to confirm"


def test_kind_retries_and_traceback_are_in_the_tables(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 1}, retries=1, confirm={"top": 0})
    with fake.open_driver(spec, tmp_path) as driver:
        fake.take_down(driver, "lost", times=2)
    found, state = load_state(tmp_path)
    (trial,) = rows(state, found)["trials"]
    assert (trial["state"], trial["failure"], trial["retries"]) == ("failed", "lost", 1)
    assert (trial["reason"], trial["traceback"]) == ("lost happened", "Traceback ...")


def test_one_failing_study_does_not_stop_the_others(fake, tmp_path):
    def before(config, epoch):
        if config.uses_teacher:
            raise RuntimeError("the teacher is broken")

    spec = fake.make_spec(retries=0, confirm={"top": 0})
    state = fake.run(spec, tmp_path, fake.FakeTrain(before=before))
    assert state.finished
    assert {trial.state for trial in state.of_study("none")} == {"complete"}
    assert {trial.state for trial in state.of_study("cwd")} == {"failed"}


def test_a_full_disk_stops_the_sweep_and_fails_no_trial(fake, tmp_path):
    full = [True]

    def before(config, epoch):
        if epoch == 3 and full:
            raise StorageError("cannot write checkpoint: No space left on device; make room")

    spec = fake.make_spec(studies=["none"], budget={"trials": 2})
    with pytest.raises(StorageError, match="make room"):
        fake.run(spec, tmp_path, fake.FakeTrain(before=before))
    full.clear()
    train = fake.FakeTrain(before=before)
    state = fake.run(spec, tmp_path, train)
    assert {(trial.state, trial.retries) for trial in state.trials.values()} == {("complete", 0)}
    assert train.epochs_trained == 6 * len(state.trials) - 2


def test_asked_to_leave_the_trial_is_kept_and_goes_on(fake, tmp_path):
    asked = StopRequest()

    def before(config, epoch):
        if epoch == 4:
            asked.ask(signal.SIGUSR1)

    spec = fake.make_spec(studies=["none"], budget={"trials": 2}, confirm={"top": 0})
    with fake.open_driver(spec, tmp_path) as driver:
        run_inline(driver, fake.FakeTrain(before=before), stop_request=asked)
        assert driver.next() is DONE
        assert not driver.state.finished
    kinds = [record.kind for record in read(tmp_path)]
    assert kinds[-2:] == ["interrupted", "left"]
    train = fake.FakeTrain()
    state = fake.run(spec, tmp_path, train)
    assert state.finished
    assert train.epochs_trained == 2 * 6 - 4
    assert [trial.attempts for trial in state.trials.values()] == [2, 1]


def test_lost_nodes_are_not_retried_for_ever(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 1}, confirm={"top": 0})
    with fake.open_driver(spec, tmp_path) as driver:
        fake.take_down(driver, "node_lost", times=MOST_NODE_LOSSES)
        trial = driver.state.trials["none-0"]
        assert (trial.state, trial.retries) == ("planned", MOST_NODE_LOSSES)
        fake.take_down(driver, "node_lost")
        assert (trial.state, trial.failure) == ("failed", "node_lost")
        assert driver.next() is DONE


def test_the_larger_share_of_a_gpu_survives_a_resume_and_further_failures(fake, tmp_path):
    spec = fake.make_spec(studies=["none"], budget={"trials": 1}, resources={"gpu": 0.25}, retries=3)
    with fake.open_driver(spec, tmp_path) as driver:
        fake.take_down(driver, "out_of_memory")
        fake.take_down(driver, "lost")
    with fake.open_driver(spec, tmp_path) as driver:
        assert driver.next().gpu == 1


def test_a_pruned_trial_costs_what_it_took_up_to_its_last_epoch(fake, tmp_path):
    """An attempt on another node may go on for an epoch or two before it hears that it was stopped."""
    spec = fake.make_spec(
        studies=["none"], budget={"trials": 2}, scheduler={"name": "halving", "factor": 2}, confirm={"top": 0}
    )

    def report(epoch, miou):
        return EpochReport(epoch, 6, {"miou": miou}, {}, 0.1, {"total": 10.0, "teacher": 4.0}, 8, asked=5)

    with fake.open_driver(spec, tmp_path) as driver:
        good, bad = driver.next(), driver.next()
        for trial in (good, bad):
            driver.started(trial.id)
        driver.report(good.id, report(1, 0.9))
        assert driver.report(bad.id, report(1, 0.1)) == "stop"
        assert driver.report(bad.id, report(2, 0.1)) == "stop"
        assert list(bad.reports) == [1], "a report after the decision is no part of the trial"
    with contextlib.closing(Ledger(tmp_path)) as ledger:
        ledger.append(EpochReported(bad.id, report(2, 0.1)))  # as of a driver that took it
    fake.open_driver(spec, tmp_path).close()
    found, state = load_state(tmp_path)
    bad = state.trials[bad.id]
    assert (bad.state, bad.epochs_run, bad.committed) == ("pruned", 1, 1)
    assert (bad.seconds, bad.result.teacher_s) == (10.0, 4.0)
    row = rows(state, found)["trials"][1]
    assert (row["seconds"], row["teacher_s"], row["asked"]) == (10.0, 4.0, 5)
    assert json.loads(row["parts_json"]) == {"teacher": 4.0, "total": 10.0}
