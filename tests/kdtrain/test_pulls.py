"""How strongly terms pull at an untaught student, beside a definition that is written out here."""

import math
from itertools import islice

import pytest
import torch
from torch.nn import functional

from kdtrain import InputError
from kdtrain.loop.batches import moved
from kdtrain.loop.calibration import Calibration
from kdtrain.loop.pulls import BATCHES, measure_pulls
from kdtrain.loop.schedules import Clock
from kdtrain.loop.setup import build
from kdtrain.loop.step import TrainStep
from kdtrain.loop.stop import InterruptedTrainingError
from kdtrain.loop.stopwatch import Stopwatch
from kdtrain.methods import METHODS, parse_term
from kdtrain.runtime.process_group import ALONE

KD = parse_term({"loss": "pixel_kd", "temperature": 2.0})
CWD = parse_term({"loss": "channel_wise"})
ADAPTED = parse_term({"loss": "fitnet", "student_layer": "decoder", "teacher_layer": "decoder"})

STUDENT = {"arch": "tiny_networks:tiny", "options": {"dropout": 0.0}}


@pytest.fixture
def untaught(make_config, teacher):
    """16 steps without a teacher; the digest is for the terms that are measured."""
    return make_config("none", teacher=teacher[1].digest, student=STUDENT)


def length(value, parameters) -> float:
    gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return math.sqrt(sum(float(each.double().square().sum()) for each in gradients if each is not None))


def test_lengths_are_those_of_an_untaught_student_on_unseen_batches(untaught, machine):
    found = measure_pulls(untaught, {"kd": KD, "ce": METHODS["none"].terms[0]}, machine)
    run = build(untaught.model_copy(update={"terms": (*untaught.terms, KD)}), machine, ALONE)
    plain = build(untaught, machine, ALONE)
    batches = list(moved(islice(run.source.epoch(untaught.epochs), BATCHES), run.device))
    assert len(batches) == BATCHES
    plain.trained.train()
    expected_task, expected_kd = [], []
    for number, batch in enumerate(moved(plain.source.epoch(0), plain.device)):
        TrainStep(plain)(batch, Clock(0, number), Stopwatch())
        if number + 1 in (1, 2, 4):
            state = {key: value.clone() for key, value in plain.student.state_dict().items()}
            task, kd = [], []
            for each in batches:
                logits = plain.student(each.images)["logits"]
                teacher = run.teacher.ask(each.images, ["logits"])["logits"]
                size = logits.shape[-2:]
                parameters = [each for each in plain.student.parameters() if each.requires_grad]
                labels = each.labels
                full = functional.interpolate(logits, labels.shape[-2:], mode="bilinear", align_corners=True)
                cross_entropy = functional.cross_entropy(full, labels, ignore_index=plain.ignore_index)
                target = functional.interpolate(teacher, size, mode="bilinear", align_corners=False)
                divergence = functional.kl_div(
                    (logits / 2).log_softmax(1), (target / 2).log_softmax(1), log_target=True, reduction="none"
                )
                task.append(length(cross_entropy, parameters))
                kd.append(length(4 * divergence.sum(1).mean(), parameters))
            plain.student.load_state_dict(state)
            expected_task.append(sum(task) / BATCHES)
            expected_kd.append(sum(kd) / BATCHES)
    assert found.steps == (1, 2, 4)
    assert found.task == pytest.approx(expected_task, rel=1e-4)
    assert found.lengths["ce"] == pytest.approx(expected_task, rel=1e-4)
    assert found.lengths["kd"] == pytest.approx(expected_kd, rel=1e-4)
    ratios = [a / b for a, b in zip(expected_kd, expected_task, strict=True)]
    assert found.ratio("kd") == pytest.approx(math.prod(ratios) ** (1 / 3), rel=1e-4)
    assert found.ratio("ce") == pytest.approx(1)


def test_a_pull_depends_on_neither_weight_name_schedule_nor_other_terms(untaught, machine):
    alone = measure_pulls(untaught, {"a": ADAPTED}, machine)
    other = ADAPTED.model_copy(update={"weight": 0.0, "name": "other"})
    stops = parse_term({**ADAPTED.model_dump(), "schedule": {"stop": 0.5}, "weight": 7})
    beside = measure_pulls(untaught, {"x": CWD, "b": other, "c": stops}, machine)
    assert alone.lengths["a"] == beside.lengths["b"] == beside.lengths["c"]
    assert alone.task == beside.task


def test_options_change_a_pull(untaught, machine):
    hot = KD.model_copy(update={"temperature": 8.0})
    found = measure_pulls(untaught, {"kd": KD, "hot": hot}, machine)
    assert found.ratio("hot") != pytest.approx(found.ratio("kd"), rel=0.01)


def test_every_method_has_a_pull(untaught, machine, teacher):
    terms = {f"{name}.{term.name}": term for name in ("cwd", "csc_ace", "dist") for term in METHODS[name].terms}
    found = measure_pulls(untaught, terms, machine)
    assert all(found.ratio(key) > 0 for key in terms)


def test_a_term_without_a_gradient_has_the_ratio_0():
    found = Calibration((1, 2), (2.0, 4.0), {"none": (0.0, 0.0), "late": (0.0, 8.0)})
    assert found.ratio("none") == 0
    assert found.ratio("late") == 2


def test_an_interrupt_ends_the_measurement(untaught, machine):
    calls = []
    with pytest.raises(InterruptedTrainingError):
        measure_pulls(untaught, {"kd": KD}, machine, lambda: len(calls) > 1 or calls.append(1))


def test_a_term_that_cannot_be_built_is_refused(untaught, machine):
    with pytest.raises(InputError, match="no_such_layer"):
        measure_pulls(untaught, {"x": CWD.model_copy(update={"student_layer": "no_such_layer"})}, machine)


def test_a_gradient_that_is_not_finite_is_refused(untaught, machine, monkeypatch):
    monkeypatch.setattr(type(KD), "value", lambda self, taps: taps.student.sum() * math.inf)
    with pytest.raises(InputError, match="pixel_kd is not finite"):
        measure_pulls(untaught, {"kd": KD}, machine)
