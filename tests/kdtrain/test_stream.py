import torch

from kdtrain.runtime.random_streams import derive, generator, numpy_rng, seed_torch


def test_a_stream_depends_on_its_seed_and_its_whole_name():
    names = ((0,), (1,), (0, "a"), (0, "b"), (0, "a", 1), (0, "a", 2), (1, "a"))
    seeds = {derive(*name) for name in names}
    assert len(seeds) == 7
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_stream_is_the_same_on_every_machine_and_in_every_process():
    assert derive(7, "init") == 3369199470124936819


def test_what_one_stream_draws_does_not_shift_another():
    alone = generator(3, "b")
    expected = torch.rand(4, generator=alone)
    torch.rand(100, generator=generator(3, "a"))
    torch.rand(100)
    assert torch.equal(torch.rand(4, generator=generator(3, "b")), expected)
    assert numpy_rng(3, "b").random() == numpy_rng(3, "b").random()
    assert numpy_rng(3, "b").random() != numpy_rng(3, "a").random()


def test_torchs_own_generator_is_brought_to_a_stream():
    seed_torch(torch.device("cpu"), 3, "dropout", 1)
    drawn = torch.rand(4)
    torch.manual_seed(derive(3, "dropout", 1))
    assert torch.equal(torch.rand(4), drawn)
    assert not torch.equal(torch.rand(4), drawn)
