import pytest
import torch

from kdtrain.data import Augment, Streets, TrainBatches, augmented, epoch_order, open_role
from kdtrain.data.crops import finished
from kdtrain.errors import InputError

AUGMENT = Augment(crop=(32, 40), scale=(0.5, 1.5), photometric=0.2)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    config = Streets(size=(32, 48), counts={"train": 11})
    return open_role(config, "train", None, tmp_path_factory.mktemp("cache"))


def test_an_epoch_visits_every_image_once_in_its_own_order():
    orders = [epoch_order(11, 0, epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(11)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert epoch_order(11, 0, 1) == orders[1]
    assert epoch_order(11, 1, 1) != orders[1]


def test_batches_follow_the_order_and_drop_the_rest(images):
    batches = list(map(finished, TrainBatches(images, AUGMENT, 4, data_seed=3).epoch(2)))
    order = epoch_order(11, 3, 2)
    assert [tuple(pixels.shape) for pixels, _ in batches] == [(4, 3, 32, 40)] * 2
    for b, (pixels, labels) in enumerate(batches):
        for i in range(4):
            expected = augmented(images, order[4 * b + i], AUGMENT, 3, 2)
            assert torch.equal(pixels[i], expected[0])
            assert torch.equal(labels[i], expected[1])


def test_workers_change_nothing(images):
    with_workers = TrainBatches(images, AUGMENT, 4, data_seed=3, workers=2)
    alone = TrainBatches(images, AUGMENT, 4, data_seed=3)
    assert len(with_workers) == len(alone) == 2
    for epoch in (4, 5, 4):
        state = torch.get_rng_state()
        pairs = zip(with_workers.epoch(epoch), alone.epoch(epoch), strict=True)
        assert all(torch.equal(a, b) for got, expected in pairs for a, b in zip(got, expected, strict=True))
        assert torch.equal(torch.get_rng_state(), state)


def test_an_epoch_left_early_does_not_spill_into_the_next(images):
    batches = TrainBatches(images, AUGMENT, 2, data_seed=0, workers=1)
    next(batches.epoch(0))
    got = next(batches.epoch(1))
    assert torch.equal(got[0], next(TrainBatches(images, AUGMENT, 2, 0).epoch(1))[0])


def test_too_few_images_are_refused(images):
    with pytest.raises(InputError, match=r"batch_size is 12, .* only 11 images"):
        TrainBatches(images, AUGMENT, 12, 0)


def test_images_of_different_size_need_a_crop(images, monkeypatch):
    monkeypatch.setattr(images, "sizes", ((32, 48), (33, 48), *images.sizes[2:]))
    with pytest.raises(InputError, match=r"augment\.crop must be set.* 48x32, 48x33"):
        TrainBatches(images, Augment(), 4, 0)


def test_after_so_many_views_the_first_comes_again(images):
    batches = TrainBatches(images, AUGMENT, 4, data_seed=3, views=2)
    assert [batches.view(epoch) for epoch in range(5)] == [0, 1, 0, 1, 0]
    first, again = (sorted(key for batch in batches.keys(epoch) for key in batch) for epoch in (0, 2))
    assert first == again
