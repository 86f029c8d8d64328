"""Batches are read ahead by a thread, which hands on errors and ends with what it reads for."""

import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest
import torch

from kdtrain import train
from kdtrain.config import Replay
from kdtrain.data import Images, TrainSamples, open_role
from kdtrain.errors import StorageError
from kdtrain.loop import feed, rehearsal
from kdtrain.loop.batches import moved
from kdtrain.loop.evaluate import evaluate
from kdtrain.loop.pulls import measure_pulls
from kdtrain.loop.setup import build
from kdtrain.loop.step import TrainStep
from kdtrain.loop.stop import InterruptedTrainingError
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.loop.teacher_request import TeacherRequest
from kdtrain.replay import ArrayFile
from kdtrain.runtime.process_group import ALONE

READER = "kdtrain-read-ahead"


@pytest.fixture
def store(machine, tmp_path):
    """The machine with an empty replay store."""
    return machine.model_copy(update={"replay": Replay(folder=tmp_path / "replay")})


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []
    assert multiprocessing.active_children() == []


def calls_of(monkeypatch, owner, name, note=lambda *args: None):
    """The names of the threads that call a function, and what `note` makes of its arguments."""
    calls, function = [], getattr(owner, name)

    def called(*args):
        calls.append((threading.current_thread().name, note(*args)))
        return function(*args)

    monkeypatch.setattr(owner, name, called)
    return calls


def name_of(array, *args):
    """The name of an array of the store."""
    return array.data_path.name.partition(".")[0]


@pytest.mark.parametrize("method", ["none", "kd"])
def test_samples_and_maps_are_read_and_checked_by_the_thread(method, make_config, store, monkeypatch):
    config = make_config(method, epochs=2)
    train(config, store)
    made = calls_of(monkeypatch, TrainSamples, "__getitem__")
    read = calls_of(monkeypatch, ArrayFile, "read", name_of)
    checked = calls_of(monkeypatch, ArrayFile, "has", name_of)
    train(config, store)
    assert made == []
    for calls in (read, checked):
        of_samples = [thread for thread, name in calls if name in ("images", "labels")]
        assert len(of_samples) >= 2 * 2 * 4  # two arrays in two epochs of four batches
        assert {*of_samples} == {READER}
    # of maps, some chunks are also read before every epoch, to measure the seconds
    assert (READER in {thread for thread, name in read if name == "logits"}) == (method == "kd")


def test_of_what_others_recorded_only_what_is_used_is_compared_with_its_checksum(make_config, store, monkeypatch):
    both = store.replay.model_copy(update={"layers": ("logits", "decoder")})
    store = store.model_copy(update={"replay": both})
    train(make_config("kd", epochs=1), store)
    checked = calls_of(monkeypatch, ArrayFile, "has", name_of)
    train(make_config("kd", epochs=1), store)
    assert {name for _, name in checked} == {"images", "labels", "logits"}


def test_rows_of_a_batch_are_mapped_and_not_copied(make_config, store):
    config = make_config(epochs=1)
    train(config, store)
    run = build(config, store, ALONE)
    run.source.prepare(0, 0, TeacherRequest(), Stopwatch(), lambda: None)
    crops = next(run.source.epoch(0)).crops
    images = next(store.replay.folder.glob("*/view-00000/images.*.bin"))
    content = np.fromfile(images, np.uint8)
    np.testing.assert_array_equal(crops.images.numpy().reshape(-1), content[: crops.images.numel()])
    np.memmap(images, np.uint8)[:] = 255 - content  # what is mapped shows what is written later
    assert (crops.images.numpy().reshape(-1) == 255 - content[: crops.images.numel()]).all()
    run.source.close()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("way", ["live", "replayed"])
@pytest.mark.parametrize("pause", [0.0, 0.05], ids=["full", "empty"])
def test_a_stop_does_not_hang(way, workers, pause, make_config, machine, store, tmp_path, monkeypatch, outcome):
    machine = (machine if way == "live" else store).model_copy(update={"workers": workers})
    config = make_config("kd", epochs=2)
    whole = train(config, machine, workdir=tmp_path / "whole")
    make, read = TrainSamples.__getitem__, ArrayFile.read

    def slowly(function):
        def slow(*args):
            time.sleep(pause)
            return function(*args)

        return slow

    monkeypatch.setattr(TrainSamples, "__getitem__", slowly(make))
    monkeypatch.setattr(ArrayFile, "read", slowly(read))
    calls = iter(range(1000))
    start = time.monotonic()
    while (
        result := train(config, machine, workdir=tmp_path / "stopped", interrupt=lambda: next(calls) % 3 == 2)
    ).state == "interrupted":
        assert [thread for thread in threading.enumerate() if thread.name == READER] == []
    assert time.monotonic() - start < 60
    assert outcome(result, tmp_path / "stopped") == outcome(whole, tmp_path / "whole")


