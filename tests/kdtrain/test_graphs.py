"""Steps that are captured as graphs; on a CPU a captured step is one that is taken again on the same memory."""

from dataclasses import replace

import pytest
import torch

from kdtrain.config import Machine
from kdtrain.errors import InputError
from kdtrain.loop import step as step_module
from kdtrain.loop.batches import moved
from kdtrain.loop.graphs import WARM_UP, StepGraphs, open_graphs
from kdtrain.loop.schedules import Clock, Schedules
from kdtrain.loop.setup import build
from kdtrain.loop.step import TrainStep
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.methods import METHODS
from kdtrain.runtime.process_group import ALONE

EPOCHS, STEPS = 4, 4


class Repeated:
    """Captures work as a graph does: nothing of a later step reaches the work but what lies in its memory."""

    def __init__(self, monkeypatch, optimizer):
        self.optimizer = optimizer
        self.captured = self.replayed = 0
        self._inside = False
        for owner, name in ((Schedules, "learning_rate"), (Schedules, "term_weights"), (step_module, "generator")):
            monkeypatch.setattr(owner, name, self._outside(getattr(owner, name)))

    def __call__(self, work):
        self.captured += 1

        def replay():
            self.replayed += 1
            self._inside = True
            for group in self.optimizer.param_groups:
                group["lr"] = float("nan")
            try:
                return work()
            finally:
                self._inside = False

        return replay

    def _outside(self, function):
        def checked(*args, **kwargs):
            assert not self._inside, "a graph would repeat what this gave when it was captured"
            return function(*args, **kwargs)

        return checked


def trained(run):
    """The results of all steps of a training, and its weights."""
    run.trained.train()
    take_step, results = TrainStep(run), []
    for epoch in range(EPOCHS):
        for number, batch in enumerate(moved(run.source.epoch(epoch), run.device)):
            results.append(take_step(batch, Clock(epoch, number), Stopwatch()))
    weights = {
        name: value.clone() for name, value in run.trained.state_dict().items() if isinstance(value, torch.Tensor)
    }
    return results, weights, run


def schedule(term):
    return term | {"schedule": {"warmup": 0.1, "decay": "linear", "stop": 0.5}}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("method", ["kd", "csc_ace", "cwd_feature"])
def test_a_captured_training_is_a_plain_one(method, optimizer, make_config, machine, monkeypatch):
    task, *others = (term.model_dump() for term in METHODS[method].terms)
    changes = {"terms": [task, *map(schedule, others)], "optimizer": {"name": optimizer, "lr": 0.01}, "clip_norm": 1.0}
    config = make_config(method, **changes, ema={"half_life": 1}, epochs=EPOCHS)
    expected, weights, plain = trained(build(config, machine, ALONE))
    run = build(config, machine, ALONE)
    repeated = Repeated(monkeypatch, run.optimizer)
    found, same, captured = trained(replace(run, graphs=StepGraphs(repeated)))
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other.loss, one.loss, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(dict(other.raw), dict(one.raw), rtol=1e-5, atol=1e-6)
        assert (other.weights, list(other.gradients)) == (one.weights, list(one.gradients))
    if optimizer == "sgd":  # AdamW moves biases before a batch norm by rounding alone
        torch.testing.assert_close(same, weights, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(captured.average.state_dict(), plain.average.state_dict(), rtol=1e-4, atol=1e-6)
    measured = sum(bool(result.gradients) for result in expected)
    sets = {tuple(result.raw) for result in expected}
    assert repeated.captured == len(sets) == 2
    assert repeated.replayed == EPOCHS * STEPS - measured - len(sets) * WARM_UP


def test_results_of_earlier_steps_stay(make_config, machine, monkeypatch):
    """A graph writes into the same memory in every step."""
    memory = torch.zeros(2)

    def capture(work):
        return lambda: memory.copy_(work())

    graphs = StepGraphs(capture)
    outputs = [graphs(("a",), {"x": torch.tensor([step, 1.0])}, lambda given: 2 * given["x"]) for step in range(6)]
    assert [output[0].item() for output in outputs] == [0, 2, 4, 6, 8, 10]


def test_a_checkpoint_of_a_captured_training_continues_without_graphs(make_config, machine, monkeypatch):
    config = make_config("kd", optimizer={"name": "adamw", "lr": 0.01})
    run = build(config, machine, ALONE)
    _, _, captured = trained(replace(run, graphs=StepGraphs(Repeated(monkeypatch, run.optimizer))))
    run = build(config, machine, ALONE)
    run.load_state_dict(captured.state_dict())
    run.trained.train()
    batch = next(moved(run.source.epoch(0), run.device))
    TrainStep(run)(batch, Clock(1, 0), Stopwatch())
    (group,) = run.optimizer.param_groups
    assert (type(group["lr"]), group["capturable"]) == (float, False)


@pytest.mark.parametrize(
    ("device", "changes", "scaled", "method", "reason"),
    [
        ("cpu", {}, False, "kd", "on the device cpu, which has no CUDA graphs"),
        ("cuda", {"processes": 2}, False, "kd", "with 2 processes"),
        ("cuda", {}, True, "kd", "with amp float16"),
        ("cuda", {}, False, "cskd", "with the loss grid_pam_cka, which draws random numbers on the host"),
        ("cuda", {}, False, "mgd", "with the loss masked_generation"),
        ("cuda", {}, False, "kd", None),
    ],
)
def test_where_steps_cannot_be_captured_the_error_says_why(device, changes, scaled, method, reason):
    terms = list(METHODS[method].terms)
    shapes = dict.fromkeys(("logits", "decoder", "encoder.last"), (5, 6, 8))
    modules = torch.nn.ModuleList(term.build(shapes, shapes, 5) for term in terms)
    machine = Machine(cuda_graphs=True, **changes)
    arguments = (torch.device(device), scaled, terms, modules)
    assert open_graphs(Machine(), *arguments) is None
    if reason is None:
        assert open_graphs(machine, *arguments) is not None
        return
    with pytest.raises(InputError, match=f"^cuda_graphs: must be false {reason}"):
        open_graphs(machine, *arguments)
