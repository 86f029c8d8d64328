"""The shipped ablations of published papers, planned on small trees in the official layouts of their data."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kdtrain.config import Machine
from kdtrain.errors import InputError
from sweeps import cli
from sweeps.check import check
from sweeps.designs.forecast import forecast
from sweeps.driver import config_check
from sweeps.plan import plan
from sweeps.spec.spec import load_spec

torch.set_num_threads(1)

PAPERS = sorted((Path(cli.__file__).parents[1] / "specs" / "papers").glob("*.yaml"))
SMALL = {"train.augment.crop": [32, 32], "teacher.fit.network.encoder": "resnet18"}
"""What nothing but the time of a plan depends on."""
each = pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)


def put(file, array):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Cityscapes and CamVid of a few gray images, and some without labels."""
    root = tmp_path_factory.mktemp("data")
    photo, labels = np.full((32, 32, 3), 90, dtype=np.uint8), np.arange(32 * 32).reshape(32, 32)
    for split, cities in (("train", ("aachen", "bremen", "ulm")), ("val", ("lindau",))):
        for name in (f"{city}/{city}_{i:06d}_000019" for city in cities for i in range(8)):
            put(root / f"cityscapes/leftImg8bit/{split}/{name}_leftImg8bit.png", photo)
            put(root / f"cityscapes/gtFine/{split}/{name}_gtFine_labelIds.png", (labels % 34).astype(np.uint8))
    for split, count in (("train", 16), ("val", 2), ("test", 2)):
        for i in range(count):
            put(root / f"camvid/{split}/0001TP_{i:06d}.png", photo)
            put(root / f"camvid/{split}annot/0001TP_{i:06d}.png", (labels % 12).astype(np.uint8))
    put(root / "camvid_unlabelled/frame.png", photo)
    return root


@pytest.fixture(scope="module")
def networks():
    """Every network is built once for all specs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_check, "_Networks", functools.cache(config_check._Networks))
        yield


@each
def test_a_shipped_ablation_is_complete(path):
    spec = load_spec(path)
    found = forecast(spec)
    assert spec.name == path.stem
    assert spec.purpose == "ablation"
    assert spec.baseline is not None
    assert not any(spec.space_of(study) for study in spec.studies)
    assert {cell.study for cell in spec.cells} == {study.name for study in spec.studies}
    designs = [cell.design or spec.design for cell in spec.cells]
    references = [cell.design or spec.design for cell in spec.cells if cell.role == "reference"]
    assert sorted(references) == sorted(set(designs))
    assert len({(design, cell.study) for design, cell in zip(designs, spec.cells, strict=True)}) == len(designs)
    assert all((cell.published is None) == (cell.source is None) for cell in spec.cells)
    assert f"{found.cells} cells x {found.seeds} seeds" in path.read_text()
    configs = [spec.config_for(study).config_id for study in spec.studies]
    assert len(set(configs)) == len(configs)


@each
def test_a_shipped_ablation_can_be_run(path, data, networks):
    checked = check(load_spec(path, SMALL), Machine(data_root=data))
    assert len(checked.classes) in (11, 19)


def test_a_study_has_one_published_score():
    for path in PAPERS:
        told = {(cell.study, cell.published) for cell in load_spec(path).cells}
        assert len(told) == len({study for study, _ in told}), path.stem


def test_a_plan_tells_what_an_ablation_can_see_and_finds_images_without_labels(data, networks):
    (path,) = (path for path in PAPERS if path.stem == "unlabelled")
    made = plan(load_spec(path, SMALL), Machine(data_root=data))
    assert made.checked.images["unlabelled:camvid_unlabelled"] == 1
    assert [warning.partition(":")[0] for warning in made.warnings] == ["train and select share 0001TP"]
    assert made.ablation.cells == len(made.studies)
    with pytest.raises(InputError, match="nowhere"):
        plan(load_spec(path, {**SMALL, "train.unlabelled.images": "nowhere"}), Machine(data_root=data))


def test_there_are_shipped_ablations():
    assert len(PAPERS) >= 20
