"""A target in 8-bit integers: latency of the quantized student, and what the chosen student scores in them."""

from pathlib import Path

import pytest
import yaml
from called_command import called
from rich.console import Console

from analysis import read_tables
from kdtrain.config import Machine
from kdtrain.data.streets import CLASSES
from kdtrain.deploy import int8
from kdtrain.deploy.speed import Cost
from kdtrain.errors import InputError, StorageError
from kdtrain.models import Network, build_network
from kdtrain.teacher import save_model
from sweeps.launch.inline import run_inline
from sweeps.outcome.int8_scores import FILE, measure_scores, read_scores
from sweeps.outcome.results import tables_now, write_again
from sweeps.outcome.student import chosen_students
from sweeps.run import run_sweep
from sweeps.spec.target import Target
from sweeps.store.store import Store
from sweeps.student_costs import cost_here

NETWORK = Network(arch="FPN", encoder="tu-mobilenetv3_small_050", options={"decoder_pyramid_channels": 16})
TARGET = {"latency_ms": 10_000, "int8": True}
DATA = {"name": "streets", "size": [32, 64], "counts": {"train": 4, "select": 3, "test": 1}}


@pytest.fixture
def sweep(fake, tmp_path, monkeypatch):
    """A finished sweep on fake trainings, whose chosen config has a trained student; its spec, store and machine."""
    spec = fake.make_spec(studies=["none"], teacher=None, data=DATA, budget={"trials": 2}, target=TARGET)
    monkeypatch.chdir(tmp_path)
    with fake.open_driver(spec, tmp_path / "s", cost_of=lambda student: Cost(params=1, macs=1)) as driver:
        run_inline(driver, fake.FakeTrain())
    store, facts = Store("s"), {"network": NETWORK, "classes": tuple(CLASSES), "trained_on": "streets"}
    net = build_network(NETWORK, len(CLASSES), seed=1).net
    for trial in driver.state.of_phase("confirm"):
        save_model(Path("s") / "trials" / trial.id / "student", net, facts)
    return spec, store, Machine(cache=tmp_path / "cache")


def test_int8_needs_what_measures_it():
    for target in ({"params": 5}, {"latency_ms": 5, "runtime": "torch"}):
        with pytest.raises(ValueError, match="int8: needs latency_ms with runtime: onnxruntime"):
            Target(**target, int8=True)
    assert "5 ms in onnxruntime in int8 (1 thread" in Target(latency_ms=5, int8=True).in_words
    assert Target(latency_ms=5, int8=True).setting((8, 9)).int8


@pytest.mark.newer_torch(2, 6)
def test_the_latency_is_that_of_the_quantized_graph(sweep, monkeypatch):
    spec, _, machine = sweep
    quantized, real = [], int8.quantize

    def quantize(file, to, images):
        quantized.append([tuple(each.shape) for each in images])
        real(file, to, images)

    monkeypatch.setattr(int8, "quantize", quantize)
    cost = cost_here(spec, NETWORK, len(CLASSES), (32, 64), machine)
    assert quantized == [[(1, 3, 32, 64)] * 4]
    assert cost.speed.int8
    assert "ms in onnxruntime, int8, on " in cost.in_words


@pytest.mark.newer_torch(2, 6)
def test_the_chosen_student_is_measured_once_and_its_score_stands_in_the_evidence(sweep, monkeypatch, capsys, tmp_path):
    spec, store, machine = sweep
    students = chosen_students(store, tables_now(store))[:1]
    scores = measure_scores(Path("s"), store, spec, machine, students, tmp_path / "scratch")
    assert read_scores(store) == scores
    (score,) = scores.values()
    assert 0 <= score <= 1
    monkeypatch.setattr("kdtrain.deploy.int8.int8_miou", None)
    assert measure_scores(Path("s"), store, spec, machine, students, tmp_path / "scratch") == scores
    code, said, errors = called(monkeypatch, capsys, "best", "s")
    assert (code, errors) == (0, "")
    evidence = yaml.safe_load(said)["evidence"]["int8"]
    assert evidence["miou_on_select"] == score
    assert evidence["less_than_in_floats"] == pytest.approx(students[0].score - score)
    write_again(store, None)
    assert yaml.safe_load(Path("s/best.yaml").read_text())["evidence"]["int8"] == evidence
    code, said, errors = called(monkeypatch, capsys, "best", "s", "--student", "out")
    assert (code, errors) == (0, "")
    assert f"int8: mIoU {100 * score:.2f} on select, " in said


