import subprocess
import sys

import torch

from kdtrain.stream import derive, generator, numpy_rng


def test_a_stream_depends_on_its_seed_and_its_whole_name():
    seeds = {derive(0), derive(1), derive(0, "a"), derive(0, "b"), derive(0, "a", 1), derive(0, "a", 2), derive(1, "a")}
    assert len(seeds) == 7
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_stream_is_the_same_on_every_machine_and_in_every_process():
    assert derive(7, "init") == 7377410231107439266
    code = "from kdtrain.stream import derive; print(derive(7, 'init'))"
    assert int(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    ) == derive(7, "init")


def test_what_one_stream_draws_does_not_shift_another():
    alone = generator(3, "b")
    expected = torch.rand(4, generator=alone)
    torch.rand(100, generator=generator(3, "a"))
    torch.rand(100)
    assert torch.equal(torch.rand(4, generator=generator(3, "b")), expected)
    assert numpy_rng(3, "b").random() == numpy_rng(3, "b").random()
    assert numpy_rng(3, "b").random() != numpy_rng(3, "a").random()