def test_a_training_that_is_pruned_leaves_no_thread(make_config, machine):
    assert train(make_config(), machine, report=lambda past: "stop").state == "stopped"


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_sample_ends_the_training_with_its_message(workers, make_config, machine, monkeypatch):
    make = TrainSamples.__getitem__

    def failing(samples, keys):
        if keys[0].view == 1 and keys[0].place >= 8:
            raise StorageError("the disk of the image cache does not answer")
        return make(samples, keys)

    monkeypatch.setattr(TrainSamples, "__getitem__", failing)
    reports = []
    with pytest.raises(StorageError, match="the disk of the image cache does not answer"):
        train(make_config(), machine.model_copy(update={"workers": workers}), report=reports.append)
    assert len(reports) == 1


@pytest.mark.parametrize("part", ["training", "evaluation", "measurement of pulls"])
def test_an_error_between_batches_ends_the_thread_though_its_traceback_lives(
    part, make_config, machine, select, monkeypatch
):
    def failing(*args):
        raise ArithmeticError("no step")

    monkeypatch.setattr(TrainStep, "__call__", failing)
    works = {
        "training": lambda: train(make_config(), machine),
        "evaluation": lambda: evaluate(failing, select, "select", 1, 1.0, torch.device("cpu")),
        "measurement of pulls": lambda: measure_pulls(make_config(), {}, machine),
    }
    with pytest.raises(ArithmeticError, match="no step") as caught:
        works[part]()
    assert [thread for thread in threading.enumerate() if thread.name == READER] == []
    assert caught.value.__traceback__ is not None


def test_a_worker_process_that_is_killed_ends_the_training(make_config, machine, monkeypatch):
    def killed(samples, keys):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(TrainSamples, "__getitem__", killed)
    with pytest.raises(RuntimeError, match=r"DataLoader worker .* (killed by signal|exited unexpectedly)"):
        train(make_config(), machine.model_copy(update={"workers": 1}))


def test_an_error_of_an_evaluation_ends_it_with_its_message(make_config, machine, monkeypatch):
    def failing(images, index):
        raise StorageError(f"image {index} of {images.role} cannot be read")

    images = open_role(make_config().data, "select", None, machine.cache)
    monkeypatch.setattr(Images, "get", failing)
    with pytest.raises(StorageError, match="image 0 of select cannot be read"):
        evaluate(lambda pixels: pixels, images, "select", 4, 1.0, torch.device("cpu"))


def test_images_of_an_evaluation_are_read_by_the_thread(select, monkeypatch):
    got = calls_of(monkeypatch, Images, "get")
    evaluate(guess(select), select, "select", 4, 1.0, torch.device("cpu"))
    assert {thread for thread, _ in got} == {READER}


def guess(images):
    """A network that takes every pixel for the same class."""
    return lambda pixels: pixels.mean(1, keepdim=True).expand(-1, len(images.classes), -1, -1)


def test_an_evaluation_that_is_interrupted_ends_its_thread(select):
    def interrupt():
        raise InterruptedTrainingError

    with pytest.raises(InterruptedTrainingError):
        evaluate(guess(select), select, "select", 2, 1.0, torch.device("cpu"), between=interrupt)


def test_a_rehearsal_leaves_no_thread(make_config, machine):
    rehearsal.rehearse(make_config("kd"), machine)


def test_few_batches_are_made_ahead(make_config, machine, monkeypatch):
    run = build(make_config(batch_size=1, epochs=1), machine, ALONE)
    made = calls_of(monkeypatch, TrainSamples, "__getitem__")
    batches = moved(run.source.epoch(0), run.device)
    next(batches)
    before = -1
    while before != len(made):
        before = len(made)
        time.sleep(0.1)
    assert before == feed.AHEAD + 1
    batches.close()
