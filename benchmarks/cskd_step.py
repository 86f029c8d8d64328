"""Why CSKD's step costs what it costs: the arithmetic of its student half, and what shortcuts would save.

    python benchmarks/cskd_step.py

The student of `replay.py` (DeepLabV3+ with MobileNetV2 x 0.5, crops of 160 x 224, batch 8, 256 channels at stride 4) on
generated street scenes, untrained and after some steps of cross-entropy. Printed are

* milliseconds of a plain step and of the attention terms with recorded kernels, and the least that their products
  could take at the speed of a large product in the same run: (plain + products) / plain is a bound that no code can
  beat which computes them; beside it, the same terms with a softmax that keeps weights below 2^-80, many of which are
  subnormal numbers;
* for `X X^T` of the channel attention, whose float64 product is the only one that is not float32, milliseconds of other
  ways, and the error of the loss's gradient at nearly equal features, for which 1e-4 is allowed;
* how many rows of the channel attention are one-hot, whose products could be left out.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.linalg.blas import dsyrk
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kdtrain.data import Streets, open_role
from kdtrain.losses import attention, cross_entropy
from kdtrain.losses.attention import (
    cam_cka_to,
    cam_kernel,
    count_blocks,
    grid_pam_cka_to,
    grid_pam_kernel,
    random_projections,
)
from kdtrain.losses.kernels import inner_products
from kdtrain.models import Network, TappedNetwork, build_network

STUDENT = {"arch": "DeepLabV3Plus", "encoder": "tu-mobilenetv2_050", "weights": "none"}
CROP = (160, 224)
IMAGES = 8
GRID = 5
GAMMA = 0.5
NOISE = 1e-4
"""Difference of nearly equal features, in their standard deviations."""


def seconds(work: Callable[[], object], rounds: int) -> float:
    """The least of some rounds, after one that warms up: what other processes add is not counted."""
    work()
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def scenes(cache: Path) -> tuple[Tensor, Tensor]:
    """Images and labels of a batch."""
    content = {"name": "streets", "size": list(CROP), "counts": {"train": IMAGES, "select": 1, "test": 1}}
    role = open_role(Streets.model_validate(content), "train", None, cache)
    images, labels = zip(*(role.get(index) for index in range(IMAGES)), strict=True)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return pixels.contiguous(memory_format=torch.channels_last), torch.from_numpy(np.stack(labels)).long()


def in_chunks(size: int) -> Callable[[Tensor], Tensor]:
    """`x x^T` in float32, `size` columns at a time, summed in float64."""

    def products(rows: Tensor) -> Tensor:
        return torch.stack([(part @ part.mT).double() for part in rows.split(size, -1)]).sum(0)

    return products


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "float64 (as it is)": inner_products,
    "float32": lambda rows: rows @ rows.mT,
    "float32, sums of 256 pixels in float64": in_chunks(256),
    "float32, sums of 32 pixels in float64": in_chunks(32),
}


def gradient_error(features: Tensor, products: Callable[[Tensor], Tensor]) -> float:
    """Largest error of the gradient of the channel attention's loss at nearly equal features, as a part of it."""
    source = torch.Generator().manual_seed(0)
    student = features + NOISE * features.std() * torch.randn(features.shape, generator=source)
    kernel = cam_kernel(features.double(), 2.0)

    def gradient(maps: Tensor) -> Tensor:
        maps = maps.clone().requires_grad_()
        return torch.autograd.grad(cam_cka_to(maps, kernel, 2.0, GAMMA), maps)[0].double()

    exact = gradient(student.double())
    attention.inner_products = products  # type: ignore[assignment]
    try:
        return float((gradient(student) - exact).abs().max() / exact.abs().max())
    finally:
        attention.inner_products = inner_products


