"""The commands `kdsweep export onnx`, `torch` and `executorch`: a file computes what torch does, or is refused."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from called_command import called
from PIL import Image

from kdtrain.data import open_role, parse_data
from kdtrain.data.streets import CLASSES as STREETS
from kdtrain.deploy.agreement import compare
from kdtrain.deploy.deployed import Deployed, Inside, exporting, ready
from kdtrain.deploy.label_maps import resized
from kdtrain.deploy.onnx_file import run_onnx
from kdtrain.deploy.torch_file import run_torch
from kdtrain.errors import InputError
from kdtrain.loop.evaluate import evaluate, load_batch, predict
from kdtrain.models import Network, build_network
from kdtrain.teacher import save_model

NETWORK = Network(
    arch="FPN",
    encoder="tu-mobilenetv3_small_050",
    options={"decoder_pyramid_channels": 16, "decoder_segmentation_channels": 32},
)
CLASSES = ("road", "car", "sky", "tree")


def network():
    return build_network(NETWORK, len(CLASSES), seed=3).eval()


@pytest.fixture
def world(tmp_path, monkeypatch, capsys):
    """A folder with a student and images in it; a function that runs the command there."""
    monkeypatch.chdir(tmp_path)
    save_model(
        Path("trained/student"),
        network().net,
        {"network": NETWORK, "classes": CLASSES, "trained_on": "streets", "miou": 0.5, "role": "select"},
    )
    Path("photos").mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (50, 70, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((210, 150)).save(f"photos/{i}.png")
    return lambda *words, kind="onnx": called(monkeypatch, capsys, "export", kind, "trained", *words)


@pytest.mark.slow
@pytest.mark.newer_torch(2, 6)
def test_the_file_gives_the_classes_of_evaluation_for_any_batch_and_its_card_says_what_it_takes(world):
    code, said, errors = world("--size", 60, 90, "--images", "photos", "--out", "s.onnx")
    assert (code, errors) == (0, "")
    assert "100.000 % of the pixels of 2 given images have torch's class" in said
    session = onnxruntime.InferenceSession("s.onnx", providers=["CPUExecutionProvider"])
    batch = torch.cat([resized(Path(f"photos/{i}.png"), (60, 90)) for i in (0, 1, 0)])
    (classes,) = session.run(None, {"images": batch.numpy()})
    with torch.inference_mode():
        wanted = predict(network().logits, batch, 1.0)  # 60 x 90 is padded to a multiple of the stride and cut back
    assert classes.shape == (3, 60, 90)
    assert (classes == wanted.numpy()).mean() > 0.999
    assert len(np.unique(classes)) > 1
    card = json.loads(Path("s.onnx.json").read_text())
    assert card["classes"] == list(CLASSES)
    assert card["input"]["shape"] == ["batch", 3, 60, 90]
    assert card["miou"] == 0.5
    assert card["compared_with_torch"]["images"] == 2
    assert world("--size", 60, 90, "--out", "s.onnx")[0] == 2  # it exists


@pytest.mark.slow
@pytest.mark.newer_torch(2, 6)
def test_int8_is_calibrated_on_images_and_measured_beside_floats(world):
    data = {"name": "streets", "size": [32, 64], "counts": {"train": 1, "select": 3, "test": 1}}
    network_of_ten = build_network(NETWORK, 10, seed=3).eval()
    facts = {"network": NETWORK, "classes": STREETS, "trained_on": "streets", "miou": 0.5, "role": "select"}
    save_model(Path("trained/student"), network_of_ten.net, facts)
    Path("data.yaml").write_text(json.dumps({"data": data}))
    options = ("--size", 32, 64, "--images", "photos", "--spec", "data.yaml", "--out", "s.onnx")
    code, said, errors = world(*options, "--int8")
    assert (code, errors) == (0, "")
    card = json.loads(Path("s.onnx.json").read_text())
    assert card["int8"]["calibrated_on"] == 2
    images = open_role(parse_data(data), "select", None, Path("cache"))
    floats = evaluate(network_of_ten.logits, images, "select", 1, 1.0, torch.device("cpu")).miou
    assert card["measured"]["miou"] == pytest.approx(floats, abs=1e-3)
    model = onnx.load("s.onnx")
    kinds = {initializer.data_type for initializer in model.graph.initializer if np.prod(initializer.dims) > 1000}
    assert kinds == {onnx.TensorProto.INT8}, "the weights of convolutions are integers"
    session = onnxruntime.InferenceSession("s.onnx", providers=["CPUExecutionProvider"])
    ours = np.stack(
        [session.run(None, {"images": load_batch(images, [i], torch.device("cpu"))[0].numpy()})[0][0] for i in range(3)]
    )
    labels = np.stack([images.get(i)[1] for i in range(3)])
    assert card["int8"]["miou"] == pytest.approx(miou_of(ours, labels), abs=1e-6)
    assert "points less" in said


def miou_of(predicted, labels):
    """The mean IoU over classes that are there in either, by its definition."""
    known = labels != 255
    ious = []
    for each in range(10):
        both = ((predicted == each) & (labels == each) & known).sum()
        either = (((predicted == each) | (labels == each)) & known).sum()
        if either:
            ious.append(both / either)
    return np.mean(ious)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--int8",), "--int8: needs --images"),
        (("--int8", "--images", "photos", "--no-normalize"), "--int8: needs --images"),
        (("--spec", "data.yaml"), "its images are 32 x 64, so a file of --size 48 64 cannot be measured"),
        (("--spec", "none.yaml"), "none.yaml"),
    ],
)
def test_what_int8_needs_is_said(world, words, error):
    data = {"name": "streets", "size": [32, 64], "counts": {"train": 1, "select": 1, "test": 1}}
    Path("data.yaml").write_text(json.dumps({"data": data}))
    code, _, said = world("--size", 48, 64, *words)
    assert code == 2
    assert error in said


@pytest.mark.slow
def test_a_program_of_torch_gives_the_classes_of_evaluation_for_any_batch(world):
    code, said, errors = world("--size", 60, 90, "--images", "photos", "--out", "s.pt2", kind="torch")
    assert (code, errors) == (0, "")
    assert "100.000 % of the pixels of 2 given images have torch's class" in said
    program = torch.export.load("s.pt2").module()
    batch = torch.cat([resized(Path(f"photos/{i}.png"), (60, 90)) for i in (0, 1, 0)])
    with torch.inference_mode():
        assert torch.equal(program(batch), predict(network().logits, batch, 1.0))
    card = json.loads(Path("s.pt2.json").read_text())
    assert (card["classes"], card["input"]["shape"]) == (list(CLASSES), ["batch", 3, 60, 90])
    held = {"student": ""}
    torch.export.load("s.pt2", extra_files=held)
    assert held["student"] == card["student"]


@pytest.mark.slow
@pytest.mark.newer_torch(2, 6)
@pytest.mark.parametrize(("kind", "file"), [("torch", "s.pt2"), ("onnx", "s.onnx")])
def test_a_file_of_any_size_resizes_images_by_the_scale_of_the_student(world, kind, file):
    scaled = NETWORK.model_copy(update={"scale": 0.75})
    net = build_network(scaled, len(CLASSES), seed=3).eval()
    save_model(Path("trained/student"), net.net, {"network": scaled, "classes": CLASSES, "trained_on": "streets"})
    assert world("--size", 128, 256, "--dynamic", "--out", file, kind=kind)[0] == 0
    card = json.loads(Path(f"{file}.json").read_text())
    assert card["input"]["multiple_of"] == 128
    images = torch.rand(1, 3, 256, 384)
    run = {"torch": run_torch, "onnx": run_onnx}[kind](Path(file))
    with torch.inference_mode():
        assert (run(images) == predict(net.logits, images, 1.0)).float().mean() > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("output", ["classes", "logits"])
def test_a_program_of_executorch_gives_what_the_student_does_image_by_image(world, output):
    pytest.importorskip("executorch", reason="the runtime of the exported file is executorch")
    words = ("--size", 60, 90, "--images", "photos", "--output", output, "--out", "s.pte")
    code, said, errors = world(*words, kind="executorch")
    assert code == 0, errors
    assert "100.000 % of the pixels of 2 given images have torch's class" in said
    from executorch.runtime import Runtime

    program = Runtime.get().load_program("s.pte")
    image = resized(Path("photos/0.png"), (60, 90))
    (found,) = program.load_method("forward").execute([image])
    with torch.inference_mode():
        wanted = predict(network().logits, image, 1.0)
    assert (found if output == "classes" else found.argmax(1)).equal(wanted)
    card = json.loads(Path("s.pte.json").read_text())
    assert (card["input"]["shape"], card["classes"]) == ([1, 3, 60, 90], list(CLASSES))
    assert card["backend"] in ("xnnpack", "portable")
    assert program.load_method("student").execute([]) == [card["student"]]


def test_an_older_torch_than_an_export_needs_is_named(world, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.4.1+cu121")
    for kind, use, words in (("onnx", "an export to ONNX", ()), ("torch", "--dynamic", ("--dynamic",))):
        code, _, errors = world("--size", 32, 32, *words, kind=kind)
        assert code == 2
        assert f"{use} needs torch 2.6 or newer, this is 2.4.1+cu121: pip install 'torch>=2.6'" in errors


def test_the_package_that_export_executorch_needs_is_named(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "executorch", None)
    code, _, errors = world("--size", 60, 90, kind="executorch")
    assert code == 2
    assert "export executorch needs the package executorch" in errors
    assert "pip install 'kdsweep[executorch]'" in errors


@pytest.mark.slow
@pytest.mark.newer_torch(2, 6)
def test_a_dynamic_program_of_torch_takes_other_sizes(world):
    words = ("--size", 64, 96, "--dynamic", "--output", "raw", "--no-normalize", "--out", "d.pt2")
    assert world(*words, kind="torch")[0] == 0
    images = torch.rand(1, 3, 128, 160)
    net = network()
    with torch.inference_mode():
        logits = torch.export.load("d.pt2").module()((images - net.mean) / net.std)
        torch.testing.assert_close(logits, net.logits(images), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.newer_torch(2, 6)
def test_a_dynamic_file_takes_other_sizes(world):
    assert world("--size", 64, 96, "--dynamic", "--output", "logits", "--out", "d.onnx")[0] == 0
    session = onnxruntime.InferenceSession("d.onnx", providers=["CPUExecutionProvider"])
    images = torch.rand(3, 3, 128, 160)
    (logits,) = session.run(None, {"images": images.numpy()})
    module = Deployed(network(), Inside(height=64, width=96, dynamic=True, output="logits"))
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(logits), module(images), rtol=0, atol=1e-4)
    assert json.loads(Path("d.onnx.json").read_text())["input"]["multiple_of"] == 32


@pytest.mark.parametrize(("kind", "out"), [("onnx", "s.onnx"), ("torch", "s.pt2")])
def test_a_card_that_is_there_is_not_replaced(world, kind, out):
    Path(f"{out}.json").write_text("{}")
    code, _, said = world("--size", 60, 90, "--out", out, kind=kind)
    assert code == 2
    assert f"--out: {out}.json exists; give another file, or --force" in said


def test_a_full_disk_is_not_a_graph_that_cannot_be_exported():
    with pytest.raises(OSError, match="no room"), exporting("torch", Inside(height=64, width=96)):
        raise OSError("no room")
    with pytest.raises(InputError, match="exported to torch: why"), exporting("torch", Inside(height=64, width=96)):
        raise ValueError("why")


def test_what_is_left_out_inside_is_left_to_the_caller():
    net = network()
    images = torch.rand(2, 3, 64, 96)
    inside = Inside(height=64, width=96, normalize=False, output="raw")
    module, _ = ready(net, inside)
    with torch.inference_mode():
        torch.testing.assert_close(module((images - net.mean) / net.std), net.logits(images))


@pytest.mark.parametrize("output", ["classes", "logits"])
def test_a_file_that_differs_from_torch_is_refused(output):
    inside = Inside(height=32, width=32, output=output)
    module, example = ready(network(), inside)

    shift = 0.0

    def run(images):
        logits = module.logits(images).clone()
        logits[:, 0] += shift
        return logits.argmax(1) if output == "classes" else logits

    assert compare(run, module, [example]).classes == 1
    shift = 0.5
    with pytest.raises(InputError, match="differs from torch"):
        compare(run, module, [example])


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--size", 60, 90, "--dynamic"), "must be multiples that this network takes without padding, such as 64 96"),
        (("--size", 0, 90), "--height"),
        (("--size", 60, 90, "--output", "masks"), "--output"),
        (("--size", 60, 90, "--out", "s.pt"), "must be a file that ends with .onnx"),
        (("--size", 60, 90, "--images", "nowhere"), "there is no such image"),
    ],
)
def test_wrong_input_is_one_sentence(world, words, part):
    code, _, errors = world(*words)
    assert code == 2
    assert part in errors
    assert len(errors.splitlines()) == 1
    assert not list(Path().glob("*.onnx"))


@pytest.mark.parametrize(
    ("kind", "exporter"),
    [pytest.param("onnx", torch.onnx, marks=pytest.mark.newer_torch(2, 6)), ("torch", torch.export)],
)
def test_a_graph_that_cannot_be_exported_is_one_sentence(world, monkeypatch, kind, exporter):
    def fails(*_, **__):
        raise RuntimeError("data-dependent expression\nwith a long trace")

    monkeypatch.setattr(exporter, "export", fails)
    code, _, errors = world("--size", 32, 32, kind=kind)
    assert code == 2
    assert f"cannot be exported to {'ONNX' if kind == 'onnx' else 'torch'}: data-dependent expression" in errors
    assert len(errors.splitlines()) == 1
