"""Which rehearsals a sweep takes, that each is taken once, and that a trial that would fail stops the sweep before."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

from kdtrain import InputError, Machine
from kdtrain.loop.rehearsal import Rehearsal
from kdtrain.models import Network
from kdtrain.teacher import ModelCard
from sweeps import rehearsals
from sweeps.attempt.signals import Interrupted, StopRequest
from sweeps.rehearsals import map_lines, rehearse_plan, rehearse_sweep, scenes_of
from sweeps.run import run_sweep
from sweeps.spec.spec import SweepSpec, parse_spec

NETWORKS = Path(__file__).parents[1] / "kdtrain" / "networks"
TINY = {"arch": "tiny_networks:tiny"}
BIG = {"arch": "tiny_networks:tiny", "options": {"width": 10}}
SOFTMAX = {"arch": "odd_networks:returns", "options": {"form": "softmax"}}


@pytest.fixture(autouse=True)
def _networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(NETWORKS)
    torch.set_num_threads(1)


def make(**changes: Any) -> SweepSpec:
    content: dict[str, Any] = {
        "name": "small",
        "data": {"name": "streets", "size": [32, 48], "counts": {"train": 8, "select": 4, "test": 1}},
        "student": TINY,
        "teacher": {"fit": {"network": BIG, "epochs": 1}},
        "train": {"epochs": 1, "batch_size": 4},
        "studies": ["none", "kd"],
        "space": {"optimizer.lr": {"low": 0.01, "high": 0.1, "log": True}},
        "budget": {"trials": 1},
        "confirm": {"top": 0, "seeds": 0},
    }
    return parse_spec({**content, **changes})


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(cache=tmp_path / "cache", device="cpu", threads=1, weights=None)


def rehearsed(spec: SweepSpec, machine: Machine) -> list[str]:
    lines: list[str] = []
    rehearse_plan(spec, machine, lines.append)
    return lines


def names(spec: SweepSpec, machine: Machine) -> list[tuple[str, bool]]:
    return [(scene.at, scene.evaluates) for scene in scenes_of(spec, machine, None)]


def test_each_network_and_method_is_rehearsed_once(machine):
    assert names(make(), machine) == [("teacher.fit", True), ("studies.none", True), ("studies.kd", False)]
    of_its_own_kind = make(teacher={"fit": {"network": TINY, "epochs": 1}})
    assert names(of_its_own_kind, machine) == [("teacher.fit", True), ("studies.kd", False)]


def test_numbers_that_only_decide_how_well_a_training_goes_need_no_rehearsal(machine):
    studies = [
        "none",
        {"name": "low", "method": "kd", "set": {"terms.pixel_kd.weight": 0.1}},
        {"name": "high", "method": "kd", "set": {"terms.pixel_kd.weight": 10, "terms.pixel_kd.temperature": 4}},
    ]
    assert names(make(studies=studies), machine) == [
        ("teacher.fit", True),
        ("studies.none", True),
        ("studies.low", False),
    ]


def test_choices_and_ends_of_whole_numbers_are_rehearsed(machine):
    space = {"batch_size": {"low": 2, "high": 6, "integer": True}, "optimizer.name": ["sgd", "adamw"]}
    scenes = scenes_of(make(studies=["none"], teacher=None, space=space), machine, None)
    assert [(scene.config.batch_size, scene.config.optimizer.name) for scene in scenes] == [
        (4, "sgd"),
        (2, "sgd"),
        (6, "sgd"),
        (4, "adamw"),
    ]
    layers = {"name": "fit", "method": "fitnet", "space": {"terms.fitnet.student_layer": ["decoder", "encoder.1"]}}
    scenes = scenes_of(make(studies=["none", layers]), machine, None)
    found = [scene.config.terms[-1].student_layer for scene in scenes if scene.at == "studies.fit"]
    assert {"decoder", "encoder.1"} <= set(found)


def test_what_was_rehearsed_is_not_rehearsed_again(machine, monkeypatch):
    first = rehearsed(make(), machine)
    assert first[0] == "rehearsal: one training step of each of 3 networks and methods that trials will train"
    assert [line.partition(":")[0] for line in first[1:]] == [f"rehearsal {n} of 3" for n in (1, 2, 3)]
    assert "studies.none (tiny_networks:tiny, batches of 4): step " in first[2]
    assert rehearsed(make(), machine) == []
    assert len(rehearsed(make(train={"epochs": 1, "batch_size": 2}), machine)) == 4
    monkeypatch.setattr(rehearsals, "code_key", lambda config: {"kdtrain": "changed"})
    assert len(rehearsed(make(), machine)) == 4


def test_one_rehearsal_serves_every_way_to_run_on_one_machine(machine):
    def keys(machine: Machine, card: ModelCard | None = None) -> dict[str, str]:
        return {scene.at: scene.key for scene in scenes_of(make(), machine, card)}

    planned = keys(machine.model_copy(update={"threads": None, "workers": 2}))
    assert keys(machine) == planned
    network = Network.model_validate(BIG)
    card = ModelCard(network=network, classes=("a", "b"), trained_on="streets", weights_sha256="f00d", params=9)
    fitted = keys(machine, card)
    assert [at for at in fitted if fitted[at] != planned[at]] == ["studies.kd"]


def test_warnings_are_repeated_where_the_rehearsal_is_not(machine):
    spec = make(student={"arch": "odd_networks:views"}, studies=["none"], teacher=None)
    first, again = rehearsed(spec, machine), rehearsed(spec, machine)
    assert again == first[2:]
    assert again[0].startswith("warning: the student does not take maps in channels-last order")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"student": {"arch": "odd_networks:pooled"}, "train": {"epochs": 1, "batch_size": 1}},
            r"^studies.none \(odd_networks:pooled\): a step with 1 image .* raise train.batch_size",
        ),
        (
            {"teacher": {"fit": {"network": {"arch": "odd_networks:extra_state"}, "epochs": 1}}},
            r"^teacher.fit \(odd_networks:extra_state\): the student cannot be saved",
        ),
        (
            {"student": SOFTMAX},
            r"^studies.none \(odd_networks:returns\): the student must return logits",
        ),
    ],
)
def test_a_trial_that_would_fail_stops_plan_and_run_before_any_training(machine, tmp_path, changes, said):
    spec = make(**changes)
    with pytest.raises(InputError, match=said):
        rehearsed(spec, machine)
    with pytest.raises(InputError, match=said):
        run_sweep(spec, tmp_path / "sweep", machine, inline=True, console=Console(quiet=True))
    assert not (tmp_path / "sweep" / "teacher").exists()
    assert not (tmp_path / "sweep" / "trials").exists()
    assert list((tmp_path / "cache").glob(".rehearsal-*")) == []


def test_a_sweep_without_rehearsal_begins_at_once(machine, tmp_path, monkeypatch):
    def never(*_args: object) -> None:
        raise AssertionError

    monkeypatch.setattr("sweeps.run.rehearse_sweep", never)
    spec = make(
        studies=["none"], teacher=None, student={"arch": "odd_networks:returns", "options": {"form": "softmax"}}
    )
    results = run_sweep(spec, tmp_path / "sweep", machine, inline=True, rehearsal=False, console=Console(quiet=True))
    assert results.best is not None


def test_weights_that_cannot_be_had_are_found_before_training(machine, monkeypatch):
    from kdtrain.models.library import ARCHITECTURES

    def unreachable(encoder_weights: str | None = None, **_options: object) -> None:
        raise ConnectionError(f"no route to {encoder_weights}")

    monkeypatch.setitem(ARCHITECTURES, "FPN", unreachable)
    spec = make(student={"arch": "FPN", "weights": "library"}, studies=["none"], teacher=None)
    with pytest.raises(InputError, match=r"studies.none \(FPN .*: weights: the library's weights .* --weights or"):
        rehearsed(spec, machine)


def test_the_commands_rehearse_unless_they_are_told_not_to(tmp_path, monkeypatch, capsys):
    from sweeps.cli import main

    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(make(student=SOFTMAX, studies=["none"], teacher=None).model_dump(mode="json")))
    monkeypatch.setenv("KDSWEEP_CACHE", str(tmp_path / "cache"))
    for words, code, said in (
        (["plan", spec], 2, "studies.none (odd_networks:returns): the student must return logits"),
        (["run", spec, "--dir", tmp_path / "D", "--inline"], 2, "(--no-rehearsal leaves this check out)"),
        (["plan", spec, "--no-rehearsal"], 0, "at most 1 trials"),
    ):
        monkeypatch.setattr("sys.argv", ["kdsweep", *map(str, words), "--trust"])
        try:
            main()
            ended = 0
        except SystemExit as end:
            ended = int(end.code or 0)
        out, err = capsys.readouterr()
        assert (ended, said in out + err) == (code, True), out + err


def test_a_cpu_stands_in_for_a_gpu_with_small_batches(machine):
    spec = make(resources={"cpu": 1, "gpu": 1}, train={"epochs": 1, "batch_size": 8}, studies=["none"], teacher=None)
    assert [scene.config.batch_size for scene in scenes_of(spec, machine, None)] == [2]
    assert [scene.config.batch_size for scene in scenes_of(spec, machine, None, "a cluster")] == [8]
    assert "has no GPU, which resources.gpu asks for" in rehearsed(spec, machine)[0]


def test_it_is_said_whether_maps_are_read_or_computed_and_what_both_take(machine):
    (line,) = rehearse_plan(make(), machine, lambda text: None).lines
    assert line.startswith("teacher maps of studies.kd: logits of an image take ")
    assert " ms to compute, so they are " in line
    assert rehearse_plan(make(), machine, lambda text: None).lines == (line,)  # remembered
    slow = Rehearsal(1.0, None, None, (), 0.01, {"decoder": (0.015, 0.015), "logits": (0.001, 0.02)})
    quick = Rehearsal(1.0, None, None, (), 0.01, {"logits": (0.001, 0.02)})
    computed, read = map_lines({"studies.a": slow, "studies.b": quick, "studies.none": Rehearsal(1.0, None, None)})
    assert "decoder and logits of an image take 16 ms to read (35 ms from the disk) and 10 ms to compute" in computed
    assert "so they are computed in every trial" in computed
    assert "so they are read as long as the system's memory holds them" in read


def test_a_stop_request_ends_the_rehearsals(machine):
    stop = StopRequest()

    def perform(scenes, machine, teacher):
        for _ in scenes:
            stop.ask(15)
            yield Rehearsal(0.1, None, None)

    lines: list[str] = []
    with pytest.raises(Interrupted):
        rehearse_sweep(make(), machine, None, lines.append, perform, stop=stop)
    assert len(lines) == 2


@pytest.mark.slow
@pytest.mark.ray
def test_rehearsals_on_a_cluster_are_a_task_with_the_resources_of_a_trial(machine, monkeypatch):
    from sweeps.launch.cluster import cluster
    from sweeps.launch.rehearse import rehearse_on_ray

    monkeypatch.setenv("PYTHONPATH", str(NETWORKS), prepend=":")
    lines: list[str] = []
    softmax = make(student=SOFTMAX)
    with cluster(None, StopRequest(), lambda text: None):
        perform = rehearse_on_ray(make().resources, StopRequest())
        rehearse_sweep(make(), machine, None, lines.append, perform, "a cluster")
        assert len(lines) == 4
        rehearse_sweep(make(), machine, None, lines.append, perform, "a cluster")
        assert len(lines) == 4
        with pytest.raises(InputError, match=r"^studies.none \(odd_networks:returns\): the student must return logits"):
            rehearse_sweep(softmax, machine, None, lines.append, perform, "a cluster")
        killed = make(student={"arch": "odd_networks:killed"})
        with pytest.raises(InputError, match=r"the rehearsal's process was lost .*lower train.batch_size"):
            rehearse_sweep(killed, machine, None, lines.append, perform, "a cluster")
        stop = StopRequest()
        stop.ask(15)
        with pytest.raises(Interrupted):
            list(rehearse_on_ray(make().resources, stop)(scenes_of(make(), machine, None), machine, None))


def test_steps_are_timed_for_every_study(machine: Machine) -> None:
    spec = make(studies=["none", "kd", {"name": "strong", "method": "kd", "set": {"terms.pixel_kd.weight": 3}}])
    by_study = rehearse_plan(spec, machine, lambda text: None).by_study
    assert set(by_study) == {"none", "kd", "strong"}
    assert all(each.steady_s is not None and each.steady_s > 0 for each in by_study.values())
    assert by_study["kd"] is by_study["strong"], "numbers alone take no step of their own"