@pytest.mark.parametrize("content", ["{", "[]", '{"a": null}'])
def test_damaged_scores_are_one_sentence(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(InputError, match=r"int8.json is damaged; delete it"):
        read_scores(Store(tmp_path))


@pytest.mark.newer_torch(2, 6)
def test_an_outage_is_not_kept_as_what_a_student_scores(sweep, monkeypatch, tmp_path):
    spec, store, machine = sweep

    def refuse(*given):
        raise StorageError("the disk is full")

    monkeypatch.setattr("kdtrain.deploy.int8.int8_miou", refuse)
    students = chosen_students(store, tables_now(store))[:1]
    with pytest.raises(StorageError):
        measure_scores(Path("s"), store, spec, machine, students, tmp_path / "scratch")
    assert read_scores(store) == {}


@pytest.mark.newer_torch(2, 6)
def test_a_student_that_cannot_be_quantized_says_why(sweep, monkeypatch, tmp_path):
    spec, store, machine = sweep

    def refuse(*given):
        raise InputError("onnxruntime cannot quantize this network: why")

    monkeypatch.setattr("kdtrain.deploy.int8.int8_miou", refuse)
    students = chosen_students(store, tables_now(store))[:1]
    measure_scores(Path("s"), store, spec, machine, students, tmp_path / "scratch")
    write_again(store, None)
    evidence = yaml.safe_load(Path("s/best.yaml").read_text())["evidence"]["int8"]
    assert evidence == {"seed": students[0].seed, "not_measured": "onnxruntime cannot quantize this network: why"}
    assert Path("s", FILE).is_file()


@pytest.mark.slow
@pytest.mark.newer_torch(2, 6)
def test_a_whole_sweep_ends_with_the_best_below_each_limit_in_int8(fake, tmp_path):
    widths = {width: {"decoder_pyramid_channels": width} for width in (16, 48)}
    params = [params_of(NETWORK.model_copy(update={"options": options})) for options in widths.values()]
    spec = fake.make_spec(
        studies=["none"],
        teacher=None,
        data=DATA,
        student=NETWORK.model_dump(),
        space={"student": {"options": {"decoder_pyramid_channels": list(widths)}}},
        train={"epochs": 1, "batch_size": 2},
        target={"latency_ms": 10_000, "int8": True, "params": params, "threads": 1},
        budget={"trials": 2},
        confirm={"top": 1, "seeds": 2},
    )
    machine = Machine(data_root=tmp_path, cache=tmp_path / "cache")
    results = run_sweep(spec, tmp_path / "s", machine, inline=True, console=Console(quiet=True))
    evidence = results.best["evidence"]
    assert [each["limit"] for each in evidence["front"]] == params
    assert evidence["front"][0]["cost"] == params[0]
    assert 0 <= evidence["int8"]["miou_on_select"] <= 1
    assert yaml.safe_load((tmp_path / "s" / "best.yaml").read_text())["evidence"] == evidence
    chosen = {each["trial_id"] for each in evidence["front"]}
    assert len(read_scores(Store(tmp_path / "s"))) == len(chosen)
    costs = read_tables(tmp_path / "s")["costs"]
    assert costs["int8"].all()
    assert sorted(costs["params"]) == params
    page = (tmp_path / "s" / "report" / "index.html").read_text()
    assert "Best below each limit" in page
    assert "On the front (no verdict)" in page


def params_of(network):
    return sum(weights.numel() for weights in build_network(network, len(CLASSES), bare=True).parameters())
