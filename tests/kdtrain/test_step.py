"""One training step, called by itself."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kdtrain.loop.batches import DistillBatch, moved
from kdtrain.loop.schedules import Clock
from kdtrain.loop.setup import Run, build
from kdtrain.loop.step import StepResult, TrainStep
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.methods import METHODS
from kdtrain.runtime.process_group import ALONE

STEPS = 4
"""Of an epoch of `make_config`."""
START = Clock(0, 0)
FEATURES = {"student_layer": "decoder", "teacher_layer": "decoder", "adapter": "conv"}
WITH_ADAPTER = {
    "method": "cwd",
    "terms": [METHODS["cwd"].terms[0].model_dump(), METHODS["cwd"].terms[1].model_dump() | FEATURES],
}
"""A loss with weights of its own, which are trained, too."""


@pytest.fixture
def run_of(make_config, machine):
    """A training that is ready for its first step."""
    return lambda method="none", **changes: build(make_config(method, **changes), machine, ALONE)


def first_batch(run: Run) -> DistillBatch:
    return next(moved(run.source.epoch(0), run.device))


def take_step(run: Run, clock: Clock = START, batch: DistillBatch | None = None) -> StepResult:
    run.trained.train()
    return TrainStep(run)(batch or first_batch(run), clock, Stopwatch())


def gradient_norm(run: Run) -> float:
    gradients = [value.grad.norm() for value in run.parameters if value.grad is not None]
    return float(torch.stack(gradients).norm())


def weights(run: Run) -> Tensor:
    return torch.cat([value.detach().flatten() for value in run.parameters])


def counted_questions(run: Run, monkeypatch) -> list[set[str]]:
    """The layers of every question to the teacher from now on."""
    questions: list[set[str]] = []
    ask = run.teacher.ask

    def counting(images, layers):
        questions.append(set(layers))
        return ask(images, layers)

    monkeypatch.setattr(run.teacher, "ask", counting)
    return questions


def test_the_step_sets_the_learning_rate_of_its_moment(run_of):
    run = run_of(schedule={"name": "cosine", "warmup_epochs": 1}, optimizer={"lr": 0.1})
    rates = []
    for clock in (Clock(0, 0), Clock(0, 3), Clock(2, 0)):
        take_step(run, clock)
        (rate,) = {parameter_group["lr"] for parameter_group in run.optimizer.param_groups}
        rates.append(rate)
    factor = run.config.schedule.factor
    assert rates == pytest.approx([0.1 * factor(step, 4 * STEPS, STEPS) for step in (0, 3, 8)])
    assert rates == pytest.approx([0.1 / 4, 0.1 * 0.9157348, 0.05])


def test_the_weights_move_by_the_learning_rate(run_of):
    """Without momentum and decay a step of gradient descent is lr times the gradient."""
    changes = {"schedule": {"name": "poly", "power": 1.0}, "optimizer": {"lr": 0.2, "momentum": 0, "weight_decay": 0}}
    for clock, rate in ((Clock(0, 0), 0.2), (Clock(2, 0), 0.1)):
        run = run_of(**changes)
        before = weights(run)
        take_step(run, clock)
        assert float((weights(run) - before).norm()) == pytest.approx(rate * gradient_norm(run), rel=1e-4)


def test_the_loss_is_the_sum_of_the_terms_by_their_weights_at_the_moment(run_of):
    task, kd = (term.model_dump() for term in METHODS["kd"].terms)
    schedule = {"warmup": 0.5, "decay": "none", "stop": 1.0}
    run = run_of("kd", terms=[task | {"weight": 0.5}, kd | {"weight": 3.0, "schedule": schedule}])
    result = take_step(run, Clock(1, 1))
    assert result.weights == pytest.approx({"cross_entropy": 0.5, "pixel_kd": 3.0 * 6 / 8})
    expected = 0.5 * float(result.raw["cross_entropy"]) + 3.0 * 6 / 8 * float(result.raw["pixel_kd"])
    assert float(result.loss) == pytest.approx(expected, rel=1e-6)
    assert all(value > 0 for value in result.raw.values())


def test_a_term_of_weight_zero_is_not_computed_and_needs_no_teacher(run_of, monkeypatch):
    task, kd = (term.model_dump() for term in METHODS["kd"].terms)
    run = run_of("kd", terms=[task, kd | {"schedule": {"stop": 0.5}}])
    questions = counted_questions(run, monkeypatch)
    result = take_step(run, Clock(2, 0))
    assert (set(result.raw), result.weights["pixel_kd"], questions) == ({"cross_entropy"}, 0.0, [])
    assert float(result.loss) == pytest.approx(float(result.raw["cross_entropy"]))
    assert set(take_step(run, Clock(1, 3)).raw) == {"cross_entropy", "pixel_kd"}
    assert questions == [{"logits"}]


def test_the_gradient_is_clipped_to_its_norm_and_no_further(run_of):
    free = run_of(**WITH_ADAPTER)
    take_step(free)
    norm = gradient_norm(free)
    clipped, loose = run_of(**WITH_ADAPTER, clip_norm=norm / 4), run_of(**WITH_ADAPTER, clip_norm=4 * norm)
    for run in (clipped, loose):
        take_step(run)
    assert gradient_norm(clipped) == pytest.approx(norm / 4, rel=1e-3)
    assert gradient_norm(loose) == pytest.approx(norm, rel=1e-6)


def test_clipping_and_measured_lengths_do_not_see_the_scale_of_mixed_precision(run_of):
    plain = run_of("kd", clip_norm=0.01)
    scaled = replace(run_of("kd", clip_norm=0.01), scaler=torch.amp.GradScaler("cpu", init_scale=1024.0))
    before = weights(plain)
    without, with_scale = (take_step(run, Clock(0, 2)).gradients for run in (plain, scaled))
    assert with_scale == pytest.approx(without, rel=1e-4)
    moved_by = float((weights(plain) - before).norm())
    assert float((weights(scaled) - weights(plain)).norm()) < 1e-3 * moved_by


@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "sgd", "lr": 0.1, "momentum": 0.7, "weight_decay": 0.03},
        {"name": "adamw", "lr": 0.1, "weight_decay": 0.03},
    ],
    ids=lambda optimizer: optimizer["name"],
)
def test_the_optimizer_has_the_settings_of_the_config(run_of, optimizer):
    run = run_of(**WITH_ADAPTER, optimizer=optimizer)
    (group,) = run.optimizer.param_groups
    assert {name: group[name] for name in optimizer if name != "name"} == {
        name: value for name, value in optimizer.items() if name != "name"
    }
    weights_of_all = [value for module in (run.student, run.term_modules) for value in module.parameters()]
    trained = {id(value) for value in weights_of_all if value.requires_grad}
    assert any(value.requires_grad for value in run.term_modules.parameters()), "a loss with weights of its own"
    assert {id(value) for value in group["params"]} == trained


def test_every_step_drops_other_features_and_a_repeated_step_the_same(run_of):
    """So a training that is resumed in the middle of an epoch goes on with the masks that it would have had."""
    still = {"lr": 1e-12, "momentum": 0, "weight_decay": 0}
    run = run_of(student={"arch": "tiny_networks:tiny", "options": {"dropout": 0.5}}, optimizer=still)
    batch = first_batch(run)
    first, again, next_step, next_epoch = (
        float(take_step(run, clock, batch).loss) for clock in (Clock(0, 0), Clock(0, 0), Clock(0, 1), Clock(1, 0))
    )
    assert again == first
    assert len({first, next_step, next_epoch}) == 3


def test_every_step_and_term_draws_random_numbers_of_its_own(run_of):
    run = run_of("kd")
    seeds: list[int] = []
    for term in run.schedules.terms:
        run.module_of(term).register_forward_pre_hook(
            lambda _, inputs: seeds.append(inputs[0].generator.initial_seed())
        )
    batch = first_batch(run)
    for clock in (Clock(0, 0), Clock(0, 1), Clock(1, 0), Clock(0, 0)):
        take_step(run, clock, batch)
    assert len(set(seeds[:6])) == 6
    assert seeds[6:] == seeds[:2]


def test_the_teacher_is_asked_only_for_what_the_batch_does_not_hold(run_of, monkeypatch):
    run = run_of("kd")
    batch = first_batch(run)
    maps = run.teacher.ask(batch.images, {"logits", "decoder"})
    questions = counted_questions(run, monkeypatch)
    live = take_step(run, batch=batch)
    assert questions == [{"logits"}]

    other = run_of("kd")
    questions = counted_questions(other, monkeypatch)
    stored = take_step(other, batch=batch._replace(maps={"logits": maps["logits"]}))
    assert questions == []
    assert float(stored.loss) == float(live.loss)
    assert torch.equal(weights(other), weights(run))

    unlike = take_step(run_of("kd"), batch=batch._replace(maps={"logits": maps["logits"].flip(0)}))
    assert float(unlike.raw["pixel_kd"]) != float(live.raw["pixel_kd"]), "the stored map is what the loss sees"


def test_a_stored_kernel_stands_for_the_map_of_its_layer(run_of, monkeypatch):
    run = run_of("cskd")
    batch = first_batch(run)
    request = run.schedules.teacher_request(run.schedules.term_weights(START))
    assert request.kernels
    maps = run.teacher.ask(batch.images, request.maps_without(()))
    kernels = {term: request.rows(term, maps, batch.view, batch.number) for term in request.kernels}
    questions = counted_questions(run, monkeypatch)
    stored = take_step(run, batch=batch._replace(kernels=kernels))
    assert set().union(*questions) == set(request.layers)
    live = take_step(run_of("cskd"), batch=batch)
    assert {name: float(value) for name, value in stored.raw.items()} == {
        name: float(value) for name, value in live.raw.items()
    }


def test_gradients_of_terms_are_measured_in_the_middle_of_some_epochs(run_of):
    run = run_of("kd")
    lengths = {clock: take_step(run, clock).gradients for clock in (Clock(0, 1), Clock(0, 2), Clock(1, 2), Clock(3, 2))}
    assert [set(by_term) for by_term in lengths.values()] == [
        set(),
        {"cross_entropy", "pixel_kd"},
        set(),
        {"cross_entropy", "pixel_kd"},
    ]


def test_the_measured_length_is_that_of_the_weighted_term(run_of):
    task, kd = (term.model_dump() for term in METHODS["kd"].terms)
    once, thrice = (
        take_step(run_of("kd", terms=[task, kd | {"weight": weight}]), Clock(0, 2)).gradients for weight in (1.0, 3.0)
    )
    assert thrice == pytest.approx(once | {"pixel_kd": 3 * once["pixel_kd"]}, rel=1e-5)
