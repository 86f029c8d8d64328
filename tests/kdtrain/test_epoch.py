"""What an epoch's report says of the losses."""

import pytest
import torch

from kdtrain.loop.epoch import LossMeter


def test_a_term_that_was_off_for_some_steps_has_the_raw_mean_of_the_others_and_the_weighted_mean_of_all():
    meter = LossMeter(["task", "kd"], every=1)
    meter.add({"task": torch.tensor(1.0)}, {"task": 1.0, "kd": 0.0})
    meter.add({"task": torch.tensor(3.0), "kd": torch.tensor(5.0)}, {"task": 1.0, "kd": 2.0})
    assert meter.check() is None
    means = meter.means()
    assert means["task"] == pytest.approx({"raw": 2.0, "weighted": 2.0})
    assert means["kd"] == pytest.approx({"raw": 5.0, "weighted": 5.0})