def one_hot_rows(features: Tensor) -> tuple[float, float]:
    """Shares of rows of the channel attention with one number that float32 keeps, and with one above 1 - 1e-6."""
    x = features.permute(0, 2, 3, 1).flatten(1, 2).double()
    weights = (-(x.mT @ x) / 2.0).softmax(-1).float()
    return float(((weights > 0).sum(-1) == 1).float().mean()), float((weights.amax(-1) > 1 - 1e-6).float().mean())


def report_step(network: TappedNetwork, images: Tensor, labels: Tensor, rounds: int) -> None:
    with torch.no_grad():
        features = network(images)["decoder"]
    count = count_blocks(features.shape[2], features.shape[3], GRID)
    draws = random_projections(count, features.shape[1], torch.Generator().manual_seed(0))
    channel_kernel, block_kernel = cam_kernel(features * 1.1, 2.0), grid_pam_kernel(features * 1.1, 2.0, GRID, draws)
    leaf, gamma = features.clone().requires_grad_(), torch.tensor(GAMMA, requires_grad=True)

    def plain() -> None:
        cross_entropy(network(images)["logits"], labels).backward()

    def terms() -> None:
        value = cam_cka_to(leaf, channel_kernel, 2.0, gamma)
        (value + grid_pam_cka_to(leaf, block_kernel, 2.0, gamma, GRID, draws)).backward()

    with FlopCounterMode(display=False) as counter:
        terms()
    square = torch.randn(2048, 2048)
    speed = 2 * 2048**3 / seconds(lambda: square @ square, rounds)
    step, added, least = seconds(plain, rounds), seconds(terms, rounds), counter.get_total_flops() / speed
    cut, attention._softmax = attention._softmax, partial(torch.softmax, dim=-1)
    try:
        uncut = seconds(terms, 1)
    finally:
        attention._softmax = cut
    print(f"plain step, forward and backward {1e3 * step:8.0f} ms")
    print(f"attention terms                  {1e3 * added:8.0f} ms, {1 + added / step:.2f} with the plain step")
    print(f"the same with subnormal weights  {1e3 * uncut:8.0f} ms, {1 + uncut / step:.2f} with the plain step")
    print(
        f"their products, {counter.get_total_flops() / 1e9:.1f} GFLOP    {1e3 * least:8.0f} ms at {speed / 1e9:.0f} "
        f"GFLOP/s, {1 + least / step:.2f} with the plain step"
    )


def report_products(features: Tensor, rounds: int) -> None:
    rows = features.permute(0, 2, 3, 1).flatten(1, 2).contiguous().mT
    for name, products in WAYS.items():
        taken = seconds(lambda products=products: products(rows), rounds)
        print(f"X X^T, {name:42}{1e3 * taken:6.0f} ms, gradient off by {gradient_error(features, products):.1e}")
    matrices = [np.asfortranarray(each.double().numpy()) for each in rows]
    taken = seconds(lambda: [dsyrk(1.0, each) for each in matrices], rounds)
    print(f"X X^T, {'float64, one half by syrk (of scipy)':42}{1e3 * taken:6.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40, help="of training between both looks at the features")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(prefix="kdsweep-") as cache:
        images, labels = scenes(Path(cache))
    network = build_network(Network.model_validate(STUDENT), int(labels[labels < 255].max()) + 1, 0).tap(["decoder"])
    network.eval()(images)
    network.place(torch.device("cpu")).train()
    print(f"{torch.get_num_threads()} threads, load average {os.getloadavg()[0]:.1f}")
    report_step(network, images, labels, options.rounds)
    optimizer = torch.optim.SGD(network.parameters(), 0.02, momentum=0.9)
    for steps in (0, options.steps):
        for _ in range(steps):
            optimizer.zero_grad()
            cross_entropy(network(images)["logits"], labels).backward()
            optimizer.step()
        with torch.no_grad():
            features = network(images)["decoder"].contiguous()
        exactly, nearly = one_hot_rows(features)
        print(f"after {steps} steps: {exactly:.1%} of the rows are one-hot in float32, {nearly:.1%} to 1e-6")
        report_products(features, options.rounds)
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
