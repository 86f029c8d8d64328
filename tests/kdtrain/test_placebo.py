import pytest
import torch

from kdtrain import TrainConfig, train
from kdtrain.errors import InputError
from kdtrain.loop.placebo import in_order, other_images


@pytest.mark.parametrize("batch", [2, 3, 8])
def test_no_image_gets_its_own_teacher_and_every_other_image_alike(batch):
    draws = [other_images(batch, seed=1, epoch=0, step=step) for step in range(3000)]
    for drawn in draws[:50]:
        assert sorted(drawn) == list(range(batch))
        assert all(image != taught for image, taught in enumerate(drawn))
    counts = torch.bincount(torch.tensor([drawn[0] for drawn in draws]), minlength=batch)
    assert counts[0] == 0
    expected = 3000 / (batch - 1)
    assert (counts[1:] - expected).abs().max() < 5 * expected**0.5


def test_the_order_is_a_stream_of_its_own():
    assert other_images(8, 1, 2, 3) == other_images(8, 1, 2, 3)
    assert len({tuple(other_images(8, *at)) for at in ((1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4))}) == 4


def test_all_layers_of_an_image_come_from_the_same_other_one():
    maps = {"logits": torch.arange(4.0)[:, None, None, None], "decoder": torch.arange(4.0)[:, None, None, None] * 10}
    shuffled = in_order("shuffled", maps, 0, 0, 0)
    assert torch.equal(shuffled["logits"] * 10, shuffled["decoder"])
    assert in_order("own", maps, 0, 0, 0) is maps
    assert in_order("shuffled", {}, 0, 0, 0) == {}


def test_a_placebo_trains_on_the_labels_but_not_with_its_own_teacher(make_config, machine, tmp_path):
    losses = {}
    for order in ("own", "shuffled"):
        config = make_config("kd", epochs=1, teacher_order=order)
        result = train(config, machine, workdir=tmp_path / order)
        losses[order] = {name: values["raw"] for name, values in result.reports[0].losses.items()}
        again = train(config, machine, workdir=tmp_path / f"{order}-again")
        assert again.reports[0].losses == result.reports[0].losses
    assert losses["own"]["pixel_kd"] != losses["shuffled"]["pixel_kd"]


def test_the_placebo_compares_with_the_maps_of_the_other_images(make_config, machine, monkeypatch):
    """Seen from the loss: with a network that does not learn, the values are those of the permuted teacher."""
    seen = {"own": [], "shuffled": []}
    import kdtrain.methods.pixel as pixel

    original = pixel.PixelKd.value
    for order, kept in seen.items():

        def value(term, taps, kept=kept):
            kept.append(taps.teacher.clone())
            return original(term, taps)

        monkeypatch.setattr(pixel.PixelKd, "value", value)
        train(make_config("kd", epochs=1, teacher_order=order, seed=5), machine)
    assert len(seen["own"]) == len(seen["shuffled"]) == 4
    for step, (own, shuffled) in enumerate(zip(seen["own"], seen["shuffled"], strict=True)):
        assert torch.equal(shuffled, own[other_images(4, 5, 0, step)])


def test_a_single_image_has_no_other():
    content = {"terms": [{"loss": "pixel_kd"}], "teacher": "feedfacefeedface", "teacher_order": "shuffled"}
    with pytest.raises(InputError, match="teacher_order: shuffled needs at least 2 images in a batch"):
        TrainConfig.parse({**content, "batch_size": 1})
    with pytest.raises(InputError, match="teacher_order: input should be 'own' or 'shuffled', got 'random'"):
        TrainConfig.parse({**content, "teacher_order": "random"})
