"""Trainings with `Machine.compile_losses`."""

import shutil

import pytest
import torch

from kdtrain import Machine, train
from kdtrain.errors import InputError
from kdtrain.loop import compiled
from kdtrain.loop.setup import build
from kdtrain.methods import METHODS
from kdtrain.methods.pixel import PixelKd
from kdtrain.runtime.process_group import ALONE

pytestmark = pytest.mark.newer_torch(2, 6)


@pytest.fixture(autouse=True)
def _no_graphs_of_others():
    torch._dynamo.reset()


@pytest.fixture
def compiling(machine, monkeypatch) -> Machine:
    """A machine that compiles losses into graphs, which are not translated."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    return machine.model_copy(update={"compile_losses": True})


def epochs(config, machine):
    result = train(config, machine)
    assert result.state == "complete"
    return [report.losses for report in result.reports]


@pytest.mark.parametrize("method", ["csc_ace", "cskd"])
def test_a_compiled_training_has_the_losses_of_a_plain_one(method, make_config, machine, compiling):
    config = make_config(method, epochs=1)
    for plain, found in zip(epochs(config, machine), epochs(config, compiling), strict=True):
        for term, values in plain.items():
            assert found[term] == pytest.approx(values, rel=1e-3)


def test_every_loss_is_compiled_but_those_that_draw(make_config, compiling):
    for method, drawn in (("cskd", ["grid_pam_cka"]), ("cirkd", ["memory_relation"]), ("kd", [])):
        run = build(make_config(method), compiling, ALONE)
        plain = [term.name for term in run.schedules.terms if run.module_of(term)._compiled_call_impl is None]
        assert plain == drawn


def test_the_checkpoint_is_that_of_a_plain_training(make_config, machine, compiling):
    states = [build(make_config("cskd"), where, ALONE).state_dict()["modules"] for where in (machine, compiling)]
    assert list(states[0]) == list(states[1])


def test_a_loss_that_cannot_be_compiled_is_named(make_config, compiling, monkeypatch):
    def value(self, taps):
        return taps.student.mean() if taps.student.sum() > 0 else taps.student.square().mean()

    monkeypatch.setattr(PixelKd, "value", value)
    with pytest.raises(InputError, match=r"^compile_losses: must be false, because the loss pixel_kd cannot"):
        train(make_config("kd", epochs=1), compiling)


def test_other_errors_of_a_loss_stay_as_they_are(make_config, machine, monkeypatch):
    def value(self, taps):
        raise ZeroDivisionError

    monkeypatch.setattr(PixelKd, "value", value)
    with pytest.raises(ZeroDivisionError):
        train(make_config("kd", epochs=1), machine)


def test_without_a_compiler_the_error_says_so(make_config, compiling, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"compile_losses: must be false on a CPU without a C\+\+ compiler"):
        build(make_config("kd"), compiling, ALONE)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="there is no C++ compiler")
def test_translated_losses_have_the_same_values(make_config, machine):
    terms = [METHODS["kd"].terms[1].model_dump()]  # its translation takes a minute, that of more losses minutes
    config, compiling = make_config("kd", epochs=1, terms=terms), machine.model_copy(update={"compile_losses": True})
    (plain,), (found,) = (epochs(config, where) for where in (machine, compiling))
    for term, values in plain.items():
        assert found[term] == pytest.approx(values, rel=1e-3)
