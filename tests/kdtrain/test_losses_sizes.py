"""Forms of losses that depend on neither the size of the map nor the number of images: what they compute."""

import pytest
import torch
import torch.nn.functional as F
from loss_checks import SHAPES, EveryLoss, maps

from kdtrain.losses import attention_transfer, local_affinity, pixel_similarity
from kdtrain.methods.holistic import Holistic
from kdtrain.methods.mgd import MaskedGeneration
from kdtrain.testing import example_input, example_module

torch.set_num_threads(1)


def attention_definition(student, teacher):
    """The squared distance of the unit vectors of pooled squares, a mean over images."""
    s, t = (F.normalize(side.square().mean(1).flatten(1), dim=1) for side in (student, teacher))
    return sum((one - other).dot(one - other) for one, other in zip(s, t, strict=True)) / len(s)


def contrasts(side, radius):
    window = 2 * radius + 1
    padded = F.pad(side, (radius,) * 4, mode="replicate")
    around = F.unfold(padded, window).view(len(side), side.shape[1], window**2, *side.shape[2:])
    return (around - side[:, :, None]).square().sum((1, 2))


def affinity_definition(radius, of):
    def definition(student, teacher):
        s, t = (contrasts(side.softmax(1) if of == "probabilities" else side, radius) for side in (student, teacher))
        return (s - t).square().mean() / (s.square().mean() + t.square().mean() + 1e-8).detach()

    return definition


def affinity(neighbours, of):
    return lambda s, t: local_affinity(s, t, neighbours=neighbours, of=of, contrast="relative")


FORMS = {
    "attention_transfer": (lambda s, t: attention_transfer(s, t, form="squared"), attention_definition),
    "affinity 8": (affinity(8, "probabilities"), affinity_definition(1, "probabilities")),
    "affinity 24": (affinity(24, "probabilities"), affinity_definition(2, "probabilities")),
    "affinity logits": (affinity(8, "logits"), affinity_definition(1, "logits")),
}


@pytest.mark.parametrize("name", FORMS)
class TestForms(EveryLoss):
    LOSSES = FORMS


@pytest.mark.parametrize("shape", SHAPES)
def test_pixel_similarity_per_image_is_the_mean_times_the_pixels(shape):
    sides = [[side * factor for factor in (1, side.detach().roll(1, 1))] for side in maps(shape, dtype=torch.float64)]
    mean, image = (pixel_similarity(*sides, reduction=reduction) for reduction in ("mean", "image"))
    torch.testing.assert_close(image, mean * shape[2] * shape[3])
    with pytest.raises(ValueError, match="reduction must be mean or image, got 'sum'"):
        pixel_similarity(*sides, reduction="sum")


def test_masked_generation_per_number_is_that_per_image_divided_by_the_numbers():
    image, mean = (MaskedGeneration(reduction=reduction) for reduction in ("image", "mean"))
    inputs = example_input(image)
    values = []
    for term in (image, mean):
        torch.manual_seed(0)
        values.append(example_module(term, inputs)(example_input(term)))
    torch.testing.assert_close(values[0], values[1] * inputs.teacher[0].numel())


def test_the_discriminator_judges_maps_of_the_size_of_its_view():
    term = Holistic(view=16)
    inputs = example_input(term)
    module = example_module(term, inputs).eval()
    resized = F.interpolate(inputs.student, size=(16, 16), mode="bilinear", align_corners=True)
    torch.testing.assert_close(module(inputs), -module.discriminator(resized).mean())
    assert len(module.discriminator) == len(example_module(Holistic(view=16), inputs).discriminator)
    wide, high = (example_module(term, example_input(term)).discriminator for term in (Holistic(view=64), Holistic()))
    assert len(wide) > len(high)


@pytest.mark.parametrize("wrong", [{"contrast": "none"}, {"neighbours": 4}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        local_affinity(*maps((1, 2, 4, 4)), **wrong)
    with pytest.raises(ValueError, match="form must be code, paper or squared, got 'mean'"):
        attention_transfer(*maps((1, 2, 4, 4)), form="mean")
