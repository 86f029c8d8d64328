"""The moving average of the student's weights."""

import math

import pytest
import torch
from torch import nn

from kdtrain import train
from kdtrain.config import Ema
from kdtrain.data import open_role
from kdtrain.loop.evaluate import evaluate
from kdtrain.loop.moving_average import MovingAverage
from kdtrain.loop.run_folder import RunFolder
from kdtrain.teacher import load_model

EMA = {"half_life": 0.3}


def parts(workdir, epoch):
    return torch.load(workdir / "checkpoints" / f"epoch-{epoch:05d}.pt", weights_only=True)


@pytest.fixture
def kept(monkeypatch):
    """Checkpoints are kept after the end of a training."""
    monkeypatch.setattr(RunFolder, "_drop_checkpoints", lambda run, folder: None)


@pytest.mark.parametrize("steps_per_epoch", [4, 50, 1000])
def test_a_half_life_is_counted_in_epochs_whatever_the_batch_size(steps_per_epoch):
    ema = Ema(half_life=2.0)
    late = [ema.decay(100 * steps_per_epoch + step, steps_per_epoch) for step in range(2 * steps_per_epoch)]
    assert math.prod(late) == pytest.approx(0.5)


def test_the_warm_up_forgets_the_untrained_weights_and_keeps_a_tenth_of_the_training():
    ema = Ema(half_life=1000.0)
    age, ages = 0.0, []
    for step in range(400):
        decay = ema.decay(step, 10)
        age = decay * (age + 1)
        ages.append(age)
    assert ema.decay(0, 10) == 0
    assert ages[-1] == pytest.approx(399 / 10)
    assert max(share / (step + 1) for step, share in enumerate(ages)) <= 0.1


def test_the_longest_half_life_is_where_the_warm_up_ends():
    epochs, steps = 12, 10_000
    longest = Ema.longest(epochs)
    last = epochs * steps - 1
    assert Ema(half_life=1.1 * longest).decay(last, steps) == Ema(half_life=9 * longest).decay(last, steps)
    assert Ema(half_life=0.9 * longest).decay(last, steps) < Ema(half_life=longest).decay(last, steps)


@pytest.mark.parametrize("half_life", [1e-320, 1e308])
def test_extreme_half_lives_are_numbers(half_life):
    assert 0 <= Ema(half_life=half_life).decay(7, 1000) <= 1


def test_parameters_are_averaged_and_buffers_are_not():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    net.tied = net[0].weight
    average = MovingAverage(net)
    expected: dict[str, torch.Tensor] = {}
    for decay in (0.0, 0.1, 0.6):
        with torch.no_grad():
            for value in [*net.parameters(), *net.buffers()]:
                value.copy_(torch.randn(value.shape))
        now = {name: value.detach().double() for name, value in net.state_dict().items()}
        expected = {name: decay * expected.get(name, 0) + (1 - decay) * value for name, value in now.items()}
        average.update(decay)
    own = {name: value.clone() for name, value in net.state_dict().items()}
    expected |= {name: value.double() for name, value in net.named_buffers()}
    with average.applied():
        seen = {name: value.double() for name, value in net.state_dict().items()}
    torch.testing.assert_close(seen, expected)
    assert all(torch.equal(value, own[name]) for name, value in net.state_dict().items())
    with pytest.raises(KeyboardInterrupt), average.applied():
        raise KeyboardInterrupt
    assert all(torch.equal(value, own[name]) for name, value in net.state_dict().items())


def test_small_steps_of_half_precision_are_not_rounded_away():
    net = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    nn.init.zeros_(net.weight)
    average = MovingAverage(net)
    nn.init.ones_(net.weight)
    for _ in range(2000):
        average.update(0.999)
    average.apply()
    assert net.weight.item() == pytest.approx(1 - 0.999**2000, rel=0.01)


def test_the_average_is_what_is_evaluated_and_saved(make_config, machine, tmp_path, kept):
    config = make_config("kd", ema=EMA)
    result = train(config, machine, workdir=tmp_path)
    state = parts(tmp_path, 4)
    _, student = load_model(tmp_path / "student")
    saved = student.state_dict()
    expected = state["student"] | state["average"]
    assert all(torch.equal(value, expected[name]) for name, value in saved.items())
    assert any(not torch.equal(value, state["student"][name]) for name, value in saved.items())
    images = open_role(config.data, "select", None, machine.cache)
    again = evaluate(student.place(torch.device("cpu")).logits, images, "select", 4, 1.0, torch.device("cpu"))
    assert again.to_dict() == result.evaluation.to_dict()
    assert result.reports[-1].metrics["miou"] == again.miou


def test_the_training_itself_stays_as_it_is_and_so_do_layers_beside_the_student(make_config, machine, tmp_path, kept):
    for name, ema in (("with", EMA), ("without", {})):
        train(make_config("cwd_feature", epochs=2, ema=ema), machine, workdir=tmp_path / name)
    averaged, plain = parts(tmp_path / "with", 2), parts(tmp_path / "without", 2)
    assert averaged.keys() == plain.keys() | {"average"}
    for part in ("student", "modules"):
        assert all(torch.equal(value, plain[part][name]) for name, value in averaged[part].items())


def test_an_interrupt_in_an_evaluation_leaves_the_weights_of_the_training(make_config, machine, tmp_path, outcome):
    config = make_config("kd", epochs=2, ema=EMA)
    calls = iter(range(1, 100))
    result = train(config, machine, workdir=tmp_path / "broken", interrupt=lambda: next(calls) == 5)
    assert result.reason == "interrupted in epoch 1 after 4 of 4 steps"
    result = train(config, machine, workdir=tmp_path / "broken")
    whole = train(config, machine, workdir=tmp_path / "whole")
    assert outcome(result, tmp_path / "broken") == outcome(whole, tmp_path / "whole")
