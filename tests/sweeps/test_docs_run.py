"""The code blocks of README.md and docs/ run, page by page, in a folder in which all that they name exists and is tiny.

A page is read from top to bottom: its shell commands, Python and modules (`# my_loss.py` in the first line) share one
copy of that folder. A block that needs a cluster, a hub or hours stands behind `<!-- not run: why -->`; its commands,
options and imports are checked in test_docs.py all the same. Three things differ from a terminal: sweeps run without
Ray, a command that shows something until Ctrl-C ends at once, and nothing is installed.
"""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from called_command import called
from doc_pages import BLOCKS, Block
from PIL import Image
from safetensors.torch import save_file
from sweep_command import LIBRARY_NETWORK, SMALL, streets

from kdtrain.models import Network, build_network
from sweeps import Sweep
from sweeps.outcome.tabulate import write_tables
from sweeps.show.server import Server
from sweeps.spec.strict_yaml import dump_yaml

pytestmark = pytest.mark.slow

RUN = [block for block in BLOCKS if block.language in ("bash", "python") and not block.not_run]
CLASSES = 11
SPEC = {
    "name": "camvid",
    "data": {"name": "camvid"},
    "student": {**LIBRARY_NETWORK, "options": SMALL},
    "teacher": {"fit": {"network": LIBRARY_NETWORK, "epochs": 1, "evaluate_every": 1}},
    "train": {"epochs": 1, "batch_size": 4},
    "units": "weight",
    "space": {"optimizer.lr": {"low": 0.001, "high": 0.01, "log": True}},
    "studies": ["none", "cskd"],
    "budget": {"trials": 1},
    "sampler": {"name": "random"},
    "confirm": {"top": 1, "seeds": 2, "final_seeds": 1},
    "resources": {"cpu": 1},
}


def put_images(folder: Path, names: list[str], seed: int) -> None:
    """Images of noise."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(folder / f"{name}.png")


def put_labels(folder: Path, names: list[str], classes: int) -> None:
    """Label maps of stripes, in which every class has pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for shift, name in enumerate(names):
        stripes = (np.arange(64) // 4 + shift) % classes
        Image.fromarray(np.tile(stripes.astype(np.uint8), (48, 1))).save(folder / f"{name}.png")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, fake: ModuleType) -> Path:
    """The folder: `runs/camvid` is a real sweep, those that a page compares with each other are made up."""
    folder = tmp_path_factory.mktemp("pages")
    for place, role in enumerate(("train", "val", "test")):
        names = [f"{place}_{number}" for number in range(8)]
        put_images(folder / "data/camvid" / role, names, place)
        put_labels(folder / "data/camvid" / f"{role}annot", names, CLASSES)
    names = [f"a{number}" for number in range(10)]
    put_images(folder / "my/images/images", names, 3)
    put_labels(folder / "my/images/labels", names, 3)
    put_images(folder / "photos", names[:2], 4)
    (folder / "weights").mkdir()
    specs = folder / "sweeps/specs"
    specs.mkdir(parents=True)
    (specs / "camvid.yaml").write_text(dump_yaml(SPEC))
    (specs / "demo.yaml").write_text(dump_yaml({**SPEC, "name": "demo", "data": streets(4, 2)}))
    save_file(build_network(Network(**LIBRARY_NETWORK), CLASSES).net.state_dict(), folder / "deeplab.safetensors")
    (folder / "teacher.yaml").write_text(dump_yaml({"network": LIBRARY_NETWORK, "data": SPEC["data"]}))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setenv("KDSWEEP_CACHE", str(folder / "cache"))
        Sweep.from_yaml("sweeps/specs/camvid.yaml", "runs/camvid").run(inline=True)
    for name, seed in (("a", 1), ("b", 2), ("c", 3), ("voc", 4)):
        fake.run(fake.make_spec(name=name, seed=seed), folder / "runs" / name)
        write_tables(folder / "runs" / name)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, a copy of that folder."""

    def press_ctrl_c(server: Server) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", press_ctrl_c)
    monkeypatch.setattr("sweeps.cli.init._weights_are_there", lambda: False)
    copy = shutil.copytree(made, tmp_path / "pages")
    monkeypatch.chdir(copy)
    monkeypatch.syspath_prepend(copy)
    monkeypatch.setenv("KDSWEEP_CACHE", str(copy / "cache"))
    return copy


def prepare(page: str, folder: Path) -> None:
    """What a page supposes that its reader has beside the folder of all pages."""
    if page == "extending.md":
        spec = {**SPEC, "name": "mine", "data": streets(4, 2), "studies": ["none", "my_loss:COSINE_KD"]}
        (folder / "mine.yaml").write_text(dump_yaml(spec))
        module = next(block for block in RUN if block.page.name == page and block.module)
        (folder / str(module.module)).write_text(module.text)
    if page == "ledger.md":
        segment = max(shutil.copytree(folder / "runs/a", folder / "D").glob("ledger/*.jsonl"))
        lines = segment.read_bytes().splitlines(keepends=True)
        segment.write_bytes(b"".join([*lines[:-3], b"damaged\n", *lines[-2:]]))


@pytest.mark.parametrize("page", sorted({block.page.name for block in RUN}))
def test_a_page_runs(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(page, folder)
    names: dict[str, object] = {}
    for block in (block for block in RUN if block.page.name == page):
        if block.language == "python" and block.module is None:
            exec(compile(block.text, str(block), "exec"), names)
        for words in (shlex.split(command, comments=True) for command in block.commands):
            if words:
                run_command(words, block, monkeypatch, capsys)


def run_command(
    words: list[str], block: Block, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command of a shell."""
    match words:
        case ["export", *settings]:
            for setting in settings:
                monkeypatch.setenv(*setting.split("=", 1))
        case ["kdsweep", *rest]:
            code, out, err = called(monkeypatch, capsys, *rest, *(["--inline"] if rest[0] == "run" else []))
            assert code == 0, f"{block}: {shlex.join(words)}\n{out}{err}"
            if words[1] == "repair":
                assert "records are left" in out
        case ["python", *rest, ">", file]:
            output = subprocess.run([sys.executable, *rest], capture_output=True, text=True, check=True).stdout
            Path(file).write_text(output)
        case _:
            assert words[:2] == ["pip", "install"], f"{block}: {shlex.join(words)} is not run by this test"
