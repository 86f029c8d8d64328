"""The memory of CSC beside its plain definition, seen from outside: the peak of whole processes.

    python benchmarks/loss_memory.py [--batch 2] [--threads 1]

Each process makes two maps of 64 x 128 with 19 classes, computes the loss with its gradient, or nothing at all, and
ends; the kernel says how much memory it had at most. What a loss takes is the difference from the process that computes
nothing: arrays, buffers of libraries, and modules that the first call imports.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

WORK = """
import sys
import torch
from kdtrain import losses
import plain_losses

what, batch, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
source = torch.Generator().manual_seed(0)
student, teacher = (torch.randn(batch, 19, 64, 128, generator=source) for _ in range(2))
student.requires_grad_()
student.square().mean().backward()
if what == "ours":
    losses.csc(student, teacher).backward()
elif what == "plain":
    plain_losses.csc_a(student, teacher).backward()
"""


def peak(what: str, batch: int, threads: int) -> float:
    """The highest resident memory of a process that computes `ours`, `plain` or `nothing`, in MiB."""
    here = Path(__file__).resolve().parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", WORK, what, str(batch), str(threads)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the process that computes {what} failed with {status}")
    return usage.ru_maxrss / 1024


def share(batch: int, threads: int) -> tuple[float, float, float]:
    """What ours and the plain definition take beyond a process that computes nothing, in MiB, and their ratio."""
    nothing, ours, plain = (peak(what, batch, threads) for what in ("nothing", "ours", "plain"))
    return ours - nothing, plain - nothing, (ours - nothing) / (plain - nothing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    ours, plain, ratio = share(options.batch, options.threads)
    print(
        f"csc at 64 x 128, 19 classes, batch {options.batch}: {ours:.0f} MiB, plain {plain:.0f} MiB, share {ratio:.1%}"
    )


if __name__ == "__main__":
    main()
