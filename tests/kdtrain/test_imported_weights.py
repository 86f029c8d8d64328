"""Weights that were trained elsewhere: which files are taken, and which are refused and why."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kdtrain import InputError
from kdtrain.models import Network, build_network
from kdtrain.models.torch_files import find_weights, read_torch, without_wrappers
from kdtrain.models.weights import load_into, read_safetensors
from kdtrain.teacher import WEIGHTS, import_model, load_model

NETWORK = Network(arch="Unet", encoder="resnet18", options={"decoder_channels": [16, 8, 8, 4, 4]})
CLASSES = ("a", "b", "c")


def with_encoder(encoder):
    return NETWORK.model_copy(update={"encoder": encoder})


@pytest.fixture(scope="module")
def tensors():
    return {name: value.contiguous() for name, value in build_network(NETWORK, 3, seed=1).net.state_dict().items()}


def imported(tmp_path, file, network=NETWORK, classes=CLASSES):
    said = []
    import_model(file, network, classes, "elsewhere", tmp_path / "teacher", said.append)
    return load_file(tmp_path / "teacher" / WEIGHTS), " ".join(said)


def alike(ours, theirs):
    return set(ours) == set(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


# Weights of another network


@pytest.mark.parametrize(
    ("of", "given_as", "message"),
    [
        (
            "resnet101",
            "resnet50",
            r"\d+ tensors of the file are not of the network .* of the encoder resnet101$",
        ),
        ("resnet50", "resnet101", r"\d+ of \d+ tensors are missing.*they are the weights of the encoder resnet50$"),
        ("resnet18", "resnet34", r"tensors are missing.*they are the weights of the encoder resnet18$"),
        ("efficientnet-b1", "efficientnet-b0", r"they are the weights of the encoder efficientnet-b1$"),
    ],
)
def test_weights_of_another_encoder_are_refused_and_it_is_named(tmp_path, of, given_as, message):
    save_file(dict(build_network(with_encoder(of), 3).net.state_dict()), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=message):
        imported(tmp_path, tmp_path / "w.safetensors", with_encoder(given_as))
    assert not (tmp_path / "teacher").exists()


def test_encoder_weights_of_a_deeper_network_are_refused(tmp_path):
    deep = build_network(with_encoder("resnet34"), 3).net.encoder.state_dict()
    save_file(dict(deep), tmp_path / "resnet18.safetensors")
    library = NETWORK.model_copy(update={"weights": "library"})
    with pytest.raises(InputError, match=r"not of the network \(first .*they are the weights of the encoder resnet34$"):
        build_network(library, 3, weights_folder=tmp_path)
    with pytest.raises(InputError, match="are not of the network"):
        build_network(NETWORK.model_copy(update={"weights": str(tmp_path / "resnet18.safetensors")}), 3)


def test_a_published_encoder_may_have_a_classifier(tmp_path, tensors):
    encoder = {name.removeprefix("encoder."): value for name, value in tensors.items() if name.startswith("encoder.")}
    save_file({**encoder, "fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}, tmp_path / "w.safetensors")
    built = build_network(NETWORK.model_copy(update={"weights": str(tmp_path / "w.safetensors")}), 3)
    assert torch.equal(built.net.encoder.conv1.weight, tensors["encoder.conv1.weight"])


def test_parts_that_the_network_does_not_have_are_refused(tmp_path, tensors):
    save_file({**tensors, "aux.weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"1 tensors of the file are not of the network \(first aux\.weight\)"):
        imported(tmp_path, tmp_path / "w.safetensors")


def test_another_number_of_classes_is_said(tmp_path, tensors):
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"its classifier has 3 classes, and the data have 2$"):
        imported(tmp_path, tmp_path / "w.safetensors", classes=("a", "b"))


# Numbers that are not finite


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encoder.conv1.weight", torch.nan),
        ("encoder.bn1.running_var", torch.inf),
        ("segmentation_head.0.bias", -torch.inf),
    ],
)
def test_tensors_that_are_not_finite_are_named(tmp_path, tensors, name, value):
    broken = {**tensors, name: tensors[name].clone()}
    broken[name].view(-1)[-1] = value
    save_file(broken, tmp_path / "w.safetensors")
    torch.save(broken, tmp_path / "w.pth")
    kind = "NaN" if value != value else "infinity"
    for file in ("w.safetensors", "w.pth"):
        with pytest.raises(InputError, match=rf"{file} holds {kind} in {name}; all weights must be finite"):
            imported(tmp_path, tmp_path / file)
    with pytest.raises(InputError, match=rf"holds {kind} in {name}"):  # of a student
        build_network(NETWORK.model_copy(update={"weights": str(tmp_path / "w.safetensors")}), 3)


def test_so_they_are_in_a_folder_of_encoders_and_in_a_teacher(tmp_path, tensors):
    encoder = {name.removeprefix("encoder."): value for name, value in tensors.items() if name.startswith("encoder.")}
    encoder["layer1.0.bn1.running_mean"] = torch.full_like(encoder["layer1.0.bn1.running_mean"], torch.nan)
    save_file(encoder, tmp_path / "resnet18.safetensors")
    with pytest.raises(InputError, match=r"NaN in layer1\.0\.bn1\.running_mean"):
        build_network(NETWORK.model_copy(update={"weights": "library"}), 3, weights_folder=tmp_path)


def test_half_precision_overflows_are_named(tmp_path, tensors):
    halves = {n: v.half() if v.is_floating_point() else v for n, v in tensors.items()}
    halves["encoder.bn1.running_var"] = torch.full((64,), 1e6).half()
    save_file(halves, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"infinity in encoder\.bn1\.running_var"):
        imported(tmp_path, tmp_path / "w.safetensors")


# Files of torch.save


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda t: t, ""),
        (lambda t: {"state_dict": t, "epoch": 3, "best": torch.tensor(0.7)}, "under 'state_dict'"),
        (lambda t: {"model_state_dict": t, "optimizer_state_dict": {"state": {}}}, "under 'model_state_dict'"),
        (lambda t: {"model": t, "ema": {"decay": 0.9, "module": t}}, "under 'model' (not those under ema)"),
        (lambda t: {"ema": {"module": t, "updates": 7}}, "under 'ema' "),
        (lambda t: {"model": {"state_dict": t}, "mean": torch.zeros(3)}, "under 'state_dict'"),
    ],
)
def test_weights_are_found_in_what_surrounds_them(tmp_path, tensors, wrap, said):
    file = tmp_path / ("w.pth.tar" if said else "w.pt")
    torch.save(wrap(tensors), file)
    loaded, words = imported(tmp_path, file)
    assert alike(loaded, tensors)
    assert said.strip() in words


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "model.",
        "_orig_mod.",
        "net.",
        "_orig_mod.module.",
        "module._orig_mod.",
        "student.module.model.",
    ],
)
def test_prefixes_of_wrappers_are_removed_and_said(tmp_path, tensors, prefix):
    file = tmp_path / "w.safetensors"
    save_file({prefix + name: value for name, value in tensors.items()}, file)
    loaded, words = imported(tmp_path, file)
    assert alike(loaded, tensors)
    rest = prefix.replace("_orig_mod.", "")
    assert ("'_orig_mod.'" in words) == ("_orig_mod." in prefix)
    assert not rest or f"removed the prefix '{rest}'" in words


def test_a_compiled_part_of_a_network_has_its_name_back(tensors):
    inner = {name.replace("encoder.", "encoder._orig_mod."): value for name, value in tensors.items()}
    assert alike(without_wrappers(inner, tensors).tensors, tensors)


def test_a_network_whose_own_names_look_like_wrappers_keeps_them():
    names = {"model.weight": torch.zeros(1), "model.bias": torch.zeros(1)}
    assert alike(without_wrappers(names, names).tensors, names)
    assert alike(without_wrappers({f"module.{name}": value for name, value in names.items()}, names).tensors, names)


def test_what_is_beside_the_prefix_is_not_dropped(tmp_path, tensors):
    save_file(
        {**{f"model.{n}": v for n, v in tensors.items()}, "loss.weight": torch.ones(2)}, tmp_path / "w.safetensors"
    )
    with pytest.raises(InputError, match=r"not of the network \(first loss\.weight\)"):
        imported(tmp_path, tmp_path / "w.safetensors")


def test_half_precision_and_missing_counters_are_taken(tmp_path, tensors):
    half = {
        name: value.half() if value.is_floating_point() else value
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(half, tmp_path / "w.pth")
    loaded, words = imported(tmp_path, tmp_path / "w.pth")
    assert set(loaded) == set(tensors)
    assert torch.equal(loaded["encoder.conv1.weight"], tensors["encoder.conv1.weight"].half().float())
    assert "in half precision become float32" in words


def test_a_file_of_torch_save_may_have_another_name(tmp_path, tensors):
    torch.save(tensors, tmp_path / "w.safetensors")
    assert set(imported(tmp_path, tmp_path / "w.safetensors")[0]) == set(tensors)


def test_counters_in_half_precision_are_taken(tmp_path, tensors):
    torch.save({name: value.half() for name, value in tensors.items()}, tmp_path / "w.pth")
    loaded, _ = imported(tmp_path, tmp_path / "w.pth")
    assert loaded["encoder.bn1.num_batches_tracked"].dtype == torch.int64


def test_quantized_weights_are_refused(tmp_path, tensors):
    save_file(
        {**tensors, "encoder.conv1.weight": tensors["encoder.conv1.weight"].to(torch.int8)}, tmp_path / "w.safetensors"
    )
    with pytest.raises(InputError, match=r"encoder\.conv1\.weight holds int8 in the file and float32 in the network"):
        imported(tmp_path, tmp_path / "w.safetensors")


def converted(error, tmp_path):
    """Run the command that a refusal prints."""
    _, _, command = str(error).partition(": python -c ")
    shell = f"{sys.executable} -c {command}"
    subprocess.run(shell, shell=True, check=True, cwd=tmp_path, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize("wrap", ["module", "checkpoint", "script"])
def test_the_printed_command_converts_what_only_pickle_reads(tmp_path, wrap):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2))
    file = tmp_path / "it's my net.pt"
    if wrap == "script":
        torch.jit.script(net).save(str(file))
    else:
        torch.save(net if wrap == "module" else {"model": net, "path": Path("x")}, file)
    with pytest.raises(InputError, match="if you trust who made it, convert it and import") as refused:
        read_torch(file)
    converted(refused.value, tmp_path)
    assert alike(read_safetensors(file.with_suffix(".safetensors")), net.state_dict())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"epoch": 3, "optimizer": {"state": {}}},
            "a mapping from names to tensors, got the keys epoch, optimizer",
        ),
        ([1, 2], "got an object of list"),
        ({}, "got an empty mapping"),
    ],
)
def test_files_without_weights_are_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        find_weights(content, tmp_path / "w.pth")


@pytest.mark.parametrize("content", [b"", b"no tensors at all", b"PK\x03\x04 cut", b"hello"])
def test_files_that_do_not_read_are_refused(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"w\.pth (does not read as a file of torch\.save|holds more than tensors)"):
        read_torch(tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"there is no file .*v\.pth"):
        read_torch(tmp_path / "v.pth")


def test_a_teacher_folder_holds_exactly_its_network(tmp_path, tensors):
    save_file(tensors, tmp_path / "w.safetensors")
    imported(tmp_path, tmp_path / "w.safetensors")
    assert alike(load_model(tmp_path / "teacher")[1].net.state_dict(), tensors)
    with pytest.raises(InputError, match="are not of the network"):
        load_into(build_network(NETWORK, 3).net, {**tensors, "x": torch.ones(1)}, Path("w"), whole=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
            "does not read .*pointer of Git LFS: `git lfs pull`",
        ),
        (b"<!DOCTYPE html>\n<html>", "a text that begins with '<!DOCTYPE html>'.; make or fetch it again"),
        (b"Not Found", "a text that begins with 'Not Found'"),
        (b"hello", "a text that begins with 'hello'"),
    ],
)
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_what_a_failed_download_leaves_is_said(content, words, name, tmp_path):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InputError, match=words):
        imported(tmp_path, file)
