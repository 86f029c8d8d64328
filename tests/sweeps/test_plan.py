import re

import pytest
import torch

from kdtrain.config import Machine
from kdtrain.data import Streets
from kdtrain.errors import InputError
from kdtrain.models import Network, build_network
from kdtrain.teacher import save_model
from sweeps.check import check
from sweeps.plan import plan
from sweeps.spec.spec import parse_spec

STREETS = {"name": "streets", "size": [32, 64], "counts": {"train": 8, "select": 2, "test": 2}}
FIT = {"fit": {"network": {}, "epochs": 3}}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make(fake, **changes):
    return fake.make_spec(**{"data": STREETS, "teacher": FIT, "studies": ["none", "cwd"], **changes})


def test_a_plan_says_how_images_are_normalized_if_not_as_for_imagenet(fake):
    library = {"arch": "Unet", "encoder": "tu-tf_mobilenetv3_small_minimal_100", "weights": "library"}
    imagenet = {"student.mean": [0.485, 0.456, 0.406], "student.std": [0.229, 0.224, 0.225]}
    studies = ["none", {"name": "old", "method": "none", "set": imagenet}]
    spec = fake.make_spec(data=STREETS, teacher=None, student=library, studies=studies)
    text = plan(spec, Machine()).render()
    half = "mean 0.5, 0.5, 0.5 and std 0.5, 0.5, 0.5"
    assert f"\nstudent: images are normalized with {half}, as the library states for {library['encoder']}" in text
    assert f"\nwarning: old: Unet {library['encoder']}: images are normalized with mean 0.485" in text
    assert f"but the library states {half} for these weights" in text
    assert parse_spec(spec.model_dump(mode="json")) == spec


def test_a_plan_counts_what_would_run(fake):
    made = plan(make(fake, confirm={"top": 2, "seeds": 3}), Machine())
    assert (made.trials, made.epochs) == (2 * (4 + 6), 2 * (4 + 6) * 6)
    assert made.teacher_epochs == 3
    assert made.macs > 1e9
    assert made.disk_bytes > 1e6
    text = made.render()
    for words in (
        "none (baseline)",
        "search optimizer.lr in 0.001 to 0.1, log",
        "20 trials and 120 epochs of 8 images",
    ):
        assert words in text


def test_a_budget_of_epochs_is_counted_in_whole_trials(fake):
    made = plan(make(fake, studies=["none"], teacher=None, budget={"epochs": 13}, confirm={"top": 0}), Machine())
    assert (made.trials, made.epochs) == (2, 12)
    assert any("fresh seeds" in warning for warning in made.warnings)


