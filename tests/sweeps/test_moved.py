"""The folder of a sweep that is moved, deleted or unmounted while the sweep runs."""

import pickle
import shutil

import pytest

from kdtrain.errors import StorageError
from sweeps.store.store import Store


def move(sweep):
    sweep.rename(sweep.with_name("moved"))


@pytest.mark.parametrize("lose", [move, shutil.rmtree])
def test_a_folder_that_was_moved_stops_the_sweep_and_nothing_is_made_in_its_place(fake, tmp_path, lose):
    sweep, spec = tmp_path / "D", fake.make_spec(studies=["none"], retries=0)
    undisturbed = fake.run(spec, tmp_path / "beside")
    seen = []

    def before(config, epoch):
        seen.append(epoch)
        if len(seen) == 9:
            shutil.copytree(sweep, tmp_path / "copy")
            lose(sweep)

    with pytest.raises(StorageError, match=r"is not there any more|No such file or directory; put it back"):
        fake.run(spec, sweep, fake.FakeTrain(before=before))
    assert not sweep.exists()
    shutil.copytree(tmp_path / "copy", sweep)
    state = fake.run(spec, sweep)
    assert state.finished
    assert {key: trial.curve for key, trial in state.trials.items()} == {
        key: trial.curve for key, trial in undisturbed.trials.items()
    }


def test_a_worker_makes_no_folder_of_a_sweep_that_its_node_does_not_see(tmp_path):
    there = Store(tmp_path / "D")
    there.check_writable()
    worker = pickle.loads(pickle.dumps(there))
    move(tmp_path / "D")
    for use in (
        lambda: worker.write("trials/a/config.json", b"{}"),
        lambda: worker.below("trials/a"),
        lambda: worker.workplace("trials/a").__enter__(),
    ):
        with pytest.raises(StorageError, match=r"D is not there any more .*put it back and run the same command again"):
            use()
    assert not (tmp_path / "D").exists()


def test_a_new_sweep_makes_its_folder(tmp_path):
    Store(tmp_path / "a" / "D").write("spec.yaml", b"")
    assert (tmp_path / "a" / "D" / "spec.yaml").is_file()
