"""Teachers and data as other people publish them, each in a sweep of the command `kdsweep run`.

Teachers teach on CamVid, where it lies beside the checkout. Their networks are small, with random weights, and are
saved as their libraries save them.
"""

from pathlib import Path

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import transformers
import yaml
from called_command import called
from data_kinds import CLASSES as DRAWN
from data_kinds import as_coco, as_folder, as_panoptic, as_parquet, as_saved, as_tar
from PIL import Image
from safetensors.torch import save_file
from small_encoders import dinov2, saved
from torchvision.models import get_model

from analysis.tables.metric_names import TermPart, term_metric
from kdtrain import Machine
from kdtrain.data.camvid import CLASSES
from kdtrain.teacher import WEIGHTS
from sweeps import Sweep
from sweeps.spec.spec import parse_spec
from sweeps.store.folder_kinds import TRIALS

CAMVID = Path(__file__).parents[3] / "shared" / "camvid"
EVERY = {"train": 40, "val": 30}
"""Of how many frames of a role one is taken; frames are neighbors in a video."""
SIZE = (80, 60)
"""Width and height of the small frames."""
STUDENT = {"options": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    """The data root of a few frames of CamVid, made small."""
    if not (CAMVID / "train").is_dir():
        pytest.skip(f"CamVid is not beside the checkout (looked for {CAMVID})")
    root = tmp_path_factory.mktemp("data")
    for role, every in EVERY.items():
        for folder, way in ((role, Image.Resampling.BOX), (f"{role}annot", Image.Resampling.NEAREST)):
            (root / "camvid" / folder).mkdir(parents=True)
            for file in sorted((CAMVID / folder).iterdir())[::every]:
                Image.open(file).resize(SIZE, way).save(root / "camvid" / folder / f"{file.stem}.png")
    return root


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """A function that writes `spec.yaml` and calls `kdsweep`, which must succeed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDSWEEP_CACHE", str(tmp_path / "cache"))

    def call(content, *words):
        Path("spec.yaml").write_text(yaml.safe_dump(content))
        code, out, errors = called(monkeypatch, capsys, *words)
        assert code == 0, out + errors

    return call


def spec_of(data, study, **more):
    return {
        "name": "given",
        "data": data,
        "student": STUDENT,
        "train": {"epochs": 1, "batch_size": 4, "augment": {"crop": [32, 48]}},
        "studies": [study],
        "budget": {"trials": 1},
        "confirm": {"top": 0},
        **more,
    }


def run_on(data):
    return ("run", "spec.yaml", "--dir", "sweep", "--inline", "--data", data)


def segformer(*classes):
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 24, 32],
        depths=[1] * 4,
        num_attention_heads=[1, 2, 3, 4],
        decoder_hidden_size=16,
        id2label=dict(enumerate(classes)),
        label2id={name: number for number, name in enumerate(classes)},
    )
    return lambda: transformers.SegformerForSemanticSegmentation(config)


def save_dinov2():
    saved(dinov2, "theirs")
    return {}


def save_segformer():
    saved(segformer(*CLASSES), "theirs")
    return {}


def save_other_classes():
    """A network of other classes, of which the first is no class of CamVid."""
    meaning = {"road": "Road", "sidewalk": "Pavement", "house": "Building", "vegetation": "Tree", "car": "Car"}
    saved(segformer("train", *meaning), "theirs")
    return {"classes": meaning}


def save_torchvision():
    torch.manual_seed(0)
    name = "deeplabv3_mobilenet_v3_large"
    network = get_model(name, weights=None, weights_backbone=None, num_classes=len(CLASSES))
    save_file(network.eval().state_dict(), "theirs.safetensors")
    return {"network": {"arch": "torchvision", "encoder": name}, "network_classes": list(CLASSES)}


def save_smp():
    torch.manual_seed(0)
    decoder = {"decoder_channels": (16, 8, 8, 8, 8)}
    network = smp.Unet("tu-mobilenetv3_small_050", encoder_weights=None, classes=len(CLASSES), **decoder)
    network.eval().save_pretrained("theirs")
    return {"network_classes": list(CLASSES)}


FITNET = {"name": "features", "method": "fitnet", "set": {"terms.fitnet.teacher_layer": "features"}}


@pytest.mark.parametrize(
    ("save", "study", "term"),
    [
        (save_dinov2, FITNET, "fitnet"),
        (save_segformer, "kd", "pixel_kd"),
        (save_other_classes, "kd", "pixel_kd"),
        (save_torchvision, "kd", "pixel_kd"),
        (save_smp, "kd", "pixel_kd"),
    ],
)
def test_a_published_network_teaches_a_student(camvid, command, save, study, term):
    data = {"name": "camvid"}
    facts = save()
    (theirs,) = Path().glob("theirs*")
    words = ("teacher", "import", theirs, "--spec", "spec.yaml", "--dir", "teacher", "--data", camvid)
    command({"data": data, **facts}, *words)
    command(spec_of(data, study, teacher={"path": "teacher"}), *run_on(camvid))
    metrics = Sweep.open("sweep").tables["metrics"].set_index("name")["value"]
    parts = [metrics[term_metric(term, part)] for part in TermPart]
    assert np.isfinite(parts).all()
    assert min(parts) > 0


def in_roles(make, root):
    return {role: make(root, role, numbers) for role, numbers in (("train", range(6)), ("select", range(6, 9)))}


def as_shards(make):
    return lambda root: {"name": "shards", "classes": DRAWN, "shards": in_roles(make, root)}


def as_annotations(make):
    facts = {"name": "coco", "classes": DRAWN, "background": DRAWN[0]}
    return lambda root: {**facts, "annotations": in_roles(make, root)}


FORMS = {
    "parquet": as_shards(as_parquet),
    "save_to_disk": as_shards(as_saved),
    "tar": as_shards(as_tar),
    "coco": as_annotations(as_coco),
    "panoptic": as_annotations(as_panoptic),
}


def weights_in(sweep):
    """The weights of the one student of a sweep."""
    (student,) = (sweep / TRIALS).glob(f"*/student/{WEIGHTS}")
    return student.read_bytes()


@pytest.fixture(scope="module")
def from_folders(tmp_path_factory):
    """The weights of a student that was trained on the same images in folders."""
    folder = tmp_path_factory.mktemp("folders")
    data = {"name": "folder", "classes": DRAWN, "folders": in_roles(as_folder, folder)}
    Sweep(parse_spec(spec_of(data, "none")), folder / "sweep", Machine(data_root=folder)).run(inline=True)
    return weights_in(folder / "sweep")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_images_trains_the_same_student(command, from_folders, form):
    command(spec_of(FORMS[form](Path()), "none"), *run_on("."))
    assert weights_in(Path("sweep")) == from_folders
