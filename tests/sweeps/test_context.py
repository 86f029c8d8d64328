import json
import shutil
import socket
import subprocess
from types import SimpleNamespace

import pytest
import torch

from analysis.tables.files import arrow_table
from analysis.tables.schemas import SCHEMAS
from kdtrain.config import Machine
from sweeps.ledger import environment as context
from sweeps.ledger.environment import describe_environment

CPU = Machine(device="cpu", threads=1)


def test_an_environment_is_a_row_of_its_table_and_the_node():
    found = describe_environment(CPU)
    assert found.pop("node") == socket.gethostname()
    assert set(found) == set(SCHEMAS["environments"].names)
    assert arrow_table("environments", [found]).num_rows == 1
    assert json.dumps(found)  # it goes to the ledger


def test_on_a_cpu_what_only_a_gpu_has_is_missing():
    found = describe_environment(CPU)
    assert found["device_name"] == found["cpu_name"] != ""
    assert found["cpu_count"] >= 1
    assert (found["device"], found["amp"]) == ("cpu", "off")
    for name in ("gpu_count", "gpu_memory_bytes", "gpu_driver", "cuda", "cudnn", "tf32", "cudnn_deterministic"):
        assert found[name] is None


def test_the_node_is_not_part_of_the_id(monkeypatch):
    here = describe_environment(CPU)
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    there = describe_environment(CPU)
    assert there["node"] == "elsewhere"
    assert there["environment_id"] == here["environment_id"]


@pytest.mark.parametrize("change", [{"threads": 2}, {"amp": "bfloat16"}, {"processes": 2}])
def test_what_changes_a_result_or_a_time_changes_the_id(change):
    other = describe_environment(CPU.model_copy(update=change))
    assert other["environment_id"] != describe_environment(CPU)["environment_id"]


def test_flags_of_determinism_are_those_of_the_process():
    assert describe_environment(CPU)["deterministic_algorithms"] is False
    torch.use_deterministic_algorithms(True)
    try:
        assert describe_environment(CPU)["deterministic_algorithms"] is True
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_gpu_that_is_not_here_is_described_as_far_as_it_goes():
    """The driver of a cluster may have none itself."""
    if torch.cuda.is_available():
        pytest.skip("there is one")
    found = describe_environment(Machine(device="cuda:1"))
    assert (found["device"], found["amp"], found["gpu_memory_bytes"]) == ("cuda:1", None, None)


def test_a_gpu_is_described_by_what_it_says_of_itself(monkeypatch):
    gpu = SimpleNamespace(name="Big GPU", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(context, "_gpu_driver", lambda: "570.86.15")
    monkeypatch.setattr(context, "_cudnn", lambda: "92600")
    context._software.cache_clear()
    try:
        found = describe_environment(Machine())
    finally:
        context._software.cache_clear()
    assert (found["device"], found["device_name"], found["gpu_memory_bytes"]) == ("cuda", "Big GPU", 80 * 2**30)
    assert (found["gpu_count"], found["gpu_driver"], found["cudnn"]) == (2, "570.86.15", "92600")
    assert (found["amp"], found["tf32"], found["cudnn_benchmark"]) == ("float16", "convolution", False)


def test_what_takes_long_is_found_once_in_a_process(monkeypatch):
    before = describe_environment(CPU)
    for slow in ("_code_digest", "_git", "_gpu_driver", "_cudnn", "package_version"):
        monkeypatch.setattr(context, slow, None)
    monkeypatch.setattr(subprocess, "run", None)
    assert describe_environment(CPU) == before


def test_the_code_has_a_digest_without_git_and_every_source_counts(tmp_path):
    def digest():
        return context._code_digest(tmp_path / "package")

    package = tmp_path / "package"
    (package / "models").mkdir(parents=True)
    (package / "one.py").write_text("x = 1")
    (package / "models" / "two.py").write_text("y = 2")
    before = digest()
    (package / "notes.txt").write_text("not code")
    assert digest() == before
    (package / "models" / "two.py").write_text("y = 3")
    changed = digest()
    (package / "models" / "two.py").rename(package / "models" / "three.py")
    assert len({before, changed, digest()}) == 3
    copy = tmp_path / "elsewhere"
    shutil.copytree(package, copy)
    assert context._code_digest(copy) == digest()


@pytest.mark.parametrize(
    ("told", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n", "550.54.15"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n", "570.86.15"),
    ],
)
def test_the_driver_is_read_from_its_own_file(monkeypatch, told, version):
    monkeypatch.setattr("pathlib.Path.read_text", lambda path: told)
    assert context._gpu_driver() == version


def test_no_driver_is_none(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("pathlib.Path.read_text", lambda path: "")
    assert context._gpu_driver() is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_everything_is_known():
    found = describe_environment(Machine(device="cuda"))
    missing = {name for name, value in found.items() if value is None} - {"git_commit", "git_dirty"}
    assert missing == set()
    assert found["gpu_memory_bytes"] > 2**30
