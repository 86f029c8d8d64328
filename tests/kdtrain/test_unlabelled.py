"""Images without labels beside the labelled ones: what comes when, what the losses see, and a run."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from kdtrain import InputError, TrainConfig, train
from kdtrain.config import Replay
from kdtrain.data import Augment, Streets, TrainBatches, Unlabelled, augmented, epoch_order, open_role, open_unlabelled
from kdtrain.data.batches import Key
from kdtrain.data.crops import finished
from kdtrain.data.unlabelled import unlabelled_order
from kdtrain.losses import pixel_kd
from kdtrain.losses.task import cross_entropy
from kdtrain.runtime.process_group import SpawnedGroup

torch.set_num_threads(1)
AUGMENT = Augment(scale=(0.8, 1.2), photometric=0.2)


def put_images(folder, count, size=(32, 48)):
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"extra{i}.png")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    put_images(root / "extra" / "night", 5)
    return root


@pytest.fixture(scope="module")
def images(cache):
    return open_role(Streets(size=(32, 48), counts={"train": 11}), "train", None, cache)


@pytest.fixture(scope="module")
def further(root, cache):
    return open_unlabelled(Unlabelled(images="extra", per_batch=2), root, cache)


def batches(images, further, seed=3, per_batch=2, **more):
    return TrainBatches(images, AUGMENT, 4, seed, unlabelled=further, per_batch=per_batch, **more)


def test_the_images_are_stored_with_labels_that_are_ignored(further):
    assert further.ids == tuple(f"night/extra{i}" for i in range(5))
    pixels, labels = further.get(2)
    np.testing.assert_array_equal(pixels, np.random.default_rng(2).integers(0, 256, (32, 48, 3), dtype=np.uint8))
    assert (labels == 255).all()


def test_every_turn_of_an_epoch_has_each_image_once():
    order = list(itertools.islice(unlabelled_order(5, 0, 1), 15))
    assert [turn for turn, _ in order] == [0] * 5 + [1] * 5 + [2] * 5
    turns = [[image for _, image in order[5 * turn : 5 * turn + 5]] for turn in range(3)]
    assert all(sorted(turn) == list(range(5)) for turn in turns)
    assert turns[0] != turns[1] != turns[2]
    assert order == list(itertools.islice(unlabelled_order(5, 0, 1), 15))
    assert order[:5] != list(itertools.islice(unlabelled_order(5, 0, 2), 5))
    assert order[:5] != list(itertools.islice(unlabelled_order(5, 1, 1), 5))


def test_a_batch_holds_the_labelled_samples_as_ever_and_the_others_after_them(images, further):
    order, extra = epoch_order(11, 3, 2), unlabelled_order(5, 3, 2)
    plain = list(map(finished, TrainBatches(images, AUGMENT, 4, 3).epoch(2)))
    mixed = list(map(finished, batches(images, further).epoch(2)))
    assert len(plain) == len(mixed) == 2
    for b, (pixels, labels) in enumerate(mixed):
        assert pixels.shape == (6, 3, 32, 48)
        assert torch.equal(pixels[:4], plain[b][0])
        assert torch.equal(labels[:4], plain[b][1])
        assert torch.equal(labels[0], augmented(images, order[4 * b], AUGMENT, 3, 2)[1])
        assert (labels[4:] == 255).all()
        for i, (turn, image) in zip((4, 5), extra, strict=False):
            expected = augmented(further, image, AUGMENT, 3, 2, ("unlabelled", "augment", turn))
            assert torch.equal(pixels[i], expected[0])


def test_an_image_that_comes_twice_in_an_epoch_comes_in_two_views(images, further):
    samples = batches(images, further).samples
    views = [samples[[Key(0, 0, 1, turn)]].images for turn in (0, 1)]
    assert not torch.equal(*views)


def test_trials_of_one_seed_see_the_same_whatever_their_batches(images, further):
    def seen(per_batch):
        source = batches(images, further, per_batch=per_batch)
        return [key for batch in source.keys(1) for key in batch if key.turn is not None]

    assert seen(6)[:6] == seen(3)
    assert Counter(key.image for key in seen(5)) == dict.fromkeys(range(5), 2)


def test_workers_and_processes_change_nothing(images, further):
    whole = list(batches(images, further).epoch(0))
    with_workers = list(batches(images, further, workers=1).epoch(0))
    halves = [SpawnedGroup(rank, 2, None, None).share for rank in (0, 1)]
    shared = [list(batches(images, further, share=half).epoch(0)) for half in halves]
    for b, pair in enumerate(whole):
        for part in range(3):
            assert torch.equal(with_workers[b][part], pair[part])
            assert torch.equal(torch.cat([shared[rank][b][part] for rank in (0, 1)]), pair[part])


def test_an_epoch_that_is_taken_up_in_the_middle_goes_on_with_the_same(images, further):
    whole = list(batches(images, further).epoch(1))
    rest = list(batches(images, further).epoch(1, start=1))
    assert torch.equal(rest[0][0], whole[1][0])


def test_losses_on_labels_do_not_see_them_and_the_teacher_speaks_of_them(images, further):
    _, labels = finished(next(batches(images, further).epoch(0)))
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 10, 8, 12, generator=generator)
    student.requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(student, labels), student)
    assert torch.equal(cross_entropy(student, labels), cross_entropy(student[:4], labels[:4]))
    assert (gradient[4:] == 0).all()
    assert gradient[:4].any()
    (gradient,) = torch.autograd.grad(pixel_kd(student, teacher), student)
    assert gradient[4:].any()


def test_images_of_another_size_need_a_crop(images, tmp_path):
    put_images(tmp_path / "extra", 2, size=(40, 48))
    other = open_unlabelled(Unlabelled(images="extra", per_batch=2), tmp_path, tmp_path / "cache")
    with pytest.raises(InputError, match=r"augment\.crop must be set.* 48x32, 48x40"):
        batches(images, other)


@pytest.mark.parametrize("images", ["/somewhere", "../elsewhere"])
def test_the_folder_is_relative_to_the_data_root(images):
    with pytest.raises(InputError, match=r"unlabelled\.images.*relative to the data root"):
        TrainConfig.parse({"unlabelled": {"images": images, "per_batch": 1}})


def test_configs_without_them_keep_their_id():
    plain = TrainConfig.parse({})
    assert plain.config_id == TrainConfig.parse({"unlabelled": None}).config_id
    assert plain.config_id != TrainConfig.parse({"unlabelled": {"images": "extra", "per_batch": 1}}).config_id
    assert plain.images_per_step == 8
    assert TrainConfig.parse({"unlabelled": {"images": "extra", "per_batch": 3}}).images_per_step == 11


def test_a_run_trains_on_them(make_config, machine, root):
    machine = machine.model_copy(update={"data_root": root})
    kd = make_config("kd", epochs=1)
    mixed = make_config("kd", epochs=1, unlabelled={"images": "extra", "per_batch": 2})
    results = {name: train(config, machine) for name, config in (("plain", kd), ("mixed", mixed), ("again", mixed))}
    assert results["plain"].state == results["mixed"].state == "complete"
    losses = {name: result.reports[0].losses for name, result in results.items()}
    assert losses["mixed"] == losses["again"] != losses["plain"]
    assert [results[name].reports[0].images for name in ("plain", "mixed")] == [16, 24]


def test_kernels_of_whole_batches_replay(make_config, machine, root, tmp_path):
    config = make_config("cskd", epochs=2, unlabelled={"images": "extra", "per_batch": 2})
    machine = machine.model_copy(update={"data_root": root})
    store = machine.model_copy(update={"replay": Replay(folder=tmp_path / "replay")})
    live, recorded, replayed = (train(config, where) for where in (machine, store, store))
    assert [past.losses for past in live.reports] == [past.losses for past in recorded.reports]
    assert [past.losses for past in live.reports] == [past.losses for past in replayed.reports]
    assert sum(past.asked for past in replayed.reports) == 0


@pytest.mark.parametrize("method", ["kd", "cskd"])
@pytest.mark.parametrize("stored", [False, True])
def test_two_processes_train_as_one(method, stored, make_config, machine, root, tmp_path):
    machine = machine.model_copy(update={"data_root": root})
    if stored:
        machine = machine.model_copy(update={"replay": Replay(folder=tmp_path / "replay")})
    student = {"arch": "tiny_networks:tiny", "options": {"dropout": 0.0}}
    config = make_config(method, epochs=1, student=student, unlabelled={"images": "extra", "per_batch": 2})
    losses = [
        train(config, machine.model_copy(update={"processes": processes})).reports[0].losses for processes in (1, 2)
    ]
    for term, values in losses[0].items():
        assert values["raw"] == pytest.approx(losses[1][term]["raw"], rel=1e-4)


def test_what_does_not_fit_is_refused_before_any_training(make_config, machine, root):
    odd = make_config("kd", unlabelled={"images": "extra", "per_batch": 3})
    with pytest.raises(InputError, match=r"unlabelled\.per_batch: must be divisible by the 2 processes, got 3"):
        train(odd, machine.model_copy(update={"processes": 2}))
    missing = make_config("kd", unlabelled={"images": "nowhere", "per_batch": 2})
    with pytest.raises(InputError, match=r"unlabelled has no folder of images: looked for .*nowhere"):
        train(missing, machine.model_copy(update={"data_root": root}))
