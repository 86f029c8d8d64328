"""The pixels that a network sees, beside their definition for one sample."""

import numpy as np
import pytest
import torch

from kdtrain.data.crops import Crops, finished, recolored, to_unit

FACTORS = 1 + 0.4 * (2 * np.random.default_rng(1).random((5, 3)) - 1)


def defined(image, factors):
    """How samples were made before they were made by batches: the bits are to stay."""
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div_(255)
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
    colors = torch.from_numpy(factors.astype(np.float32))
    return Crops(torch.from_numpy(images), torch.from_numpy(labels), colors)


@pytest.mark.parametrize("size", [(33, 47), (160, 224), (7, 1)])
@pytest.mark.parametrize("factors", [FACTORS, FACTORS[:, :0]], ids=["colored", "plain"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_bits_are_those_of_one_sample(size, factors, threads):
    torch.set_num_threads(threads)
    crops = crops_of(size, factors)
    images, labels = finished(crops)
    for image, crop, of_image in zip(images, crops.images.numpy(), factors, strict=True):
        assert torch.equal(image, defined(crop, of_image))
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, crops.labels.long())


def test_all_images_at_once_as_on_a_gpu_are_the_same_up_to_rounding():
    crops = crops_of((33, 47), FACTORS)
    images = to_unit(crops.images.permute(0, 3, 1, 2))
    at_once = recolored(images, *crops.colors.T[:, :, None, None, None])
    torch.testing.assert_close(at_once, finished(crops)[0], rtol=0, atol=1e-6)