def test_published_values_outside_of_the_space_are_pointed_out(fake):
    made = plan(make(fake, studies=["none"], teacher=None, space={"optimizer.lr": [0.5, 0.6]}), Machine())
    warning = next(text for text in made.warnings if "published values lie outside" in text)
    assert re.search(r"will not be tried: optimizer\.lr = 0\.\d+$", warning), warning


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": {"encoder": "resnet81"}}, "encoder: must be an encoder .* got 'resnet81'; did you mean resnet18"),
        (
            {"teacher": {"fit": {"network": {"arch": "FPM"}}}},
            "arch: .* got 'FPM'; did you mean FPN",
        ),
        ({"train": {"batch_size": 9}, "studies": ["none"], "teacher": None}, "batch_size: 9 is more than the 8 images"),
        ({"teacher": {"path": "no/such/folder"}}, "no/such/folder is not a teacher folder"),
        ({"data": {"name": "camvid"}}, "CamVid's role train has no folder"),
    ],
)
def test_mistakes_are_found_without_training(fake, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        check(make(fake, **changes), Machine(data_root=tmp_path))


def test_a_layer_that_is_only_searched_is_looked_for_too(fake):
    layers = {"terms.channel_wise.student_layer": ["logits", "encoder.9"]}
    study = {"method": "cwd", "space": layers}
    with pytest.raises(InputError, match=r"studies\.cwd: .*encoder\.9"):
        check(make(fake, studies=["none", study]), Machine())


def test_a_plan_until_decided_says_how_many_trainings_there_are_at_least_and_at_most(fake):
    made = plan(make(fake, confirm={"top": 2, "seeds": [3, 12], "until": "decided"}), Machine())
    assert (made.least_trials, made.trials) == (2 * (4 + 6), 2 * (4 + 6 + 9))
    text = made.render()
    assert "; at least 6 of them: looks at 3, 5, 8, 12 seeds, until the comparison is decided" in text
    assert "\nat least 20 and at most 38 trials and " in text


@pytest.mark.parametrize(
    ("trained_on", "warns"),
    [
        ("streets", True),
        ("streets, streets (select: train000)", True),
        ("streets (select: train000)", False),
        ("cityscapes", False),
        ("streets_of_others", False),
    ],
)
def test_a_teacher_that_may_have_seen_select_is_pointed_out(fake, tmp_path, trained_on, warns):
    network = Network(encoder="tu-mobilenetv3_small_050")
    net = build_network(network, 10, 0).net
    save_model(tmp_path, net, {"network": network, "classes": Streets().open().classes, "trained_on": trained_on})
    data = {**STREETS, "counts": {"train": 40, "select": 2, "test": 2}, "carve": {"select": ["train000"]}}
    checked = check(make(fake, data=data, teacher={"path": str(tmp_path)}, studies=["none", "kd"]), Machine())
    sentences = [each for each in checked.one_sided if "images of select may be among those" in each]
    assert len(sentences) == warns
    if warns:
        assert f"was trained on {trained_on}, and the data of this sweep are streets (select: train000)" in sentences[0]


@pytest.mark.parametrize(
    ("budget", "scheduler", "trials", "unstopped", "epochs"),
    [
        ({"epochs": 130}, {"name": "halving", "grace": 1, "factor": 3}, 128, 22, 133),
        ({"epochs": 130, "trials": 50}, {"name": "halving", "grace": 1, "factor": 3}, 50, 22, 133),
        ({"epochs": 130}, {"name": "none"}, 22, 22, 132),
        ({"trials": 5}, {"name": "halving", "grace": 1, "factor": 3}, 5, 5, 30),
    ],
)
def test_the_trials_of_a_budget_of_epochs_have_an_upper_bound(fake, budget, scheduler, trials, unstopped, epochs):
    spec = make(fake, studies=["none"], teacher=None, budget=budget, scheduler=scheduler, confirm={"top": 0})
    made = plan(spec, Machine())
    assert (made.trials, made.least_trials, made.epochs) == (trials, unstopped, epochs)
    if trials > unstopped:
        assert f"{unstopped} trials x 6 epochs if none is stopped early, at most {trials} trials" in made.render()
        assert f"at least {unstopped} and at most {trials} trials" in made.render()
        assert " to " in next(text for text in made.render().splitlines() if text.startswith("disk: about "))


def test_what_all_studies_have_in_common_stands_once(fake):
    study = {"method": "cwd", "set": {"epochs": 3}}
    text = plan(make(fake, studies=["none", "kd"]), Machine()).render()
    assert text.count("search optimizer.lr in") == text.count("confirm: ") == text.count("search: ") == 1
    assert "\nevery study: search optimizer.lr in 0.001 to 0.1, log\n  search: 4 trials x 6 epochs" in text
    assert "\nkd: Pixel-wise KD: cross_entropy x 1, pixel_kd x 1\n  search terms.pixel_kd.weight in " in text
    assert "arXiv" not in text
    text = plan(make(fake, studies=["none", study]), Machine()).render()
    assert text.count("search optimizer.lr in") == 1
    assert "\n  set epochs = 3; search terms." in text
    assert text.count("\n  search: ") == text.count("\n  confirm: ") == 2
    text = plan(make(fake, studies=["none"], teacher=None), Machine()).render()
    assert "every study" not in text
    assert "\n  search optimizer.lr in 0.001 to 0.1, log\n  search: " in text


def test_the_shares_of_the_phases_are_said_where_they_are_far_from_the_recommended_ones(fake):
    assert "for fresh seeds (recommended" in plan(make(fake, confirm={"top": 2, "seeds": 3}), Machine()).render()
    assert "recommended" not in plan(make(fake, confirm={"top": 1, "seeds": 2}), Machine()).render()
