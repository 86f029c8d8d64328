import pytest

from kdtrain.config import Machine
from sweeps.driver import attempts
from sweeps.launch.inline import run_inline


def test_ctrl_c_leaves_a_sweep_that_goes_on(fake, tmp_path):
    spec, epochs = fake.make_spec(studies=["none"]), []

    def before(config, epoch):
        epochs.append(epoch)
        if len(epochs) == 9:
            raise KeyboardInterrupt

    first = fake.FakeTrain(before=before)
    with pytest.raises(KeyboardInterrupt):
        fake.run(spec, tmp_path, first)
    second = fake.FakeTrain()
    state = fake.run(spec, tmp_path, second)
    assert state.finished
    assert first.epochs_trained + second.epochs_trained == 6 * len(state.trials)
    assert state.trials["none-1"].attempts == 2


def test_trials_get_the_machine_and_folders_of_their_own(fake, tmp_path):
    machine, seen = Machine(threads=1), []

    def train(config, machine, report, workdir, interrupt):
        seen.append((machine, workdir))
        return fake.FakeTrain()(config, machine, report, workdir)

    with fake.open_driver(fake.make_spec(studies=["none"]), tmp_path) as driver:
        run_inline(driver, train, machine)
    assert {found for found, _ in seen} == {machine}
    assert seen[0][1] == tmp_path / "trials" / "none-0"
    assert len({folder for _, folder in seen}) == len(seen)


def test_an_error_of_the_driver_is_no_failure_of_the_trial(fake, tmp_path, monkeypatch):
    with fake.open_driver(fake.make_spec(), tmp_path) as driver:
        monkeypatch.setattr(attempts, "decide", _broken)
        with pytest.raises(OSError, match="disk full"):
            run_inline(driver, fake.FakeTrain())
        assert driver.state.trials["none-0"].state == "running"


def _broken(*given):
    raise OSError("disk full")
