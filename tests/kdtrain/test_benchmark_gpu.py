"""`benchmarks/gpu.py` at toy size on a CPU."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import fused
import gpu
import pyarrow.parquet as pq
import pytest
import torch
from gpu_rows import counts, numerics, sharing, training
from gpu_rows.bench import Bench, Row

from kdtrain.methods import METHODS

SCRIPT = Path(gpu.__file__)
HIDE = """
import sys
from importlib.machinery import PathFinder
hidden = {"ray", "optuna", "segmentation_models_pytorch", "timm", "pandas", "pyarrow"}
find_spec = PathFinder.find_spec
PathFinder.find_spec = classmethod(
    lambda cls, name, *more: None if name.partition(".")[0] in hidden else find_spec(name, *more)
)
"""


@pytest.fixture
def bench(tmp_path):
    sizes = {"image": (32, 48), "batch": 4, "steps": 2, "epochs": 2, "window_s": 0.01, "threads": 1}
    return Bench(tmp_path, "cpu", "tiny", **sizes, methods=("kd",), section="one")


def figures(bench):
    return {(row.case, row.metric): row.value for row in bench.rows()}


def test_the_student_alone_and_every_method_live_and_replayed(bench):
    training.student(bench)
    alone = figures(bench)
    assert all(alone[method, "images/s"] > 0 for method in ("none", *bench.methods))
    training.methods(bench)
    found = figures(bench)
    for method in bench.methods:
        assert all(found[f"{method}, {way}", "images/s"] > 0 for way in ("live", "recording", "replayed"))
        assert found[f"{method}, live", "asked"] == bench.images * bench.epochs
        assert found[f"{method}, replayed", "asked"] == 0


def test_precisions_and_equality(bench):
    numerics.precision(bench)
    differences = [row.value for row in bench.rows() if "difference" in row.metric]
    assert len(differences) == 1 + sum(len(METHODS[method].terms) for method in bench.methods)
    assert 0 < max(differences) < 0.2
    before = torch.backends.cudnn.allow_tf32
    numerics.equality(bench)
    assert torch.backends.cudnn.allow_tf32 == before
    assert all(figures(bench)[method, "equal"] == 1 for method in ("none", *bench.methods))


@pytest.mark.slow
def test_the_switches_of_a_step(bench):
    numerics.switches(bench)
    assert figures(bench)["kd, neither", "images/s"] > 0


def test_operations_are_counted(bench):
    counts.synchronizations(bench)
    found = figures(bench)
    assert found["kd", "operations/step"] > found["none", "operations/step"] > 50


@pytest.mark.slow
def test_a_section_that_takes_too_long_or_fails_loses_nothing_of_the_others(tmp_path, capfd):
    options = ["--toy", "--device", "cpu", "--out", str(tmp_path)]
    gpu.main([*options, "--sections", "machine", "--methods", "nothing", "--limit", "0.1"])
    assert "stopped at its limit" in (tmp_path / "gpu.md").read_text()
    gpu.main([*options, "--sections", "student", "machine", "--methods", "nothing"])
    rows = pq.read_table(tmp_path / "gpu.parquet").to_pylist()
    assert {row["section"] for row in rows if row["case"] != "the section"} == {"student", "machine"}
    assert [bool(row["note"]) for row in rows if row["case"] == "the section"] == [True, False]
    assert "KeyError" in capfd.readouterr().err


@pytest.mark.parametrize(("method", "count"), [("none", 4), ("kd", 4), ("cskd", 4), ("cwd_feature", 1)])
def test_fused_students_have_the_losses_weights_and_statistics_of_students_apart(method, count, bench):
    """Up to the rounding of other kernels, over steps with momentum; CWD's large gradients let that grow quickly."""
    apart, together = fused.students(bench, 3, method), fused.students(bench, 3, method)
    steps = fused.FusedSteps(together)
    first = together[0].run.student.state_dict()
    first = {name: values.clone() for name, values in first.items()}
    for _ in range(count):
        for one, other in zip([each() for each in apart], steps(), strict=True):
            torch.testing.assert_close(other.raw, one.raw, rtol=1e-5, atol=1e-6)
    for one, other in zip(apart, together, strict=True):
        state = other.run.student.state_dict()
        torch.testing.assert_close(state, one.run.student.state_dict(), rtol=1e-5, atol=1e-6)
        assert int(state["net.decoder.2.num_batches_tracked"]) == count
    assert not torch.equal(first["net.decoder.2.running_mean"], together[0].run.student.net.decoder[2].running_mean)
    assert len({float(each.run.student.net.classifier.weight.sum().detach()) for each in together}) == 3


def test_fused_students_are_counted_together(bench, monkeypatch):
    def twice(bench, steps):
        assert len(steps()) == len(steps()) == 2
        return 10.0

    monkeypatch.setattr(fused, "images_per_second", twice)
    fused.section(replace(bench, students=(2,)))
    assert figures(bench)["2 fused", "images/s"] == 20


@pytest.mark.slow
def test_students_at_once_are_counted_together(bench):
    bench.write()
    bench.make_teacher()
    sharing.sharing(Bench(**{**bench.__dict__, "students": (2,)}))
    assert figures(bench)["2 in turns", "images/s"] > 0


def test_the_page_has_a_column_for_every_metric_and_the_notes():
    rows = [Row("a", "x", "s", 1.5), Row("a", "y", "images/s", None, "no | GPU"), Row("b", "z", "s", 2.0)]
    assert gpu.markdown(rows).splitlines()[:5] == [
        "## a",
        "",
        "| | s | images/s | |",
        "|---|---|---|---|",
        "| x | 1.5 |  |  |",
    ]
    assert "| y |  | - | no / GPU |" in gpu.markdown(rows)


@pytest.mark.slow
def test_the_whole_script_runs_without_the_packages_of_sweeps(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    root = SCRIPT.parents[1]
    path = os.pathsep.join([str(tmp_path), str(root)])
    command = [sys.executable, SCRIPT, "--toy", "--device", "cpu", "--methods", "kd", "--limit", "2400"]
    subprocess.run(
        [*command, "--out", tmp_path / "out"], check=True, env=os.environ | {"PYTHONPATH": path}, timeout=2400
    )
    page = (tmp_path / "out" / "gpu.md").read_text()
    assert all(f"## {name}" in page for name in gpu.SECTIONS)
    assert "failed" not in page
    assert "ray, optuna, pyarrow, pandas not installed" in page
    assert not (tmp_path / "out" / "gpu.parquet").exists()
