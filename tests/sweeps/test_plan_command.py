"""`kdsweep plan` with a price and what it looks for on this machine, and `kdsweep train D --trial NAME`."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from called_command import called
from tiny_spec import TINY

from kdtrain.config import Machine
from kdtrain.teacher import read_card
from sweeps.attempt.replay_plan import ReplayPlan
from sweeps.machine_facts import machine_lines
from sweeps.spec.spec import SweepSpec, parse_spec

Command = Callable[..., tuple[int, str, str]]
SPEC: dict[str, Any] = {
    **TINY,
    "studies": ["none"],
    "budget": {"trials": 1},
    "confirm": {"top": 0, "seeds": 0},
}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.setenv("KDSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KDSWEEP_PRICE", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("spec.yaml").write_text(yaml.safe_dump(SPEC))
    return lambda *words: called(monkeypatch, capsys, *words)


def test_a_plan_has_the_cost_of_each_study_with_a_price(command: Command) -> None:
    code, out, err = command("plan", "spec.yaml", "--price", "3600")
    assert (code, err) == (0, "")
    (line,) = re.findall(r"^  none: .*, cost ([\d.]+) \(1 epochs of .*\)$", out, re.MULTILINE)
    assert float(line) > 0
    assert re.search(r"^  in all: .*, cost [\d.]+, without the teacher's fit$", out, re.MULTILINE)
    assert "cluster: none was asked; this machine has" in out
    without = command("plan", "spec.yaml")[1]
    assert "; --price, or KDSWEEP_PRICE, the price of an hour of this machine, gives the cost" in without
    assert ", cost" not in without
    code, _, err = command("plan", "spec.yaml", "--price", "-1")
    assert (code, err.count("\n")) == (2, 1)
    assert "--price: must be the price of an hour, a number of at least 0, got -1" in err


def test_any_trial_of_a_sweep_is_trained_again(command: Command, fake: Any) -> None:
    (trial,) = fake.run(parse_spec(SPEC), Path("D")).trials
    code, out, err = command("train", "D", "--trial", trial, "--dir", "student")
    assert (code, err) == (0, "")
    assert "student in student/student" in out
    assert read_card(Path("student/student")).network.arch == "FPN"
    code, _, err = command("train", "D", "--trial", f"{trial}0", "--dir", "other")
    assert (code, err.count("\n")) == (2, 1)
    assert f"--trial: must be a trial of D, got '{trial}0'; did you mean {trial}?" in err


def lines(spec: SweepSpec, machine: Machine, folder: Path | None) -> list[str]:
    replay = ReplayPlan(10, 6, 10**6, {"logits": 9 * 10**6}, {}, (), 10**9)
    made: Any = SimpleNamespace(disk_bytes=2 * 10**9, checked=SimpleNamespace(replay=replay))
    return list(machine_lines(spec, made, machine, folder))


def test_weights_are_looked_for_where_they_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    spec = parse_spec({**SPEC, "student": {"arch": "FPN", "encoder": "resnet18", "weights": "library"}})
    machine = Machine(cache=tmp_path / "cache", weights=None)
    assert (
        lines(spec, machine, None)[0] == "weights of resnet18: to be downloaded from the hub, smp-hub/resnet18.imagenet"
    )
    cached = tmp_path / "hub" / "models--smp-hub--resnet18.imagenet" / "snapshots" / "a"
    cached.mkdir(parents=True)
    (cached / "model.safetensors").write_text("")
    assert lines(spec, machine, None)[0].startswith("weights of resnet18: in the cache of the hub, ")
    (tmp_path / "resnet18.safetensors").write_text("")
    given = machine.model_copy(update={"weights": tmp_path})
    assert lines(spec, given, None)[0] == f"weights of resnet18: in {tmp_path / 'resnet18.safetensors'}"


def test_space_is_looked_for_on_the_disks_that_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=5 * 10**9))
    machine = Machine(cache=tmp_path / "not" / "there", weights=None)
    spec = parse_spec({**SPEC, "confirm": {"top": 1, "seeds": 2, "final_seeds": 4}})
    (line,) = lines(spec, machine, tmp_path)
    assert line.startswith(
        f"free disk: up to 0.42 GB of recorded views in the cache {tmp_path}/not/there, where 5 GB are free; "
        f"up to 2 GB of trials in {tmp_path}, where 5 GB are free; cluster: none was asked; this machine has "
    )
    assert "trials in" not in lines(spec, machine, None)[0]
    many = parse_spec({**SPEC, "confirm": {"top": 1, "seeds": 2, "final_seeds": 40}})
    assert "up to 1 GB of recorded views" in lines(many, machine, None)[0]


def test_a_run_says_what_the_cluster_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeps.launch.cluster import cluster_line

    nodes = [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}, {"Alive": True, "Resources": {"CPU": 4.0}}]
    monkeypatch.setattr("ray.nodes", lambda: [*nodes, {"Alive": False, "Resources": {"CPU": 9.0}}])
    assert cluster_line() == "Ray answers: 2 nodes with 8 CPUs and 1 GPU"


def test_a_plan_says_what_a_run_would_change_in_a_begun_sweep(command: Command, fake: Any) -> None:
    fake.run(parse_spec(SPEC), Path("D"))

    def changes(*words: str) -> list[str]:
        code, out, err = command("plan", "spec.yaml", "--no-rehearsal", *words)
        assert (code, err) == (0, "")
        return re.findall(r"^(.*) has begun; what a run would change: (.*)$", out, re.MULTILINE)

    assert changes("--dir", "D") == [("D", "nothing")]
    (line,) = changes("--dir", "D", "--set", "budget.trials=3", "--set", "confirm.final_seeds=9")
    assert line == ("D", "budget.trials: 1 -> 3; confirm.final_seeds: 8 -> 9")
    assert changes("--dir", "E") == changes() == []


@pytest.mark.parametrize("rehearsal", [True, False])
def test_a_plan_ends_with_the_command_that_runs_it(command: Command, rehearsal: bool) -> None:
    words = ["--data", "a folder", "--set", "budget.trials=2", "--set", "notes=two words"]
    code, out, _ = command("plan", "spec.yaml", *words, *([] if rehearsal else ["--no-rehearsal"]))
    line = " kdsweep run spec.yaml --dir runs/tiny --set budget.trials=2 --set 'notes=two words' --data 'a folder'"
    assert code == 0
    assert out.splitlines()[-1].endswith(line)
