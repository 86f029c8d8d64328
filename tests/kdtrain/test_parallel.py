"""Several processes that train one student."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from timm.layers import BatchNormAct2d
from torch import distributed, nn

from kdtrain import InputError, train
from kdtrain.runtime.process_group import SpawnedGroup
from kdtrain.runtime.processes import spawn

NETWORKS = Path(__file__).parent / "networks"
METHODS = {
    "none": {"augment": {"crop": (24, 32), "scale": (0.6, 1.4)}, "schedule": {"warmup_epochs": 1}},
    "kd": {"clip_norm": 0.5},
    "cwd_feature": {"optimizer": {"lr": 0.001}},
    "ifvd": {},
    "cskd": {"evaluate_every": 2, "ema": {"half_life": 0.5}},
    "csc_ace": {"student": {"arch": "tiny_networks:with_aux"}},
}
NO_DROPOUT = {"arch": "tiny_networks:tiny", "options": {"dropout": 0.0}}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "student" / "weights.safetensors")


def assert_same_but_for_rounding(one, two, first: Path, second: Path) -> None:
    assert (one.state, two.state) == ("complete", "complete")
    for past, other in zip(one.reports, two.reports, strict=True):
        assert (past.images, past.asked, past.lr) == (other.images, other.asked, other.lr)
        for term, values in past.losses.items():
            assert other.losses[term] == pytest.approx(values, rel=1e-4)
    torch.testing.assert_close(weights(first), weights(second), rtol=1e-3, atol=1e-5)
    moved = (one.evaluation.confusion != two.evaluation.confusion).sum()
    assert moved <= 4, "at most a pixel or two changes its class by rounding"
    assert two.evaluation.miou == pytest.approx(one.evaluation.miou, abs=1e-3)


def test_two_processes_give_what_one_gives(make_config, machine, tmp_path):
    from several_trainings import train_all

    configs = {
        name: make_config(name, **{"student": NO_DROPOUT, "epochs": 2} | changes) for name, changes in METHODS.items()
    }
    configs["stopped"] = make_config("none")
    configs["interrupted"] = make_config("kd")
    configs["diverged"] = make_config("none", student={"arch": "tiny_networks:breaks", "options": {"at": 6}})
    counts = iter(range(1, 100))
    options = {
        "stopped": {"on_epoch": lambda past: "stop" if past.epoch == 2 else None},
        "interrupted": {"interrupt": lambda: next(counts) == 5},
    }
    with spawn(2, partial(train_all, configs, machine, tmp_path)) as group:
        results = train_all(configs, machine, tmp_path, group, **options)
    for name in METHODS:
        alone = train(configs[name], machine, workdir=tmp_path / name / "alone")
        assert_same_but_for_rounding(alone, results[name], tmp_path / name / "alone", tmp_path / name / "run")
    assert (results["stopped"].state, results["stopped"].epochs_run) == ("stopped", 2)
    assert results["interrupted"].reason == "interrupted in epoch 1 after 4 of 4 steps"
    assert results["diverged"].reason == "the loss of cross_entropy was not finite in epoch 2"


@pytest.fixture
def alone_in_a_group(tmp_path):
    group = SpawnedGroup(0, 1, tmp_path, lambda: None)
    group.join(torch.device("cpu"))
    yield group
    group.leave()


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3, affine=False, momentum=None),
        nn.BatchNorm2d(3, track_running_stats=False),
        BatchNormAct2d(3, act_layer=nn.SiLU, inplace=False),
        nn.Sequential(nn.Flatten(2), nn.BatchNorm1d(3, momentum=0.3)),
    ],
)  # fmt: skip
def test_batch_norm_over_all_processes_is_that_of_torch(layer, alone_in_a_group):
    layer = layer.double()
    start = {name: value.clone() for name, value in layer.state_dict().items()}
    images = 3 + 5 * torch.randn(4, 3, 5, 7, dtype=torch.float64)
    runs = []
    for context in (torch.enable_grad(), alone_in_a_group.whole_batch_norm()):
        layer.load_state_dict(start)
        layer.zero_grad()
        inputs = images.clone().requires_grad_()
        with context:
            first = layer.train()(inputs)
            outputs = [first, layer(inputs), layer.eval()(inputs)]
        sum(output.pow(3).sum() for output in outputs).backward()
        gradients = [inputs.grad, *(parameter.grad for parameter in layer.parameters())]
        runs.append((outputs, gradients, {name: value.clone() for name, value in layer.state_dict().items()}))
    torch.testing.assert_close(runs[1], runs[0])


def test_joining_leaves_no_trace(alone_in_a_group):
    assert not sys.excepthook.__module__.startswith("torch")
    assert "GLOO_SOCKET_IFNAME" not in os.environ


def test_a_batch_must_be_divisible(make_config, machine):
    config = make_config(batch_size=5)
    with pytest.raises(InputError, match="batch_size: must be divisible by the 2 processes, got 5"):
        train(config, machine.model_copy(update={"processes": 2}))


def test_devices_must_suffice(make_config, machine, monkeypatch):
    several = machine.model_copy(update={"processes": 3})
    monkeypatch.setattr(sys.modules["kdtrain.loop.trainer"], "spawn", lambda size, work: spawn(1, work))
    with pytest.raises(InputError, match="device: must be auto, cpu or cuda for 3 processes, got 'cuda:1'"):
        train(make_config(batch_size=6), several.model_copy(update={"device": "cuda:1"}))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="got 3 processes for 2 visible GPUs"):
        train(make_config(batch_size=6), several.model_copy(update={"device": "cuda"}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("killed", RuntimeError, "process 2 of 2 was killed by SIGKILL, and with it the training"),
        ("out of memory", torch.OutOfMemoryError, "nothing left"),
    ],
)
def test_the_end_of_one_process_is_the_end_of_all(how, error, message, make_config, machine, tmp_path):
    config = make_config(student={"arch": "tiny_networks:second_fails", "options": {"how": how, "at": 6}}, epochs=2)
    heard = []
    begun = time.monotonic()

    def report(past):
        heard.append(past.epoch)
        nonlocal begun
        begun = time.monotonic()

    with pytest.raises(error, match=message) as raised:
        train(config, machine.model_copy(update={"processes": 2}), report, tmp_path)
    assert time.monotonic() - begun < 10
    assert heard == [1]
    if how != "killed":
        assert "in process 2 of 2" in raised.value.__notes__[0]
    assert not distributed.is_initialized()
    assert train(config, machine, workdir=tmp_path).resumed_from == 1


@pytest.mark.slow
def test_any_number_of_processes_goes_on_from_the_middle_of_an_epoch(make_config, machine, tmp_path):
    config = make_config("cskd", student=NO_DROPOUT, epochs=3, batch_size=6)
    alone = train(config, machine, workdir=tmp_path / "alone")
    answers = {2: 1, 1: 3}
    results = []
    for processes, calls in answers.items():
        counts = iter(range(1, 100))
        with_others = machine.model_copy(update={"processes": processes})
        results.append(
            train(config, with_others, None, tmp_path / "several", lambda c=counts, n=calls: next(c) == n)
        )  # fmt: skip
    assert [(result.state, result.epochs_run) for result in results] == [("interrupted", n) for n in (0, 1)]
    in_thread = []
    two = machine.model_copy(update={"processes": 2})
    thread = threading.Thread(target=lambda: in_thread.append(train(config, two, None, tmp_path / "several")))
    thread.start()
    thread.join()
    assert_same_but_for_rounding(alone, in_thread[0], tmp_path / "alone", tmp_path / "several")


SCRIPT = """
import sys
from pathlib import Path
from kdtrain import Machine, TrainConfig
from kdtrain import train
config, machine = TrainConfig.model_validate_json(sys.argv[1]), Machine.model_validate_json(sys.argv[2])
train(config, machine, lambda past: print("epoch", past.epoch, flush=True))
"""


@pytest.mark.slow
def test_the_others_end_with_the_first_process_of_a_plain_script(make_config, machine, tmp_path):
    config = make_config(epochs=10_000, evaluate_every=10_000)
    several = machine.model_copy(update={"processes": 2, "workers": 1})
    (tmp_path / "script.py").write_text(SCRIPT)
    script = [sys.executable, tmp_path / "script.py", config.model_dump_json(), several.model_dump_json()]
    path = {"PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{NETWORKS}"}
    first = subprocess.Popen(script, env=os.environ | path, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "epoch 1\n"
    below = descendants(first.pid)
    assert len(below) >= 2
    for pid in below:
        os.kill(pid, signal.SIGUSR1) if b"kdtrain.runtime.processes" in command(pid) else None
    assert first.stdout.readline() == "epoch 2\n", "the first process alone answers signals"
    first.kill()
    first.wait()
    first.stdout.close()
    until = time.monotonic() + 60
    while any(command(pid) for pid in below) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(command(pid) for pid in below)


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(below for child in children for below in descendants(child))]


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
