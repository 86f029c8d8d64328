"""What the processes of the tests of the replay store record: 24 chunks whose content is a function of their number."""

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from kdtrain.replay import ArrayFile, Layout, ReplayStore, Stream, TensorSpec, bytes_of, ensure

BATCH, CHUNKS = 4, 24
ROWS = BATCH * CHUNKS - 1
FACTS = {"data": "d1", "seed": 3}
SPECS = {"images": TensorSpec((24, 32, 3), torch.uint8), "logits": TensorSpec((5, 24, 32), torch.bfloat16)}
LIMIT = 1 << 30


def content(chunk: int, view: int = 0) -> dict[str, Tensor]:
    rows = min(BATCH, ROWS - chunk * BATCH)
    generator = torch.Generator().manual_seed(1000 * view + chunk)
    images = torch.randint(0, 256, (rows, *SPECS["images"].shape), dtype=torch.uint8, generator=generator)
    return {"images": images, "logits": torch.randn(rows, *SPECS["logits"].shape, generator=generator).bfloat16()}


def stream(root: Path, limit: int = LIMIT) -> Stream:
    return Stream(ReplayStore(root, limit), FACTS, Layout(batch=BATCH))


def wrong_chunks(arrays: Mapping[str, ArrayFile], view: int = 0) -> list[int]:
    """Those that are not there, or not what they must be."""
    return [
        chunk
        for chunk in range(CHUNKS)
        if not all(
            arrays[name].has(chunk)
            and torch.equal(arrays[name].read(range(chunk * BATCH, min(ROWS, (chunk + 1) * BATCH))), expected)
            for name, expected in content(chunk, view).items()
        )
    ]


def record(root: Path, log: Path, make: Callable[[int], Mapping[str, Tensor]] = content, name: str = "") -> None:
    """Record the first view, note every chunk made in a line of `log`, and check the whole."""
    torch.set_num_threads(1)

    def noted(chunk: int) -> Mapping[str, Tensor]:
        with log.open("a") as file:
            file.write(f"{chunk} {name}\n")
        return make(chunk)

    with stream(root).view(0) as view:
        arrays = view.arrays(ROWS, SPECS)
        assert arrays is not None
        ensure(view, arrays, range(CHUNKS), noted)
        wrong = wrong_chunks(arrays)
    if wrong:
        with log.open("a") as file:
            file.write(f"wrong {wrong}\n")


def record_with_others(root: Path, log: Path, name: str, others: int) -> None:
    """Go on after the first chunk when so many others are at it, too."""

    def make(chunk: int) -> Mapping[str, Tensor]:
        deadline = time.monotonic() + 60
        while len({line.split()[1] for line in log.read_text().splitlines()}) <= others:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.005)
        return content(chunk)

    record(root, log, make, name)


def killed_in_make(root: Path, log: Path, chunk: int) -> None:
    """Claim a chunk, and die while making it when all others have been made."""

    def make(chunk: int) -> Mapping[str, Tensor]:
        log.write_text(f"{chunk} -\n")
        deadline = time.monotonic() + 60
        while len(log.read_text().splitlines()) < CHUNKS:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    with stream(root).view(0) as view:
        arrays = view.arrays(ROWS, SPECS)
        assert arrays is not None
        ensure(view, arrays, [chunk], make)


def killed_in_write(root: Path, log: Path, at: int) -> None:
    """Die when half of the bytes that write number `at` was to write are written."""
    real, writes = os.pwrite, 0

    def pwrite(file: int, data: memoryview, offset: int) -> int:
        nonlocal writes
        writes += 1
        if writes == at:
            real(file, data[: len(data) // 2], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(file, data, offset)

    os.pwrite = pwrite
    record(root, log)


def record_again_and_again(root: Path, log: Path) -> None:
    """Until killed from outside, record one of six views at random; four have room."""
    torch.set_num_threads(1)
    limit = 4 * bytes_of(ROWS, SPECS)
    while True:
        number = random.randrange(6)
        with stream(root, limit).view(number) as view:
            arrays = view.arrays(ROWS, SPECS)
            if arrays is None:
                raise AssertionError("two processes use two views at most")
            ensure(view, arrays, random.sample(range(CHUNKS), CHUNKS), lambda chunk: content(chunk, number))  # noqa: B023
            if wrong := wrong_chunks(arrays, number):
                with log.open("a") as file:
                    file.write(f"wrong {number} {wrong}\n")
