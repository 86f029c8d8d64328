"""The pixels that a network sees, beside their definition for one sample."""

import numpy as np
import pytest
import torch

from kdtrain.data.crops import Crops, finished, recolored, stacked_colors

FACTORS = 1 + 0.4 * (2 * np.random.default_rng(1).random((5, 3)) - 1)


def defined(image, factors):
    """One sample by itself, its factors one after the other."""
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).double() / 255
    if len(factors) == 0:
        return pixels
    brightness, contrast, saturation = factors.tolist()
    pixels = pixels * brightness
    gray = pixels.mean(dim=0, keepdim=True)
    pixels = torch.lerp(gray, pixels, saturation)
    return torch.lerp(gray.mean(), pixels, contrast).clamp_(0, 1)


def crops_of(size, factors):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (len(factors), *size, 3), dtype=np.uint8)
    labels = rng.integers(0, 256, (len(factors), *size), dtype=np.uint8)
    return Crops(torch.from_numpy(images), torch.from_numpy(labels), stacked_colors(factors))


@pytest.mark.parametrize("size", [(33, 47), (160, 224), (7, 1)])
@pytest.mark.parametrize("factors", [FACTORS, FACTORS[:, :0]], ids=["colored", "plain"])
def test_the_pixels_are_those_of_one_sample(size, factors):
    crops = crops_of(size, factors)
    images, labels = finished(crops)
    for image, crop, of_image in zip(images, crops.images.numpy(), factors, strict=True):
        torch.testing.assert_close(image.double(), defined(crop, of_image), rtol=0, atol=5e-7)
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, crops.labels.long())


@pytest.mark.parametrize("size", [(33, 47), (160, 224)])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_bits_of_a_sample_do_not_depend_on_its_batch(size, threads):
    torch.set_num_threads(threads)
    crops = crops_of(size, FACTORS)
    images, _ = finished(crops)
    for number, image in enumerate(images):
        alone, _ = finished(crops.with_tensors(lambda values, n=number: values[n : n + 1]))
        assert torch.equal(image, alone[0])


def test_all_images_at_once_as_on_a_gpu_are_the_same_up_to_rounding():
    crops = crops_of((33, 47), FACTORS)
    images = crops.images.permute(0, 3, 1, 2).float()
    at_once = recolored(images, *crops.colors.T[:, :, None, None, None])
    torch.testing.assert_close(at_once, finished(crops)[0], rtol=0, atol=1e-6)
