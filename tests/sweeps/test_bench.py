"""The command `kdsweep bench`, and the script that measures on other devices."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from called_command import called
from onnx import TensorProto, helper

from kdtrain.deploy import device_report
from kdtrain.deploy.measure import measure
from kdtrain.deploy.speed import Setting, Speed
from kdtrain.errors import InputError
from kdtrain.models import Network, build_network
from kdtrain.teacher import save_model

NETWORK = Network(arch="FPN", encoder="tu-mobilenetv3_small_050", options={"decoder_pyramid_channels": 16})
MODULE = """
from pathlib import Path

from torch import nn

Path("was_run").touch()


def build(num_classes):
    Path("was_run").touch()
    return nn.Conv2d(3, num_classes, 1)
"""
SIDES = (["batch", 3, 8, 12], ["batch", 3, "height", "width"])


def onnx_file(path, sides):
    """A graph that takes images and gives their mean over colors."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, sides)
    classes = helper.make_tensor_value_info("classes", TensorProto.FLOAT, None)
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    node = helper.make_node("ReduceMean", ["images", "axes"], ["classes"])
    graph = helper.make_graph([node], "mean", [images], [classes], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"student": "abc123"})
    onnx.save(model, path)
    return path


def on_device(*words):
    """The script as it runs on a device: a file of its own that can import nothing of this project."""
    copy = Path("copied.py")
    copy.write_text(Path(device_report.__file__).read_text())
    return subprocess.run([sys.executable, "-I", copy, *map(str, words)], capture_output=True, text=True, check=False)


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return lambda *words: called(monkeypatch, capsys, "bench", *words)


def test_a_report_of_a_device_goes_into_the_table_with_its_device(bench):
    file = onnx_file("student.onnx", SIDES[0])
    ended = on_device(file, "--threads", 1, "--batch", 2, "--seconds", 0.05, "--device", "a board")
    assert (ended.returncode, ended.stderr) == (0, "")
    Path("report.json").write_text(ended.stdout)
    code, said, errors = bench("--device-report", "report.json", "--out", "speeds.parquet")
    assert (code, errors) == (0, "")
    assert "on a board" in said
    (row,) = pd.read_parquet("speeds.parquet").to_dict("records")
    assert (row["student"], row["device"], row["batch"], row["height"], row["width"]) == ("abc123", "a board", 2, 8, 12)
    assert row["images_per_s"] == pytest.approx(2000 / row["median_ms"])
    assert row["low_ms"] <= row["median_ms"] <= row["high_ms"]
    assert row["peak_mib"] > 10


def test_a_quick_student_is_called_often():
    figures = device_report.figures([1e-5] * 100_000, batch=1)
    names = {"student": "s", "runtime": "onnxruntime", "version": "1", "device": "d", "threads": 1, "batch": 1}
    assert Speed(**names, height=8, width=8, peak_mib=None, **figures).calls == 100_000


def test_a_file_of_any_size_needs_one(bench):
    file = onnx_file("student.onnx", SIDES[1])
    ended = on_device(file, "--seconds", 0.05)
    assert ended.returncode == 2
    assert "give one as --size H W" in ended.stderr
    assert json.loads(on_device(file, "--seconds", 0.05, "--size", 16, 20).stdout)["width"] == 20


def test_the_script_is_written_as_it_is(bench):
    assert bench("--script", "measure.py")[0] == 0
    assert Path("measure.py").read_text() == Path(device_report.__file__).read_text()


def test_figures_are_those_of_the_calls():
    taken = sorted(np.linspace(0.001, 0.011, 101))
    figures = device_report.figures(taken, batch=4)
    assert figures == pytest.approx(
        {"median_ms": 6, "low_ms": 2, "high_ms": 10, "calls": 101, "images_per_s": 4 / 0.006}
    )


def test_calls_of_the_warm_up_do_not_count():
    taken = []
    times = device_report.timed(lambda: taken.append(1), 0.01)
    assert len(times) + 1 < len(taken)
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "give a STUDENT to measure, a --device-report to read, or a --script to write"),
        (("there",), "--size: give height and width"),
        (("there", "--size", 8, 8, "--runtime", "tflite"), "--runtime"),
        (("there", "--size", 8, 8, "--threads", 0), "--threads"),
        (("there", "--size", 8, 8, "--seconds", "nan"), "--seconds"),
        (("there", "--size", 8, 8), "there"),
        (("--device-report", "none.json"), "none.json"),
        (("--device-report", "text.json"), "must be the JSON that device_report.py prints"),
        (("--device-report", "list.json"), "list.json"),
        (("--device-report", "part.json"), "part.json: median_ms"),
    ],
)
def test_wrong_input_is_one_sentence(bench, words, error):
    Path("text.json").write_text("Traceback")
    Path("list.json").write_text("[1]")
    speed = {"student": "a", "runtime": "onnxruntime", "version": "1", "device": "b", "threads": 1, "batch": 1}
    Path("part.json").write_text(json.dumps({**speed, "height": 1, "width": 1, "calls": 3, "median_ms": -1}))
    code, _, said = bench(*words)
    assert code == 2
    assert error in said
    assert "Traceback" not in said.replace("text.json", "")


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_code_that_is_not_trusted_is_not_run(bench, monkeypatch, runtime):
    Path("net_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(".")
    network = Network(arch="net_of_mine:build")
    facts = {"network": network, "classes": ("a", "b"), "trained_on": "streets"}
    save_model(Path("s"), build_network(network, 2).net, facts)
    Path("was_run").unlink()
    code, _, said = bench("s", "--size", 8, 8, "--runtime", runtime)
    assert code == 2
    assert "net_of_mine" in said
    assert "--trust" in said
    assert not Path("was_run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cuda:77", "nonsense"])
def test_a_device_that_is_not_there_is_one_sentence(tmp_path, device):
    facts = {"network": NETWORK, "classes": ("a", "b", "c"), "trained_on": "streets"}
    save_model(tmp_path / "s", build_network(NETWORK, 3, seed=1).net, facts)
    with pytest.raises(InputError, match=f"the student does not run in torch on {device}: "):
        measure(tmp_path / "s", Setting(height=32, width=64, device=device))


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torch", pytest.param("onnxruntime", marks=pytest.mark.newer_torch(2, 6))])
def test_a_student_is_measured_in_a_process_of_its_own(tmp_path, runtime):
    facts = {"network": NETWORK, "classes": ("a", "b", "c"), "trained_on": "streets", "miou": 0.5, "role": "select"}
    card = save_model(tmp_path / "s", build_network(NETWORK, 3, seed=1).net, facts)
    speed = measure(tmp_path / "s", Setting(runtime=runtime, height=32, width=64, batch=2, seconds=0.2))
    assert isinstance(speed, Speed)
    assert speed.student == card.digest
    assert (speed.runtime, speed.batch, speed.height, speed.width) == (runtime, 2, 32, 64)
