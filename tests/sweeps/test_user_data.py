"""Sweeps on data as users have them: in shards, or with annotations in the form of COCO."""

from pathlib import Path

import pytest
from data_kinds import CLASSES, as_coco, as_panoptic, as_parquet, as_saved, as_tar

from kdtrain import Machine
from sweeps import Sweep
from sweeps.check import check
from sweeps.spec.spec import parse_spec

ROLES = {"train": range(6), "select": range(6, 9), "test": range(9, 11)}
NETWORK = {"arch": "FPN", "encoder": "tu-mobilenetv3_small_050"}


def shards(make):
    def made(root):
        where = {role: make(root, role, numbers) for role, numbers in ROLES.items()}
        return {"name": "shards", "classes": CLASSES, "shards": where}

    return made


def annotated(make):
    def made(root):
        where = {role: make(root, role, numbers) for role, numbers in ROLES.items()}
        return {"name": "coco", "classes": CLASSES, "background": "background", "annotations": where}

    return made


KINDS = {"parquet": shards(as_parquet), "arrow": shards(as_saved), "tar": shards(as_tar)}
KINDS |= {"coco": annotated(as_coco), "panoptic": annotated(as_panoptic)}


def spec_of(data, **more):
    small = {
        "name": "tiny",
        "data": data,
        "student": NETWORK,
        "train": {"epochs": 1, "batch_size": 2, "augment": {"crop": [32, 32]}},
        "studies": ["none"],
        "space": {"optimizer.lr": {"low": 0.01, "high": 0.1}},
        "budget": {"trials": 1},
    }
    return parse_spec(small | more)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sweep_is_checked_on_every_kind_of_data(tmp_path, kind):
    spec = spec_of(KINDS[kind](tmp_path / "data"))
    checked = check(spec, Machine(data_root=tmp_path / "data", cache=tmp_path / "cache"), reads_test=True)
    assert checked.one_sided == ()


@pytest.mark.slow
def test_a_sweep_runs_on_shards(tmp_path):
    spec = spec_of(
        KINDS["parquet"](tmp_path / "data"),
        studies=["none", "kd"],
        teacher={"fit": {"network": NETWORK, "epochs": 1}},
        confirm={"top": 1, "seeds": 2},
    )
    sweep = Sweep(spec, tmp_path / "run", Machine(data_root=tmp_path / "data", cache=tmp_path / "cache"))
    sweep.run(inline=True)
    assert set(sweep.tables["trials"]["state"]) == {"complete"}
    page = Path(sweep.report()).read_text()
    assert "train-00000-of-00002" not in page
    assert "select-00000-of-00001/0000000" in page  # beside the predictions
