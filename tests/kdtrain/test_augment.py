import numpy as np
import pytest
import torch
from pydantic import ValidationError

from kdtrain.data import Augment, augmented
from kdtrain.data.augment import color_factors
from kdtrain.data.crops import finished, stacked
from kdtrain.data.store import open_store


class Coded:
    """Images whose red channel tells the label: red = 20 * id, smooth blobs of 8 classes."""

    classes = tuple("abcdefgh")
    palette = ((0, 0, 0),) * 8
    ignore_index = 255

    def ids(self, role):
        return ("0", "1", "2")

    def group(self, image_id):
        return image_id

    def read(self, role, image_id):
        height, width = 90, 120
        rng = np.random.default_rng(int(image_id))
        labels = np.kron(rng.integers(0, 8, (6, 8)), np.ones((15, 15))).astype(np.uint8)
        image = np.zeros((height, width, 3), dtype=np.uint8)
        image[..., 0] = labels * 20 + 40
        image[..., 1] = np.arange(width)[None]
        image[..., 2] = np.arange(height)[:, None]
        return image, labels

    def listing(self, role):
        return "coded"

    def digest(self, role):
        return "c" * 32


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return open_store(Coded(), "train", tmp_path_factory.mktemp("cache"))


VARIED = Augment(crop=(48, 64), scale=(0.4, 2.0), photometric=0.3)


def test_a_view_is_a_function_of_its_arguments(images):
    first = augmented(images, 1, VARIED, data_seed=5, epoch=2)
    torch.manual_seed(99)
    np.random.seed(99)
    again = augmented(images, 1, VARIED, data_seed=5, epoch=2)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    for index, seed, epoch in ((0, 5, 2), (1, 6, 2), (1, 5, 3)):
        assert not torch.equal(first[0], augmented(images, index, VARIED, seed, epoch)[0])


def test_shapes_and_types(images):
    pixels, labels = augmented(images, 0, VARIED, 0, 0)
    assert pixels.shape == (3, 48, 64)
    assert pixels.dtype == torch.float32
    assert labels.shape == (48, 64)
    assert labels.dtype == torch.int64
    assert pixels.is_contiguous()
    assert pixels.min() >= 0
    assert pixels.max() <= 1


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.35, 0.9), (0.5, 2.5)])
def test_labels_stay_on_their_pixels(images, scale):
    augment = Augment(crop=(45, 60), scale=scale)
    for epoch in range(20):
        pixels, labels = augmented(images, epoch % 3, augment, 0, epoch)
        inside = labels != 255
        told = (pixels[0] * 255 - 40) / 20
        # At the edges between classes the colors blend: only pixels amid their class tell it.
        framed = torch.nn.functional.pad(labels[None, None].float(), (1, 1, 1, 1), value=255)
        around = torch.nn.functional.unfold(framed, 3).reshape(9, 45, 60)
        amid = inside & (around == labels).all(dim=0)
        assert amid.sum() > 0.2 * inside.sum()
        assert (told - labels)[amid].abs().max() < 0.3


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_image_and_labels_are_resized_about_the_same_centers(images, scale):
    """Blue grows by 1 per stored row and green by 1 per column, so the view tells where it was taken."""
    augment = Augment(crop=(32, 40), scale=(scale, scale), flip=0)
    for epoch in range(10):
        pixels, labels = augmented(images, 0, augment, 0, epoch)
        rows = (pixels[2] * 255).round().long()[:, 20]
        cols = (pixels[1] * 255).round().long()[16]
        stored = torch.from_numpy(images.get(0)[1].astype(np.int64))
        expected = stored[rows[:, None], cols]
        assert (expected == labels).float().mean() > 0.9


def test_beyond_the_image_is_grey_and_ignored(images):
    augment = Augment(crop=(100, 200), flip=0)
    pixels, labels = augmented(images, 0, augment, 0, 0)
    assert (labels != 255).sum() == 90 * 120
    assert (pixels[:, labels == 255] - 0.5).abs().max() < 0.01
    seen = [augmented(images, 0, augment, 0, epoch)[1] != 255 for epoch in range(8)]
    assert len({tuple(torch.nonzero(inside)[0].tolist()) for inside in seen}) > 1


