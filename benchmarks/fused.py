"""An experiment: several students of one study in one process, whose layers are computed as one layer of all of them.

    python benchmarks/fused.py --students 1 2 4

Students that differ in seeds, learning rates and weights of their losses have the same shapes, so their weights are
stacked, and one pass of `torch.func.vmap` computes all of them on one batch: K students launch the operations of one.
Losses and updates are those of each student by itself. `gpu.py` asks a GPU whether that gains more than K processes
that share it; this script compares processor time on a CPU, one thread, with K students in turns.

Not covered: networks whose operations vmap does not know, on a CPU the dilated depthwise convolutions of DeepLabV3+
among them; students that stop before the others. Dropout draws other masks than it draws for students apart.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from gpu_rows.bench import Bench
from gpu_rows.resident import CLOCK, ResidentSteps, images_per_second, processor_ms
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from kdtrain.loop.device import keep_freed_memory
from kdtrain.loop.schedules import Clock
from kdtrain.loop.setup import Run
from kdtrain.loop.step import Maps, StepResult, TrainStep
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.methods import Term


class FusedSteps:
    """The steps of several trainings whose students have the same shapes, all on the batch of the first.

    The students keep their optimizers; their weights and running statistics become views of the stacked ones.

    Args:
        students: The trainings; they take no steps by themselves any more.
    """

    def __init__(self, students: Sequence[ResidentSteps]) -> None:
        self._students = students
        self._batch = students[0].batch
        self._steps = [_StepFromMaps(each.run) for each in students]
        networks = [each.run.student for each in students]
        self._network = networks[0]
        self._parameters, self._buffers = stack_module_state(networks)  # type: ignore[arg-type]
        for number, network in enumerate(networks):
            for name, values in network.named_parameters():
                values.data = self._parameters[name].data[number]
            for name, values in network.named_buffers():
                values.data = self._buffers[name][number]

    def __call__(self) -> list[StepResult]:
        """Take a step of every student."""
        with self._students[0].run.autocast():
            maps: dict[str, Tensor] = vmap(self._maps, randomness="different")(self._parameters, self._buffers)
        results = []
        for number, step in enumerate(self._steps):
            step.maps = {layer: values.detach()[number].requires_grad_() for layer, values in maps.items()}
            results.append(step(self._batch, CLOCK, Stopwatch()))
        self._backward(maps)
        for step in self._steps:
            step.update()
        return results

    def _maps(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> dict[str, Tensor]:
        """The maps of one student; running statistics change in `buffers`."""
        maps: dict[str, Tensor] = functional_call(self._network, (parameters, buffers), (self._batch.images,))
        return maps

    def _backward(self, maps: Maps) -> None:
        """From the gradients at the maps of each student to those of its weights, in one pass for all students."""
        used = [layer for layer in maps if any(step.maps[layer].grad is not None for step in self._steps)]
        slopes = [torch.stack([_slope(step.maps[layer]) for step in self._steps]) for layer in used]
        for values in self._parameters.values():
            values.grad = None
        torch.autograd.backward([maps[layer] for layer in used], slopes)
        for number, student in enumerate(self._students):
            for name, values in student.run.student.named_parameters():
                stacked = self._parameters[name].grad
                values.grad = None if stacked is None else stacked[number]


class _StepFromMaps(TrainStep):
    """A step whose maps come from outside, and whose gradient ends there; its update waits for `update`."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.maps: Maps = {}

    def update(self) -> None:
        """Update the weights, and their moving average."""
        super()._update()
        super()._average(CLOCK)

    def _student_maps(self, images: Tensor, active_terms: list[Term]) -> Maps:
        return self.maps

    def _update(self) -> None:
        pass

    def _average(self, clock: Clock) -> None:
        pass


def _slope(values: Tensor) -> Tensor:
    return torch.zeros_like(values) if values.grad is None else values.grad


def students(bench: Bench, count: int, method: str = "kd") -> list[ResidentSteps]:
    """Trainings of one study on one batch: they differ in seeds, learning rates and the weights of their losses."""
    made: list[ResidentSteps] = []
    for number in range(count):
        config = bench.config(method)
        terms = [term.model_copy(update={"weight": term.weight * 1.5**number}) for term in config.terms]
        optimizer = config.optimizer.model_copy(update={"lr": config.optimizer.lr * 0.8**number})
        changes = {"seed": number, "data_seed": 0, "terms": terms, "optimizer": optimizer}
        batch = made[0].batch if made else None
        made.append(ResidentSteps(config.model_copy(update=changes), bench.machine(), batch))
    return made


def section(bench: Bench) -> None:
    """Images per second of all students together, beside which `sharing` has those of as many processes."""
    for count in bench.students:
        speed = images_per_second(bench, FusedSteps(students(bench, count)))
        bench.row(f"{count} fused", "images/s", count * speed, "of all students together")
        if bench.on_gpu:
            bench.row(f"{count} fused", "peak GB", torch.cuda.max_memory_reserved() / 1e9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--networks", default="torchvision", choices=["torchvision", "tiny"])
    parser.add_argument("--image", nargs=2, type=int, default=[160, 224], metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory(prefix="kdsweep-") as scratch:
        size = (options.image[0], options.image[1])
        bench = Bench(Path(scratch), "cpu", options.networks, size, options.batch, steps=1, threads=1)
        for count in options.students:
            fused, apart = FusedSteps(students(bench, count)), students(bench, count)
            ratios = [processor_ms(fused) / sum(map(processor_ms, apart)) for _ in range(options.rounds + 1)][1:]
            print(
                f"{count} students: fused takes {statistics.median(ratios):.2f} of what they take in turns "
                f"({min(ratios):.2f} to {max(ratios):.2f}); load {os.getloadavg()[0]:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