def test_without_a_crop_the_view_has_the_stored_size(images):
    pixels, labels = augmented(images, 2, Augment(flip=0), 0, 0)
    image, stored = images.get(2)
    assert torch.equal(labels, torch.from_numpy(stored.astype(np.int64)))
    np.testing.assert_allclose(pixels.permute(1, 2, 0).numpy() * 255, image, atol=1e-4)


def test_one_option_does_not_shift_what_another_draws(images):
    plain = Augment(crop=(40, 40), scale=(0.5, 1.5), flip=0)
    for epoch in range(5):
        _, labels = augmented(images, 0, plain, 0, epoch)
        _, colored = augmented(images, 0, plain.model_copy(update={"photometric": 0.4}), 0, epoch)
        _, flipped = augmented(images, 0, plain.model_copy(update={"flip": 1.0}), 0, epoch)
        assert torch.equal(labels, colored)
        assert torch.equal(labels, flipped.flip(1))


def test_flips_come_as_often_as_asked(images):
    def flips(probability):
        straight = augmented(images, 0, Augment(flip=0), 0, 0)[1]
        augment = Augment(flip=probability)
        return sum(not torch.equal(augmented(images, 0, augment, 0, e)[1], straight) for e in range(200))

    assert 75 < flips(0.5) < 125
    assert flips(1.0) == 200


def test_photometric_changes_light_within_its_strength(images):
    plain = augmented(images, 0, Augment(flip=0), 0, 0)[0]
    means = []
    for epoch in range(50):
        pixels = augmented(images, 0, Augment(flip=0, photometric=0.2), 0, epoch)[0]
        means.append(float(pixels.mean() / plain.mean()))
    assert 0.79 < min(means) < 0.9
    assert 1.1 < max(means) < 1.21


@pytest.mark.parametrize(
    "wrong", [{"crop": (0, 4)}, {"scale": (1.0, 0.5)}, {"scale": (0.0, 1.0)}, {"flip": 1.5}, {"rotate": 3}]
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Augment(**wrong)


def test_rows_and_columns_of_a_crop_are_drawn_apart(images):
    augment = Augment(crop=(30, 40), flip=0)
    corners = [augmented(images, 0, augment, 0, epoch)[0][:, 0, 0] * 255 for epoch in range(60)]
    rows, columns = torch.stack(corners).T[[2, 1]].numpy()
    assert np.ptp(rows) > 40
    assert np.ptp(columns) > 60
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.4


def test_images_are_interpolated_and_labels_are_not(images):
    pixels, labels = augmented(images, 0, Augment(crop=(45, 60), scale=(0.5, 0.5), flip=0), 0, 0)
    told = (pixels[0] * 255 - 40) / 20
    assert (told - told.round()).abs().max() > 0.2  # at the edges between classes
    assert set(labels.unique().tolist()) <= set(range(8))


@pytest.mark.parametrize("draws", [(1.0, 0.5, 0.5), (0.5, 1.0, 0.5), (0.5, 0.5, 1.0), (0.2, 0.9, 0.4)])
def test_brightness_contrast_and_saturation_are_factors(draws):
    """Light times b; then away from each pixel's gray by s; then away from the mean gray by c."""
    rng = np.random.default_rng(0)
    image = rng.integers(60, 160, (4, 5, 3), dtype=np.uint8)
    b, c, s = 1 + 0.3 * (2 * np.array(draws) - 1)
    light = image / 255 * b
    gray = light.mean(2, keepdims=True)
    expected = gray.mean() + c * (gray + s * (light - gray) - gray.mean())
    factors = color_factors(Augment(photometric=0.3), np.array([0.0, 0.0, 0.0, 0.0, *draws]))
    found, _ = finished(stacked([(image, image[..., 0])], [factors]))
    np.testing.assert_allclose(found[0].permute(1, 2, 0).numpy(), expected.clip(0, 1), atol=1e-6)
